"""Predicting a Composite with a Model: which bands to read, in what order, and what to write of it."""

from __future__ import annotations

import json
from typing import Literal

import numpy as np

from components.artifacts.composite import Composite
from components.artifacts.map import CLASSES, ITEM, QUICKLOOK, Map, MapWriter
from components.artifacts.model import Model
from components.artifacts.shards import Shards
from components.blocks import cores
from components.errors import GeoductError
from components.gdal import gdal_limits
from components.predict.item import interval, stac_item
from components.predict.pipeline import Forward, Tiling, predict_scene
from components.predict.quicklook import draw
from components.predict.reading import Pixels, Read


def reader_of(array: Shards, stored: list[str], bands: list[str]) -> Read:
    """Read windows of `bands`, in that order, from an array `(band, y, x)` that has them in the order `stored`."""
    positions = [stored.index(band) for band in bands]
    whole = positions == list(range(len(stored)))

    def read(rows: slice, columns: slice) -> Pixels:
        if whole:
            return array.read(slice(0, len(stored)), rows, columns)
        return np.concatenate([array.read(slice(p, p + 1), rows, columns) for p in positions])

    return read


def predict_map(
    model: Model,
    composite: Composite,
    target: Map,
    *,
    tile: int | None = None,
    overlap: float = 0.25,
    batch_size: int = 16,
    precision: Literal["32", "bf16"] = "32",
) -> None:
    """Predict and write all of a Map but its manifest.

    Raises:
        GeoductError: the model gives sets of classes, the composite lacks a band or holds no valid pixel, or the tile
            is smaller than the model's patch.
    """
    if model.task == "multilabel":
        raise GeoductError(
            f"the model {model.path} is multilabel: it gives the set of classes of a patch, but a Map holds one class "
            "a pixel; expected a model of segmentation or classification (geoduct export makes of it a network that "
            "gives the logits of patches)"
        )
    model.require_bands(composite.bands, composite.path)
    edge = model.size if tile is None else tile
    if edge < model.size:
        raise GeoductError(
            f"--tile is {edge}; expected at least {model.size}, the patch that the model {model.path} learned from"
        )
    when = interval(composite)
    geobox, array = composite.geobox, Shards(composite.array("reflectance"))

    from components.learning.predictor import Predictor

    forward: Forward = Predictor(model, bf16=precision == "bf16")
    with gdal_limits(GDAL_NUM_THREADS=str(cores())):
        writer = MapWriter(target.path, geobox, model.nomenclature)
        try:
            used = predict_scene(
                reader_of(array, composite.bands, model.bands),
                forward,
                writer.write,
                Tiling.of((geobox.shape.y, geobox.shape.x), edge, overlap),
                bands=len(model.bands),
                classes=len(model.nomenclature),
                batch_size=batch_size,
                chunk=array.chunk[1],
                scratch=target.path,
            )
            if not used:
                raise GeoductError(
                    f"{composite.path} has no pixel that is valid in all of the bands {', '.join(model.bands)}"
                )
            writer.finish()
        finally:
            writer.close()
        draw(target.path / CLASSES, model.nomenclature, target.path / QUICKLOOK)
    item = stac_item(geobox, model.nomenclature, when, model.digest, composite.digest)
    (target.path / ITEM).write_text(json.dumps(item, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
