"""A labelled scene as patches see it: pixels and labels of any window, read tile by tile through a bounded cache."""

from __future__ import annotations

import math
from collections import OrderedDict
from concurrent.futures import Future
from threading import Lock
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import Geod

from components.artifacts import Composite, LabelMap
from components.artifacts.nomenclature import IGNORE
from components.artifacts.shards import Shards
from components.errors import GeoductError

TILE = 512
"""Edge of a tile in the cache, in pixels: a few chunks, so that a read costs little beside its decoding."""
CACHE_BYTES = 64 * 2**20
"""Room for the tiles under one shard's width of patches, at twelve bands."""

Pixels = tuple[np.ndarray[Any, np.dtype[np.uint16]], np.ndarray[Any, np.dtype[np.uint8]]]
"""Image (band, y, x), 0 = nodata, and label (y, x), 255 = ignore; where any band is nodata the label is 255."""


class Scene:
    """A Composite and its LabelMap.

    Raises:
        GeoductError: the two are on different grids.
    """

    def __init__(self, composite: Composite, labels: LabelMap) -> None:
        if composite.geobox != labels.geobox:
            raise GeoductError(
                f"{labels.path} is on another grid than {composite.path}: {_grid(labels.geobox)}; "
                f"expected {_grid(composite.geobox)}"
            )
        self.geobox: GeoBox = composite.geobox
        self.shape: tuple[int, int] = (int(self.geobox.shape[0]), int(self.geobox.shape[1]))
        self.bands = composite.bands
        self._image = Shards(composite.array("reflectance"))
        self._label = Shards(labels.array("label"))
        self._tiles: OrderedDict[tuple[int, int], Future[Pixels]] = OrderedDict()
        self._capacity = max(4, CACHE_BYTES // (TILE * TILE * (2 * len(self.bands) + 1)))
        self._lock = Lock()

    def read(self, row: int, col: int, height: int, width: int) -> Pixels:
        """Read a window, cut off at the edges of the scene, straight from storage; for one pass over the scene."""
        rows, cols = slice(row, min(row + height, self.shape[0])), slice(col, min(col + width, self.shape[1]))
        image = self._image.read(slice(0, len(self.bands)), rows, cols)
        label = self._label.read(rows, cols)
        label[(image == 0).any(axis=0)] = IGNORE
        return image, label

    def window(self, row: int, col: int, size: int) -> Pixels:
        """A square window, gathered from cached tiles; for windows that lie near one another."""
        image = np.empty((len(self.bands), size, size), "uint16")
        label = np.empty((size, size), "uint8")
        for y in range(row // TILE, (row + size - 1) // TILE + 1):
            for x in range(col // TILE, (col + size - 1) // TILE + 1):
                y0, y1 = max(row, y * TILE), min(row + size, (y + 1) * TILE)
                x0, x1 = max(col, x * TILE), min(col + size, (x + 1) * TILE)
                onto = slice(y0 - row, y1 - row), slice(x0 - col, x1 - col)
                from_ = slice(y0 - y * TILE, y1 - y * TILE), slice(x0 - x * TILE, x1 - x * TILE)
                tile_image, tile_label = self._tile(y, x)
                image[:, *onto] = tile_image[:, *from_]
                label[onto] = tile_label[from_]
        return image, label

    def _tile(self, y: int, x: int) -> Pixels:
        # A tile that another thread is reading is waited for, not read again.
        with self._lock:
            tile = self._tiles.get((y, x))
            if mine := tile is None:
                tile = self._tiles[y, x] = Future()
                while len(self._tiles) > self._capacity:
                    self._tiles.popitem(last=False)
            self._tiles.move_to_end((y, x))
        if mine:
            try:
                tile.set_result(self.read(y * TILE, x * TILE, TILE, TILE))
            except BaseException as error:
                tile.set_exception(error)
        return tile.result()

    @property
    def resolution(self) -> tuple[float, float]:
        """Height and width of a pixel in metres, at the centre of the scene."""
        t, crs = self.geobox.transform, self.geobox.crs
        if crs is not None and crs.geographic:
            x, y = t.c + t.a * self.shape[1] / 2, t.f + t.e * self.shape[0] / 2
            geod = Geod(ellps="WGS84")
            return abs(geod.inv(x, y, x, y + t.e)[2]), abs(geod.inv(x, y, x + t.a, y)[2])
        unit = crs.proj.axis_info[0].unit_conversion_factor if crs is not None else 1.0
        return abs(t.e) * unit, abs(t.a) * unit


def _grid(geobox: GeoBox) -> str:
    t = geobox.transform
    size = f"{geobox.shape[1]} x {geobox.shape[0]} pixels of {abs(t.a):.{_digits(t.a)}g}"
    return f"{size} from ({t.c:.2f}, {t.f:.2f}) in {geobox.crs}"


def _digits(value: float) -> int:
    return 3 + max(0, math.ceil(math.log10(abs(value) or 1.0)))
