"""Tiles cover the scene, weigh 1 in all at every pixel, and fall into blocks that leave none out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.predict.tiles import axis, column_blocks

lengths = st.integers(1, 700)
tiles = st.integers(1, 130)
overlaps = st.floats(0, 0.75)


@given(lengths, tiles, overlaps)
def test_weights_sum_to_one_at_every_pixel(length: int, tile: int, overlap: float) -> None:
    placed = axis(length, tile, overlap)
    total = np.zeros(length, np.float32)
    for start, weights in zip(placed.starts, placed.weights, strict=True):
        assert (weights > 0).all() and len(weights) == placed.extent
        total[start : start + placed.extent] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)


@given(lengths, tiles, overlaps)
def test_tiles_lie_on_the_scene_and_share_what_was_asked(length: int, tile: int, overlap: float) -> None:
    placed = axis(length, tile, overlap)
    assert placed.starts[0] == 0 and placed.end(len(placed.starts) - 1) == length
    assert all(b > a and a + tile - b >= min(round(overlap * tile), tile - 1) for a, b in _pairs(placed.starts))


@given(lengths, tiles, overlaps, st.integers(1, 500))
def test_column_blocks_hold_each_tile_and_finish_each_pixel_once(
    length: int, tile: int, overlap: float, width: int
) -> None:
    placed = axis(length, tile, overlap)
    blocks = column_blocks(placed, width)
    assert [i for b in blocks for i in range(b.first, b.last)] == list(range(len(placed.starts)))
    assert [x for b in blocks for x in range(b.x0, b.x1)] == list(range(length))
    assert all(b.end - b.x0 <= max(width, tile) for b in blocks)


def test_where_one_tile_stands_alone_it_weighs_exactly_one() -> None:
    placed = axis(100, 40, 0.25)
    assert placed.starts == (0, 30, 60)
    assert (placed.weights[0, :30] == 1).all() and (placed.weights[1, 10:30] == 1).all()


def test_weights_fall_smoothly_across_an_overlap() -> None:
    falling = axis(70, 40, 0.25).weights[0, 30:]
    assert (np.diff(falling) < 0).all()
    np.testing.assert_allclose(falling, 1 - falling[::-1], atol=1e-6)


def _pairs(starts: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(pairwise(starts))
