"""Blocks cover a grid once, results come in order, and an error ends the run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.blocks import Block, blocks_of, run_blocks


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 60))
def test_blocks_cover_every_pixel_once(height: int, width: int, size: int) -> None:
    seen = np.zeros((height, width), int)
    for block in blocks_of((height, width), size):
        seen[block.window] += 1
    assert (seen == 1).all()


@given(st.integers(0, 9))
def test_grown_block_stays_inside(halo: int) -> None:
    grown = Block(2, 5, 6, 10).grow(halo, (7, 12))
    assert (grown.y0, grown.y1, grown.x0, grown.x1) == (
        max(2 - halo, 0),
        min(5 + halo, 7),
        max(6 - halo, 0),
        min(10 + halo, 12),
    )


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order(workers: int) -> None:
    blocks = blocks_of((40, 30), 10)
    assert list(run_blocks(lambda b: b, blocks, workers=workers)) == blocks


def test_first_error_is_raised_and_later_blocks_are_given_up() -> None:
    begun = []

    def work(block: Block) -> None:
        begun.append(block)
        if block.y0 == 10:
            raise ValueError("block 10")

    with pytest.raises(ValueError, match="block 10"):
        list(run_blocks(work, blocks_of((1000, 10), 10), workers=1))
    assert len(begun) < 10
