"""SceneCube: scenes of one area on one grid, harmonised, with the mask band that says which pixels are clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from odc.geo.geobox import GeoBox

from components.artifacts.zarrs import (
    ZarrArtifact,
    consolidate,
    create_group,
    create_raster,
    write_array,
    write_bands,
    write_grid,
)
from components.errors import GeoductError

REFLECTANCE_SCALE = 1e-4
"""Surface reflectance of one digital number (Sentinel-2 product specification: QUANTIFICATION_VALUE 10000)."""

REFLECTANCE = {"long_name": "surface reflectance", "scale_factor": REFLECTANCE_SCALE, "add_offset": 0.0}


LEFT_OUT = ("skipped", "failed")
"""Why a scene is not in the cube: there was a reason not to take it, or it could not be read."""


class SceneCube(ZarrArtifact):
    """`reflectance(time, band, y, x)` uint16 (reflectance x 10000, 0 = nodata) and `scl(time, y, x)` uint8.

    `mask` says what `scl` holds: `"scl"`, Sentinel-2's scene classification, `"clm"`, a binary mask of 0 = clear and
    1 = cloud, or `"none"`, nothing but 0. `items` has one dictionary a time step: `id`, `datetime` (ISO 8601),
    `cloud_cover` (percent or None), `processing_baseline` (or None), `offset` (DN that was added to harmonise, 0 or
    -1000), `collection`, and whatever else of the item is worth keeping.
    """

    kind = "SceneCube"
    layout = {
        "reflectance": (("time", "band", "y", "x"), "uint16"),
        "scl": (("time", "y", "x"), "uint8"),
    }

    @property
    def items(self) -> list[dict[str, Any]]:
        """One dictionary a time step, in order of time."""
        return [dict(item) for item in self.attribute("items")]

    @property
    def left_out(self) -> dict[str, list[dict[str, str]]]:
        """Scenes that were found, but are not in the cube: `skipped` and `failed`, each with `id` and `reason`."""
        return {name: [dict(each) for each in self.attrs.get(name, [])] for name in LEFT_OUT}

    @property
    def dates(self) -> tuple[str, str]:
        """First and last acquisition, ISO 8601."""
        times = [str(item["datetime"]) for item in self.items]
        return times[0], times[-1]

    @property
    def mask(self) -> str:
        """`"scl"`, `"clm"` or `"none"`: what the array `scl` holds."""
        return str(self.attribute("mask"))

    def validate(self) -> None:
        """Check the arrays and that every time step has its item."""
        super().validate()
        steps = self.array("reflectance").shape[0]
        if len(self.items) != steps:
            raise GeoductError(f"{self.path} has {steps} time steps, but metadata of {len(self.items)} items")


def create_scenecube(
    path: Path,
    geobox: GeoBox,
    bands: Sequence[str],
    items: Sequence[dict[str, Any]],
    mask: str,
    left_out: Mapping[str, Sequence[dict[str, str]]] | None = None,
) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
    """Lay out an empty SceneCube and return its arrays `(reflectance, scl)`, to be written shard by shard.

    A shard of `reflectance` holds all bands of 2048 x 2048 pixels of one time step. `left_out` names the scenes
    `skipped` and `failed`, each with `id` and `reason`.
    """
    told = {name: list((left_out or {}).get(name, [])) for name in LEFT_OUT}
    group = create_group(path, {"bands": list(bands), "items": list(items), "mask": mask, **told})
    write_grid(group, geobox)
    write_bands(group, bands)
    times = np.array([np.datetime64(str(i["datetime"]).replace("Z", "").split("+")[0], "s") for i in items])
    seconds = times.astype("int64")
    write_array(group, "time", seconds, ["time"], {"units": "seconds since 1970-01-01", "calendar": "standard"})
    reflectance = create_raster(
        group,
        "reflectance",
        geobox,
        dtype="uint16",
        layers={"time": (len(items), 1), "band": (len(bands), len(bands))},
        attributes=REFLECTANCE,
    )
    holds = {"scl": "scene classification", "clm": "cloud mask"}.get(mask, "no mask")
    scl = create_raster(
        group, "scl", geobox, dtype="uint8", layers={"time": (len(items), 1)}, attributes={"long_name": holds}
    )
    consolidate(path)
    return reflectance, scl
