"""The geometry of the spatial split: which blocks a window touches, and which lie within the buffer of it.

Distances are taken along rows and columns, the larger of the two counting (Chebyshev): what is kept apart by this
measure is at least as far apart as the crow flies. The blocks near a window then form a rectangle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.patch.windows import Windows

TRAIN, VAL, TEST, DISCARDED = 0, 1, 2, 3
"""Splits as numbers, in order of precedence: where two come too near to each other, the lower one gives way."""

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Blocks:
    """A grid of blocks of `edge` (y, x) pixels over a scene of `shape`; the last row and column may be cut off."""

    shape: tuple[int, int]
    edge: tuple[int, int]

    @property
    def grid(self) -> tuple[int, int]:
        """Number of blocks down and across."""
        return -(-self.shape[0] // self.edge[0]), -(-self.shape[1] // self.edge[1])


@dataclass(frozen=True)
class Cells:
    """Windows that touch the same blocks and have the same blocks near: they share their fate.

    `touched` and `near` are rectangles of blocks (cell, 4): first row, past last row, first column, past last column.
    `weight` (cell, 1 + class) holds the number of windows and their pixels of each class; `cell_of` (window,) says
    to which cell a window belongs.
    """

    blocks: Blocks
    touched: Ints
    near: Ints
    weight: np.ndarray[Any, np.dtype[np.float64]]
    cell_of: Ints


def make_cells(windows: Windows, blocks: Blocks, buffer: tuple[float, float]) -> Cells:
    """Group windows by the blocks they touch and those within `buffer` (y, x) pixels of them."""
    rectangles = []
    # Between whole pixels, "at least the buffer" is "at least the buffer rounded up"; then all is exact.
    whole = [math.ceil(b) for b in buffer]
    for margins in ([0, 0], whole):
        for start, edge, count, margin in zip(
            (windows.row, windows.col), blocks.edge, blocks.grid, margins, strict=True
        ):
            first = (start - margin) // edge
            past = -((start + windows.size + margin) // -edge)
            rectangles += [np.clip(first, 0, count), np.clip(past, 0, count)]
    table = np.stack(rectangles, axis=1)
    unique, cell_of = np.unique(table, axis=0, return_inverse=True)
    cell_of = cell_of.reshape(-1)
    weight = np.zeros((len(unique), 1 + windows.counts.shape[1]))
    np.add.at(weight, cell_of, np.column_stack([np.ones(len(windows)), windows.counts]))
    return Cells(blocks, unique[:, :4], unique[:, 4:], weight, cell_of)


def sums(grid: np.ndarray[Any, Any], rectangles: Ints) -> Ints:
    """Sum of `grid` (y, x) over each of the rectangles."""
    table = np.zeros((grid.shape[0] + 1, grid.shape[1] + 1), "int64")
    table[1:, 1:] = grid.cumsum(axis=0).cumsum(axis=1)
    y0, y1, x0, x1 = rectangles.T
    return np.asarray(table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0])


def areas(rectangles: Ints) -> Ints:
    """Number of blocks in each of the rectangles."""
    return np.asarray((rectangles[:, 1] - rectangles[:, 0]) * (rectangles[:, 3] - rectangles[:, 2]))


def fate(touched: Ints, near: Ints, size: Ints) -> Ints:
    """The split of each cell, or DISCARDED.

    `touched` and `near` (cell, 3) count the blocks of each split among those a cell touches and has near; `size`
    is how many it touches. A train cell has only train blocks near; a val cell touches val alone and has no test
    block near; a test cell touches test alone.
    """
    train = (near[:, VAL] == 0) & (near[:, TEST] == 0)
    val = (touched[:, VAL] == size) & (near[:, TEST] == 0)
    test = touched[:, TEST] == size
    return np.where(train, TRAIN, np.where(val, VAL, np.where(test, TEST, DISCARDED)))


def fates(cells: Cells, assignment: np.ndarray[Any, Any]) -> tuple[Ints, Ints, Ints]:
    """The split of each cell under an `assignment` (y, x) of blocks, and the counts `fate` takes (touched, near)."""
    touched = np.stack([sums(assignment == s, cells.touched) for s in (TRAIN, VAL, TEST)], axis=1)
    near = np.stack([sums(assignment == s, cells.near) for s in (TRAIN, VAL, TEST)], axis=1)
    return fate(touched, near, areas(cells.touched)), touched, near
