"""Small artifacts of known content, sealed as a component would seal them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from components.artifacts import LabelMap
from components.artifacts.labelmap import create_labelmap
from components.artifacts.nomenclature import LandClass, Nomenclature

COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


def nomenclature(count: int = 3) -> Nomenclature:
    """`count` classes with codes "10", "20", …"""
    classes = tuple(LandClass(str(10 * (i + 1)), f"class {i + 1}", COLOURS[i % 7]) for i in range(count))
    return Nomenclature("test", classes)


def geobox(height: int, width: int, resolution: float = 10.0, crs: str = "EPSG:32627") -> GeoBox:
    """A grid whose upper left corner is at (500000, 7100000)."""
    return GeoBox((height, width), Affine(resolution, 0, 500_000, 0, -resolution, 7_100_000), crs)


def labelmap(path: Path, label: np.ndarray[Any, Any], classes: int = 3) -> LabelMap:
    """A sealed LabelMap of `label(y, x)`."""
    create_labelmap(path, geobox(*label.shape), nomenclature(classes))[...] = label
    LabelMap(path).seal({})
    return LabelMap.open(path)
