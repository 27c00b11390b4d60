"""Labelled scenes of known content, as the composite and label components would leave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from components.artifacts import Composite
from components.artifacts.composite import create_composite
from tests.makers import geobox

DATES = ("2023-06-01T00:00:00Z", "2023-08-31T00:00:00Z")


def composite(path: Path, image: np.ndarray[Any, Any], grid: GeoBox | None = None) -> Composite:
    """A sealed Composite of `image(band, y, x)`, bands B01, B02, …"""
    grid = grid or geobox(*image.shape[1:])
    reflectance, observations = create_composite(path, grid, [f"B{i + 1:02d}" for i in range(len(image))], *DATES)
    reflectance[...] = image.astype("uint16")
    observations[...] = (image > 0).all(axis=0).astype("uint8")
    Composite(path).seal({})
    return Composite.open(path)


def patchwork(height: int, width: int, classes: int, *, seed: int = 0, grain: int = 24) -> np.ndarray[Any, Any]:
    """Labels (y, x) of squares of `grain` pixels, each of a random class."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, classes, (-(-height // grain), -(-width // grain)))
    return np.kron(small, np.ones((grain, grain), int))[:height, :width].astype("uint8")


def noise(bands: int, height: int, width: int, *, seed: int = 0) -> np.ndarray[Any, Any]:
    """Reflectance (band, y, x) without nodata."""
    return np.random.default_rng(seed).integers(1, 4000, (bands, height, width)).astype("uint16")
