"""Single dates of a SceneCube as more images beside a PatchSet's own, under numbers that go on where its patches end.

A composite shows a place once; each date shows it in another light, at another season and with noise of its own. What
the loader knows of patches (each once an epoch over all ranks, in an order that resumes) thus holds of looks as well.
Only pixels that patches of the train split cover are ever handed out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.artifacts.nomenclature import IGNORE
from components.artifacts.patch_order import Indices
from components.artifacts.patch_reader import PatchReader
from components.artifacts.patchset import PatchSet
from components.artifacts.scenecube import SceneCube
from components.artifacts.shards import Shards
from components.composite.clear import GROWING, NODATA, SATURATED, Mask, unclear
from components.errors import GeoductError
from components.progress import track

MASKED = (NODATA, SATURATED, *GROWING)
MARGIN = 3
"""What is not clear, and the pixels by which clouds and shadows grow: what `composite` takes by default."""

KEPT_BYTES = 512 * 2**20
"""Room for windows that stay in memory once they are read: to cut one takes as long as decoding some twenty patches."""

OFF = 1e-3
"""Pixels by which footprints may miss the grid of the scenes: what rounding leaves."""


class Looks(PatchReader):
    """The patches of a PatchSet, and after them windows of single dates, whose labels are all *ignore*.

    In a window a pixel is nodata (0) in every band unless its date has a clear look at it, as `composite` sees it.
    `windows` (n, 3) int64 holds number of the date, row and column of each, in this order; `names` says which is which.

    Args:
        patches: the patches.
        scenes: the dates, on the grid that the patches were cut from, with all their bands.
        stride: distance in pixels between the windows' rows and columns, counted from the scene's corner; those that
            patches of the train split cover wholly are used. The places of these patches themselves if not given.
        least: share of a window that has to be clear for it to be used.

    Raises:
        GeoductError: the scenes are on another grid or lack a band, or no window is clear enough.
    """

    def __init__(self, patches: PatchSet, scenes: SceneCube, *, stride: int | None, least: float) -> None:
        super().__init__(patches.path)
        self._require_grid(patches, scenes)
        if missing := [band for band in self.bands if band not in scenes.bands]:
            raise GeoductError(
                f"{scenes.path} has no band {missing[0]}, only {', '.join(scenes.bands)}; "
                f"expected all bands of {patches.path}"
            )
        self.size, self._own = patches.size, len(self.image)
        self._bands = [scenes.bands.index(band) for band in self.bands]
        self._pixels, self._flags = Shards(scenes.array("reflectance")), Shards(scenes.array("scl"))
        self._mask = scenes.mask
        self._kept: dict[int, NDArray[Any]] = {}
        index = patches.index.iloc[patches.indices("train")]
        places = np.stack([index["row"], index["col"]], axis=1).astype(np.int64)
        if stride is not None:
            places = covered(places, self.size, stride, self._flags.shape[1:])
        dates = range(len(scenes.items))
        found = [
            (date, row, column)
            for date in track(dates, label="pretrain: clear windows")
            for row, column in places.tolist()
            if self._usable(date, row, column).mean() >= least
        ]
        if not found:
            raise GeoductError(
                f"no date of {scenes.path} is clear on {least:.0%} of any of {len(places)} windows of {self.size} "
                "pixels; expected a smaller --min-clear, or scenes with fewer clouds"
            )
        self.windows = np.array(found, np.int64)
        items = [str(item["id"]) for item in scenes.items]
        self.names = [f"{items[date]} at row {row}, column {column}" for date, row, column in found]

    def __len__(self) -> int:
        """Number of patches and windows."""
        return self._own + len(self.windows)

    @property
    def numbers(self) -> Indices:
        """The numbers of the windows."""
        return np.arange(self._own, len(self), dtype=np.int64)

    def read(self, patch: int, image: NDArray[Any], label: NDArray[Any]) -> None:
        """Read one patch, or the window of this number."""
        if patch < self._own:
            super().read(patch, image, label)
            return
        label[...] = IGNORE
        if (kept := self._kept.get(patch)) is not None:
            image[...] = kept
            return
        date, row, column = self.windows[patch - self._own].tolist()
        for place, band in enumerate(self._bands):
            image[place] = self._band(date, band, row, column)
        image[:, ~(self._clear(date, row, column) & image.all(axis=0))] = 0
        if (len(self._kept) + 1) * image.nbytes <= KEPT_BYTES:
            self._kept[patch] = image.copy()

    def read_into(self, patches: NDArray[np.integer[Any]], images: NDArray[Any], labels: NDArray[Any]) -> None:
        """Read `patches` (n,), which may be numbers of windows, into `images` and `labels`."""
        for patch, image, label in zip(patches.tolist(), images, labels, strict=True):
            self.read(patch, image, label)

    def _band(self, date: int, band: int, row: int, column: int) -> NDArray[np.uint16]:
        """(y, x) uint16 of one band in a window, as stored."""
        rows, columns = slice(row, row + self.size), slice(column, column + self.size)
        values: NDArray[np.uint16] = self._pixels.read(slice(date, date + 1), slice(band, band + 1), rows, columns)[
            0, 0
        ]
        return values

    def _clear(self, date: int, row: int, column: int) -> Mask:
        """(y, x): what the mask of a date leaves of a window; a cloud beside it grows into it."""
        spans = []
        for start, length in zip((row, column), self._flags.shape[1:], strict=True):
            spans.append(slice(max(0, start - MARGIN), min(length, start + self.size + MARGIN)))
        ruled = unclear(self._flags.read(slice(date, date + 1), *spans), self._mask, MASKED, MARGIN)[0]
        top, left = row - spans[0].start, column - spans[1].start
        clear: Mask = ~ruled[top : top + self.size, left : left + self.size]
        return clear

    def _usable(self, date: int, row: int, column: int) -> Mask:
        """(y, x): where a look is clear and its first band is data; a mask need not say where there is none."""
        clear = self._clear(date, row, column)
        return clear & (self._band(date, self._bands[0], row, column) != 0) if clear.any() else clear

    @staticmethod
    def _require_grid(patches: PatchSet, scenes: SceneCube) -> None:
        """Refuse scenes whose pixels do not lie where those of the patches do."""
        index, geobox, size = patches.index, scenes.geobox, patches.size
        places, bounds, t = index[["col", "row"]].to_numpy(), index.bounds, ~geobox.transform
        off = 0.0
        for corner, edge in ((("minx", "maxy"), 0), (("maxx", "miny"), size)):
            x, y = (bounds[side].to_numpy() for side in corner)
            found = np.stack([t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f], axis=1)
            off = max(off, float(np.abs(found - places - edge).max()))
        inside = (places.max(axis=0) + size <= (geobox.shape[1], geobox.shape[0])).all()
        if index.crs != geobox.crs or off > OFF or not inside:
            raise GeoductError(
                f"{scenes.path} is on another grid than {patches.path}: its upper left corner is at "
                f"({geobox.transform.c:.2f}, {geobox.transform.f:.2f}) in {geobox.crs}; expected the scenes that the "
                "patches' composite was made of"
            )


def covered(places: Indices, size: int, stride: int, shape: tuple[int, ...]) -> Indices:
    """Windows of `size` pixels, one each `stride` pixels of a scene of `shape`, that such windows at `places` cover.

    Both are (n, 2) int64, row and column of the upper left pixel; no pixel of a window lies outside all the places.
    """
    height, width = shape
    inside = np.zeros((height, width), bool)
    for row, column in places.tolist():
        inside[row : row + size, column : column + size] = True
    starts = np.arange(0, width - size + 1, stride)
    found = []
    for row in range(0, height - size + 1, stride):
        # Sums over columns that are inside from top to bottom say how many of them a window holds.
        run = np.concatenate([[0], np.cumsum(inside[row : row + size].all(axis=0))])
        found += [(row, column) for column in starts[run[starts + size] - run[starts] == size].tolist()]
    return np.array(found, np.int64).reshape(-1, 2)
