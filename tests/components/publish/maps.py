"""Maps of given classes, as predict would leave them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from components.artifacts.map import CLASSES, ITEM, QUICKLOOK, Map, MapWriter
from components.artifacts.nomenclature import Nomenclature
from components.gdal import gdal_limits
from components.predict.item import stac_item
from components.predict.quicklook import draw
from tests.makers import geobox, nomenclature


def make_map(
    path: Path,
    composite: str,
    month: int = 6,
    edge: int = 40,
    classes: Nomenclature | None = None,
    model: str = "m" * 64,
) -> Map:
    """A sealed Map of random classes; its item's id is made of `model` and `composite`, digests in part or whole."""
    classes = classes or nomenclature()
    grid = geobox(edge, edge)
    rng = np.random.default_rng(month)
    patches = rng.integers(0, len(classes), (edge // 8, edge // 8), dtype=np.uint8)
    confidence = rng.integers(0, 101, (edge, edge), dtype=np.uint8)
    with gdal_limits():
        writer = MapWriter(path, grid, classes)
        writer.write(0, 0, np.kron(patches, np.ones((8, 8), np.uint8)), confidence)
        writer.finish()
    draw(path / CLASSES, classes, path / QUICKLOOK)
    when = datetime(2023, month, 1, tzinfo=UTC), datetime(2023, month, 20, tzinfo=UTC)
    (path / ITEM).write_text(json.dumps(stac_item(grid, classes, when, f"sha256:{model}", f"sha256:{composite}")))
    Map(path).seal({})
    return Map.open(path)
