"""Composite: one cloud-free image of an area, and from how many clear looks each pixel comes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zarr
from odc.geo.geobox import GeoBox

from components.artifacts.scenecube import REFLECTANCE
from components.artifacts.zarrs import ZarrArtifact, consolidate, create_group, create_raster, write_bands, write_grid


class Composite(ZarrArtifact):
    """`reflectance(band, y, x)` uint16 (reflectance x 10000, 0 = nodata) and `observations(y, x)` uint8.

    The attributes `start_datetime` and `end_datetime` (ISO 8601) are the first and the last acquisition in it.
    """

    kind = "Composite"
    layout = {"reflectance": (("band", "y", "x"), "uint16"), "observations": (("y", "x"), "uint8")}

    @property
    def dates(self) -> tuple[str, str]:
        """First and last acquisition, ISO 8601."""
        return str(self.attribute("start_datetime")), str(self.attribute("end_datetime"))


def create_composite(
    path: Path, geobox: GeoBox, bands: Sequence[str], start: str, end: str
) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
    """Lay out an empty Composite and return its arrays `(reflectance, observations)`, to be written shard by shard.

    A shard of `reflectance` holds all bands of 2048 x 2048 pixels. `start` and `end` (ISO 8601) bound its dates.
    """
    group = create_group(path, {"bands": list(bands), "start_datetime": start, "end_datetime": end})
    write_grid(group, geobox)
    write_bands(group, bands)
    reflectance = create_raster(
        group,
        "reflectance",
        geobox,
        dtype="uint16",
        layers={"band": (len(bands), len(bands))},
        attributes=REFLECTANCE,
    )
    observations = create_raster(
        group, "observations", geobox, dtype="uint8", attributes={"long_name": "number of clear looks"}
    )
    consolidate(path)
    return reflectance, observations
