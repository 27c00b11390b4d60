"""Reads a composite tile by tile into batches, each chunk decoded once a column block, and notes where it is nodata.

Every batch has the same shape, the last one filled up: a network's arithmetic may differ in the last bit between
batch sizes, and a map must not depend on which tiles were left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from components.predict.tiles import Axis, Columns

Pixels = NDArray[np.uint16]
Read = Callable[[slice, slice], Pixels]
"""Reads `(rows, columns)` of all bands that the model wants, in its order: uint16 `(band, y, x)`, 0 = nodata."""

PENDING_ROWS = 32
"""Rows of tiles whose nodata masks wait, at most, for a batch to fill up: where hardly a tile holds a pixel, a batch
is handed over unfilled rather than masks of the whole scene held."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile that needs the network: where it stands in the batch, its block, and its column of tiles."""

    slot: int
    block: int
    column: int


@dataclass(frozen=True, slots=True)
class RowEnd:
    """A row of tiles of a block is complete; `nodata` is bool `(y, x)` over the pixels that this finishes."""

    block: int
    row: int
    nodata: NDArray[np.bool_]


@dataclass
class Work:
    """A batch, uint16 `(batch, band, y, x)`, of which `tiles` are in use, and what to do in what order."""

    pixels: Pixels
    tiles: int = 0
    steps: list[Tile | RowEnd] = field(default_factory=list)


def chunk_rows(read: Read, edges: Sequence[int], columns: slice) -> Callable[[int, int], list[tuple[int, Pixels]]]:
    """Give access to rows of pixels, held as the rows of chunks that `edges` bound; each is read once.

    The function returned takes the first row and the row after the last, ascending from call to call, and returns
    `(first row, (band, y, x))` of every row of chunks that they touch.
    """
    held: dict[int, Pixels] = {}

    def rows(start: int, stop: int) -> list[tuple[int, Pixels]]:
        for top in [t for t in held if t + held[t].shape[1] <= start]:
            del held[top]
        for top, bottom in pairwise(edges):
            if top < stop and bottom > start and top not in held:
                held[top] = read(slice(top, bottom), columns)
        return [(top, held[top]) for top in sorted(held) if top < stop]

    return rows


def batches(
    read: Read, bands: int, rows: Axis, columns: Axis, blocks: Sequence[Columns], batch_size: int, chunk: int
) -> Iterator[Work]:
    """Read tiles in order of block, row and column, and yield them in batches.

    A pixel is nodata where any band is: the model saw no such pixel in training. A tile without one valid pixel is
    left out. Two batches take turns: one that was yielded is overwritten when the next but one is asked for.

    Args:
        read: reads a window of the composite.
        bands: number of bands.
        rows: tiles down the scene.
        columns: tiles across it.
        blocks: how its columns are grouped.
        batch_size: tiles in a batch, at most; as many batches of equal size are made as that needs.
        chunk: rows of pixels that are read at a time, the height of a stored chunk.
    """
    total = len(rows.starts) * len(columns.starts)
    size = -(-total // -(-total // batch_size))
    shape = (size, bands, rows.tile, columns.tile)
    buffers = [np.zeros(shape, np.uint16), np.zeros(shape, np.uint16)]
    edges = [*range(0, rows.length, chunk), rows.length]
    work, ended = Work(buffers[0]), 0

    for number, block in enumerate(blocks):
        held = chunk_rows(read, edges, slice(block.x0, block.end))
        masks: dict[int, NDArray[np.bool_]] = {}
        for row, y0 in enumerate(rows.starts):
            parts = held(y0, rows.end(row))
            masks = {top: masks[top] if top in masks else part.min(axis=0) == 0 for top, part in parts}
            nodata = np.concatenate([masks[top] for top, _ in parts])[y0 - parts[0][0] :][: rows.extent]
            for column in range(block.first, block.last):
                x = columns.starts[column] - block.x0
                if nodata[:, x : x + columns.extent].all():
                    continue
                for top, part in parts:
                    a, b = max(top, y0), min(top + part.shape[1], y0 + rows.extent)
                    target = work.pixels[work.tiles, :, a - y0 : b - y0, : columns.extent]
                    target[...] = part[:, a - top : b - top, x : x + columns.extent]
                work.steps.append(Tile(work.tiles, number, column))
                work.tiles += 1
                if work.tiles == size:
                    yield work
                    buffers.reverse()
                    work, ended = Work(buffers[0]), 0
            finished = nodata[: rows.done(row) - y0, : block.x1 - block.x0].copy()
            work.steps.append(RowEnd(number, row, finished))
            ended += 1
            if ended == PENDING_ROWS:
                yield work
                buffers.reverse()
                work, ended = Work(buffers[0]), 0
    yield work
