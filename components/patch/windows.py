"""The windows of a scene: where patches could be cut, and how many pixels of each class each window holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from components.artifacts.nomenclature import IGNORE
from components.blocks import Block, blocks_of, run_blocks
from components.errors import GeoductError
from components.patch.scene import Scene

REGION = 1024
"""Edge of the part of a scene that is looked through at a time, in pixels."""


@dataclass(frozen=True)
class Windows:
    """Windows of `size` x `size` pixels: `row` and `col` of their upper left pixel, pixel `counts` (window, class)."""

    size: int
    row: np.ndarray[Any, np.dtype[np.int64]]
    col: np.ndarray[Any, np.dtype[np.int64]]
    counts: np.ndarray[Any, np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.row)

    @property
    def valid_fraction(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Share of each window's pixels that have both reflectance and a class."""
        return np.asarray(self.counts.sum(axis=1) / self.size**2, "float64")

    def take(self, which: Any) -> Windows:
        """Some of the windows, by mask or number."""
        return Windows(self.size, self.row[which], self.col[which], self.counts[which])

    def without(self, classes: list[int]) -> Windows:
        """The windows with the pixels of some classes ignored."""
        counts = self.counts.copy()
        counts[:, classes] = 0
        return Windows(self.size, self.row, self.col, counts)


def count_windows(scene: Scene, size: int, stride: int, classes: int, *, workers: int | None) -> Windows:
    """Look at every window of a scene, `stride` pixels apart from its upper left corner on; memory stays bounded.

    Raises:
        GeoductError: the scene is smaller than a window, or a label has a class that the nomenclature lacks.
    """
    height, width = scene.shape
    if size > height or size > width:
        raise GeoductError(
            f"--size is {size}, but the scene is only {width} x {height} pixels (width x height); "
            f"expected at most {min(height, width)}"
        )
    grid = (height - size) // stride + 1, (width - size) // stride + 1
    step = max(1, REGION // stride)

    def count(block: Block) -> np.ndarray[Any, np.dtype[np.int64]]:
        rows, cols = ((n - 1) * stride + size for n in block.shape)
        _, label = scene.read(block.y0 * stride, block.x0 * stride, rows, cols)
        found = np.empty((*block.shape, IGNORE + 1), "int64")
        for y, x in np.ndindex(block.shape):
            part = label[y * stride : y * stride + size, x * stride : x * stride + size]
            found[y, x] = np.bincount(part.ravel(), minlength=IGNORE + 1)
        if found[..., classes:IGNORE].any():
            strange = classes + int(np.flatnonzero(found[..., classes:IGNORE].any(axis=(0, 1)))[0])
            raise GeoductError(f"the labels hold class index {strange}, but their nomenclature has {classes} classes")
        return found[..., :classes]

    counts = np.zeros((*grid, classes), "int64")
    parts = blocks_of(grid, step)
    for part, found in zip(parts, run_blocks(count, parts, workers=workers, label="look"), strict=True):
        counts[part.window] = found
    row, col = np.meshgrid(np.arange(grid[0]) * stride, np.arange(grid[1]) * stride, indexing="ij")
    return Windows(size, row.ravel(), col.ravel(), counts.reshape(-1, classes))
