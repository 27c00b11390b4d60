"""A scene of known pixels on several dates, and the PatchSet that was cut from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from components.artifacts import PatchSet, SceneCube
from components.artifacts.scenecube import create_scenecube
from components.patch import patch
from tests.components.patch.scenes import composite, noise, patchwork
from tests.makers import geobox, labelmap

HEIGHT, WIDTH = 290, 330
"""More than a chunk of 256 pixels each way, and no multiple of anything."""
STORED = ("B03", "B01", "B09", "B02")
"""Bands of the scenes; the patches have B01, B02 and B03."""
CLEAR, CLOUD, NODATA = 4, 9, 0


def patchset(folder: Path, size: int = 32) -> PatchSet:
    """Patches of 32 pixels in blocks of 64, in the folder's `patches`."""
    composite(folder / "composite", noise(3, HEIGHT, WIDTH))
    labelmap(folder / "labels", patchwork(HEIGHT, WIDTH, 2), 2)
    patch(
        composite=folder / "composite",
        labels=folder / "labels",
        patches=folder / "patches",
        size=size,
        stride=size,
        block=640.0,
        buffer=0.0,
    )
    return PatchSet.open(folder / "patches")


def dates() -> tuple[np.ndarray, np.ndarray]:
    """Reflectance (3, band, y, x) and flags (3, y, x): specks of cloud, wholly cloudy, and off the swath in the north.

    Specks are few in the west and many in the east. That the third date has no data is said by its pixels alone, by its
    flags alone, and here and there by one band alone.
    """
    random = np.random.default_rng(7)
    pixels = random.integers(1, 5000, (3, len(STORED), HEIGHT, WIDTH)).astype("uint16")
    flags = np.full((3, HEIGHT, WIDTH), CLEAR, "uint8")
    flags[0][random.random((HEIGHT, WIDTH)) < np.linspace(0, 0.05, WIDTH)] = CLOUD
    flags[1] = CLOUD
    pixels[2, :, :40] = 0
    flags[2, 40:75] = NODATA
    pixels[2, STORED.index("B02"), ::16, ::16] = 0
    return pixels, flags


def scenecube(
    path: Path, pixels: np.ndarray, flags: np.ndarray, *, mask: str = "scl", grid: GeoBox | None = None
) -> SceneCube:
    """A sealed SceneCube of `pixels` (time, band, y, x) and `flags` (time, y, x), with items named day 0, day 1, …"""
    items = [{"id": f"day {n}", "datetime": f"2021-06-{n + 1:02d}T12:00:00Z"} for n in range(len(pixels))]
    names = STORED[: pixels.shape[1]]
    reflectance, scl = create_scenecube(path, grid or geobox(*flags.shape[1:]), names, items, mask)
    reflectance[...], scl[...] = pixels, flags
    SceneCube(path).seal({})
    return SceneCube.open(path)
