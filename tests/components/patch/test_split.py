from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.patch.geometry import DISCARDED, TEST, TRAIN, VAL, Blocks, fates, make_cells
from components.patch.search import search
from components.patch.windows import Windows
from tests.components.patch.scenes import patchwork

SHARES = (0.70, 0.15, 0.15)


def windows_of(label: np.ndarray[Any, Any], size: int, stride: int, classes: int) -> Windows:
    rows, cols = (np.arange(0, n - size + 1, stride) for n in label.shape)
    row, col = (a.ravel() for a in np.meshgrid(rows, cols, indexing="ij"))
    counts = [
        np.bincount(label[r : r + size, c : c + size].ravel(), minlength=classes) for r, c in zip(row, col, strict=True)
    ]
    return Windows(size, row, col, np.array(counts))


def gaps(start: np.ndarray[Any, Any], end: np.ndarray[Any, Any], low: int, high: int) -> np.ndarray[Any, Any]:
    """Pixels between [start, end) and [low, high) along one axis; 0 if they touch or overlap."""
    return np.maximum(0, np.maximum(low - end, start - high))


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(40, 100), st.integers(40, 100)),
    size=st.integers(4, 24),
    stride=st.integers(3, 30),
    edge=st.tuples(st.integers(4, 40), st.integers(4, 40)),
    buffer=st.tuples(st.floats(0, 40), st.floats(0, 40)),
    assignment_seed=st.integers(0, 2**16),
)
def test_splits_keep_their_distance_whatever_the_geometry(
    shape: tuple[int, int],
    size: int,
    stride: int,
    edge: tuple[int, int],
    buffer: tuple[float, float],
    assignment_seed: int,
) -> None:
    # Any assignment of blocks, not only one that the search would choose.
    windows = windows_of(np.zeros(shape, int), size, stride, 1)
    blocks = Blocks(shape, edge)
    rng = np.random.default_rng(assignment_seed)
    assignment = rng.choice([TRAIN, VAL, TEST], blocks.grid, p=[0.9, 0.05, 0.05])
    cells = make_cells(windows, blocks, buffer)
    split = fates(cells, assignment)[0][cells.cell_of]
    owner = np.kron(assignment, np.ones(edge, int))[: shape[0], : shape[1]]
    for row, col, s in zip(windows.row, windows.col, split, strict=True):
        if s != DISCARDED:
            assert (owner[row : row + size, col : col + size] == s).all()
    for held, givers in ((TEST, (TRAIN, VAL)), (VAL, (TRAIN,))):
        giving = np.isin(split, givers)
        row, col = windows.row[giving], windows.col[giving]
        for y, x in np.argwhere(assignment == held):
            down = gaps(row, row + size, y * edge[0], min((y + 1) * edge[0], shape[0]))
            across = gaps(col, col + size, x * edge[1], min((x + 1) * edge[1], shape[1]))
            assert ((down >= buffer[0]) | (across >= buffer[1])).all()


@settings(max_examples=30)
@given(
    size=st.integers(4, 16),
    edge=st.integers(16, 40),
    buffer=st.floats(0, 30),
    seed=st.integers(0, 2**16),
)
def test_a_window_is_discarded_only_for_a_reason(size: int, edge: int, buffer: float, seed: int) -> None:
    shape = (120, 96)
    windows = windows_of(np.zeros(shape, int), size, size, 1)
    blocks = Blocks(shape, (edge, edge))
    assignment = np.random.default_rng(seed).choice([TRAIN, VAL, TEST], blocks.grid, p=[0.8, 0.1, 0.1])
    cells = make_cells(windows, blocks, (buffer, buffer))
    split = fates(cells, assignment)[0][cells.cell_of]
    owner = np.kron(assignment, np.ones((edge, edge), int))[: shape[0], : shape[1]]
    for row, col, s in zip(windows.row, windows.col, split, strict=True):
        inside = owner[row : row + size, col : col + size]
        if s != DISCARDED or len(np.unique(inside)) > 1:
            continue
        # It lies in blocks of one split, so a block of a higher split must be nearer than the buffer.
        near = [
            max(gaps(row, row + size, y * edge, (y + 1) * edge), gaps(col, col + size, x * edge, (x + 1) * edge))
            for y, x in np.argwhere(assignment > inside[0, 0])
        ]
        assert min(near) < buffer


@pytest.mark.parametrize(("size", "stride", "edge"), [(64, 64, 128), (64, 32, 128), (60, 60, 100)])
def test_the_search_reaches_the_shares_and_every_class(size: int, stride: int, edge: int) -> None:
    label = patchwork(1024, 1024, 8, grain=40)
    windows = windows_of(label, size, stride, 8)
    cells = make_cells(windows, Blocks(label.shape, (edge, edge)), (size, size))
    split = fates(cells, search(cells, SHARES, seed=3))[0][cells.cell_of]
    kept = np.array([(split == s).sum() for s in (TRAIN, VAL, TEST)])
    assert np.abs(kept / kept.sum() - SHARES).max() < 0.05
    for s in (TRAIN, VAL, TEST):
        assert windows.counts[split == s].any(axis=0).all()
    assert kept.sum() > 0.5 * len(windows)


def test_a_class_that_lies_in_one_place_goes_to_train() -> None:
    label = patchwork(512, 512, 3, grain=32)
    label[300:310, 200:210] = 3
    windows = windows_of(label, 32, 32, 4)
    cells = make_cells(windows, Blocks(label.shape, (64, 64)), (32.0, 32.0))
    split = fates(cells, search(cells, SHARES, seed=0))[0][cells.cell_of]
    assert windows.counts[split == TRAIN][:, 3].any()


def test_the_search_repeats_itself_and_heeds_its_seed() -> None:
    windows = windows_of(patchwork(512, 512, 4), 32, 32, 4)
    cells = make_cells(windows, Blocks((512, 512), (64, 64)), (32.0, 32.0))
    first, again, other = (search(cells, SHARES, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
