"""Intervals by the block bootstrap: neighbouring pixels resemble one another, so whole blocks are drawn, never pixels.

Counts add up over blocks. A resample is therefore a vector of how often each block was drawn, and all resamples of
all counts are one matrix product.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FEW = 10
"""With fewer blocks than this the percentile interval is only rough: too few different resamples exist."""


class Interval(NamedTuple):
    """Lower and upper end of a percentile interval."""

    low: float
    high: float


def draw(blocks: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each block is drawn in each resample, (resample, block): `blocks` draws with replacement."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples).astype(np.float64)


def resampled(counts: NDArray[Any], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of per-block counts (block, …) over the blocks of each resample, (resample, …)."""
    sums: NDArray[np.float64] = draws @ counts.reshape(len(counts), -1)
    return sums.reshape(len(draws), *counts.shape[1:])


def interval(values: NDArray[Any], level: float, defined: NDArray[np.bool_] | None = None) -> Interval:
    """Percentile interval of a score over resamples (resample,), of those where it is `defined`.

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    kept = values if defined is None or not defined.any() else values[defined]
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
