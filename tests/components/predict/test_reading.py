"""What a reader asks of the store, and what it holds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from components.predict.pipeline import Tiling
from components.predict.reading import PENDING_ROWS, RowEnd, Work, batches


def works(pixels: NDArray[np.uint16], batch_size: int, windows: list[tuple[slice, slice]]) -> list[Work]:
    """All batches of a scene in tiles of 16 and blocks of 40 pixels; the windows that were read go into `windows`."""

    def read(rows: slice, columns: slice) -> NDArray[np.uint16]:
        windows.append((rows, columns))
        return pixels[:, rows, columns]

    t = Tiling.of((pixels.shape[1], pixels.shape[2]), 16, 0.25, 40)
    return list(batches(read, len(pixels), t.rows, t.columns, t.blocks, batch_size, 20))


def test_each_row_of_chunks_is_read_once_a_block_and_all_bands_together() -> None:
    windows: list[tuple[slice, slice]] = []
    works(np.ones((2, 90, 100), np.uint16), 4, windows)
    blocks = Tiling.of((90, 100), 16, 0.25, 40).blocks
    rows = [slice(a, b) for a, b in pairwise([0, 20, 40, 60, 80, 90])]
    assert windows == [(r, slice(b.x0, b.end)) for b in blocks for r in rows]


def test_batches_are_of_one_size_and_no_more_than_needed() -> None:
    found = works(np.ones((2, 90, 100), np.uint16), 7, [])
    assert {w.pixels.shape for w in found} == {(7, 2, 16, 16)}
    assert [w.tiles for w in found[:-2]] == [7] * (len(found) - 2)
    few = works(np.ones((2, 16, 40), np.uint16), 16, [])
    assert few[0].pixels.shape[0] == few[0].tiles == 3


def test_masks_of_a_scene_without_tiles_do_not_pile_up() -> None:
    found = works(np.zeros((1, 5000, 16), np.uint16), 64, [])
    ends = [sum(isinstance(step, RowEnd) for step in w.steps) for w in found]
    assert sum(ends) == 417 and max(ends) <= PENDING_ROWS
    assert all(w.tiles == 0 for w in found)
