"""GDAL's settings, the same wherever Geoduct reads or writes a raster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import rasterio

CACHE = 32 * 2**20
"""Bytes of GDAL's block cache. Blocks are read once, so at its default (a twentieth of the memory) it only grows."""


@contextmanager
def gdal_limits(**options: str) -> Iterator[None]:
    """Keep GDAL's memory from growing with a raster; further `options` are GDAL's own. They hold in this thread."""
    with rasterio.Env(GDAL_CACHEMAX=CACHE, **options):
        yield
