"""LabelMap: a class for each pixel of a grid, and the nomenclature that says what the classes are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr
from odc.geo.geobox import GeoBox

from components.artifacts.nomenclature import IGNORE, Nomenclature
from components.artifacts.zarrs import ZarrArtifact, consolidate, create_group, create_raster, write_grid


class LabelMap(ZarrArtifact):
    """`label(y, x)` uint8: class index in `nomenclature`, 255 = ignore."""

    kind = "LabelMap"
    layout = {"label": (("y", "x"), "uint8")}

    @property
    def nomenclature(self) -> Nomenclature:
        """The classes, in order of their index."""
        return Nomenclature.from_dict(self.attribute("nomenclature"))

    @property
    def source(self) -> dict[str, Any]:
        """In what form the labels came; see `create_labelmap`."""
        return dict(self.attribute("source"))

    def validate(self) -> None:
        """Check the array and the nomenclature."""
        super().validate()
        _ = self.nomenclature


def create_labelmap(
    path: Path, geobox: GeoBox, nomenclature: Nomenclature, source: Mapping[str, Any] | None = None
) -> zarr.Array[Any]:
    """Lay out an empty LabelMap, all 255, and return its array `label(y, x)`, to be written shard by shard.

    `source` says in what form the labels came: `kind` ("raster" or "vector"), `values` in words, and what else is
    known, such as the `pixel` size of a raster in the units of its `crs`.
    """
    group = create_group(path, {"nomenclature": nomenclature.to_dict(), "source": dict(source or {})})
    write_grid(group, geobox)
    label = create_raster(
        group, "label", geobox, dtype="uint8", fill_value=IGNORE, attributes={"long_name": "land cover class"}
    )
    consolidate(path)
    return label
