"""Composite: a cloud-free image of an area, or one a period, and from how many clear looks each pixel comes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zarr
from odc.geo.geobox import GeoBox

from components.artifacts.periods import Period, band_at, read_periods
from components.artifacts.scenecube import REFLECTANCE
from components.artifacts.zarrs import ZarrArtifact, consolidate, create_group, create_raster, write_bands, write_grid


class Composite(ZarrArtifact):
    """`reflectance(band, y, x)` uint16 (reflectance x 10000, 0 = nodata) and `observations(y, x)` uint8.

    The attributes `start_datetime` and `end_datetime` (ISO 8601) are the first and the last acquisition in it. With
    `periods`, the bands are those of the scenes once for each period, `B02@1`, `B03@1`, …, `B02@2`, …, and
    `observations` is the least number of clear looks that a period has.
    """

    kind = "Composite"
    layout = {"reflectance": (("band", "y", "x"), "uint16"), "observations": (("y", "x"), "uint8")}

    @property
    def dates(self) -> tuple[str, str]:
        """First and last acquisition, ISO 8601."""
        return str(self.attribute("start_datetime")), str(self.attribute("end_datetime"))

    @property
    def periods(self) -> tuple[Period, ...]:
        """The periods that it holds an image of each; none if it is one image of all dates."""
        return read_periods(self.attrs.get("periods"), self.path)

    def validate(self) -> None:
        """Check the arrays, and that the periods can be read."""
        super().validate()
        _ = self.periods


def create_composite(
    path: Path, geobox: GeoBox, bands: Sequence[str], start: str, end: str, periods: Sequence[Period] = ()
) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
    """Lay out an empty Composite and return its arrays `(reflectance, observations)`, to be written shard by shard.

    A shard of `reflectance` holds all `bands` of 2048 x 2048 pixels, of one period if there are any. `start` and `end`
    (ISO 8601) bound its dates.
    """
    names = [band_at(band, number) for number in range(1, len(periods) + 1) for band in bands] or list(bands)
    told = {"periods": [period.to_dict() for period in periods]} if periods else {}
    group = create_group(path, {"bands": names, "start_datetime": start, "end_datetime": end, **told})
    write_grid(group, geobox)
    write_bands(group, names)
    reflectance = create_raster(
        group,
        "reflectance",
        geobox,
        dtype="uint16",
        layers={"band": (len(names), len(bands))},
        attributes=REFLECTANCE,
    )
    observations = create_raster(
        group, "observations", geobox, dtype="uint8", attributes={"long_name": "number of clear looks"}
    )
    consolidate(path)
    return reflectance, observations
