"""From a source to a finished LabelMap, shard by shard, so that memory does not grow with the scene."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from components.artifacts.labelmap import create_labelmap
from components.artifacts.nomenclature import IGNORE
from components.artifacts.shards import Shards
from components.artifacts.zarrs import SHARD
from components.blocks import Block, blocks_of, run_blocks
from components.errors import GeoductError
from components.label.legend import Legend, Value, shown
from components.label.raster import Prepared, open_raster, prepare_raster
from components.label.vector import prepare_vector, read_vector
from components.progress import say


def prepare(
    location: str, geobox: GeoBox, legend: Legend, *, majority: bool, attribute: str | None, layer: str | None
) -> Prepared:
    """Open a raster or a vector and make it ready for a grid.

    Raises:
        GeoductError: it is neither, or does not fit the grid or the legend.
    """
    if (raster := open_raster(location)) is not None:
        raster.close()
        if attribute or layer:
            flag = f"--attribute {attribute}" if attribute else f"--layer {layer}"
            raise GeoductError(f"{flag} is for vectors, but {location} is a raster")
        return prepare_raster(location, geobox, legend, majority=majority)
    features = read_vector(location, layer, geobox)
    if features is None:
        raise GeoductError(f"{location} is neither a raster nor a vector that GDAL reads")
    return prepare_vector(features, location, geobox, legend, attribute=attribute, majority=majority)


def write_labels(
    path: Path,
    geobox: GeoBox,
    location: str,
    legend: Legend,
    *,
    majority: bool,
    attribute: str | None,
    layer: str | None,
    workers: int | None,
) -> None:
    """Write the LabelMap of a source on `geobox` to `path`.

    Raises:
        GeoductError: the source does not fit the grid or the legend, or no pixel gets a class.
    """
    prepared = prepare(location, geobox, legend, majority=majority, attribute=attribute, layer=layer)
    labels = Shards(
        create_labelmap(path, geobox, legend.nomenclature, {**prepared.about, "unmapped": _unmapped(prepared)})
    )

    def label_block(block: Block) -> np.ndarray[Any, np.dtype[np.int64]]:
        classes = np.empty(block.shape, "uint8")
        for part in blocks_of(block.shape, prepared.step):
            rows, cols = slice(block.y0 + part.y0, block.y0 + part.y1), slice(block.x0 + part.x0, block.x0 + part.x1)
            classes[part.window] = prepared.labeller(geobox[rows, cols])
        labels.write((block.y0 // SHARD, block.x0 // SHARD), labels.encode_planes(classes))
        return np.bincount(classes.ravel(), minlength=IGNORE + 1)

    counts = np.zeros(IGNORE + 1, "int64")
    height, width = labels.shape
    for part in run_blocks(label_block, blocks_of((height, width), SHARD), workers=workers, label="label"):
        counts += part
    _report(location, legend, prepared, counts)


def _unmapped(prepared: Prepared) -> dict[str, int]:
    """The most frequent values without a class, and how often each occurs."""
    values = {v: n for v, n in prepared.values.items() if prepared.classes[v] == IGNORE}
    most = sorted(values.items(), key=lambda item: (-item[1], str(item[0])))[:10]
    return {shown(v, str(prepared.about["values"])): n for v, n in most}


def _report(location: str, legend: Legend, prepared: Prepared, counts: np.ndarray[Any, Any]) -> None:
    labelled, total = int(counts[:IGNORE].sum()), int(counts.sum())
    if labelled == 0:
        raise GeoductError(
            f"{location} gives no pixel of the composite a class of {legend.nomenclature.name!r}: "
            f"its values there are {_shown(prepared.values)}"
        )
    shares = ", ".join(f"{c.name} {counts[i] / labelled:.1%}" for i, c in enumerate(legend.nomenclature) if counts[i])
    say(f"label: {location} is a {prepared.about['kind']} with {prepared.about['values']}")
    say(f"label: {labelled / total:.1%} of the grid has a class: {shares}")
    if unmapped := _unmapped(prepared):
        say(f"label: ignored, as the nomenclature does not map them: {_shown(unmapped)}")


def _shown(values: Mapping[Value, int] | Mapping[str, int]) -> str:
    most = sorted(values.items(), key=lambda item: (-item[1], str(item[0])))[:6]
    return ", ".join(f"{v} ({n:,}x)" for v, n in most) + (", …" if len(values) > 6 else "") if most else "none"
