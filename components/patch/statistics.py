"""Exact statistics of uint16 bands in constant memory: one bin for each of the 65,536 values, mergeable."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

BINS = 65536
FEW = 8
"""Patches counted at a time: their values, widened to 64 bits by numpy, stay in the processor's cache."""
PERCENTILES = {"p01": 1, "p02": 2, "p50": 50, "p98": 98, "p99": 99}

Histogram = np.ndarray[Any, np.dtype[np.int64]]
"""How often each value occurs in each band (band, 65536)."""


def histogram(image: np.ndarray[Any, np.dtype[np.uint16]]) -> Histogram:
    """Count the values of images (patch, band, y, x), band by band."""
    counts = np.zeros((image.shape[1], BINS), "int64")
    for start in range(0, len(image), FEW):
        for band in range(image.shape[1]):
            found = np.bincount(image[start : start + FEW, band].ravel())
            counts[band, : len(found)] += found
    return counts


def describe(counts: Histogram) -> dict[str, float]:
    """Mean, std (of the population), min, max and percentiles (linear, as numpy's) of one band; value 0 is left out.

    All are computed in whole numbers up to the last division. A band without values gives NaN-free zeros.
    """
    counts = counts.copy()
    counts[0] = 0
    values = np.flatnonzero(counts)
    if values.size == 0:
        return dict.fromkeys(("mean", "std", "min", "max", *PERCENTILES), 0.0)
    times = counts[values]
    n = int(times.sum())
    total = sum(int(v) * int(t) for v, t in zip(values, times, strict=True))
    squares = sum(int(v) ** 2 * int(t) for v, t in zip(values, times, strict=True))
    below = np.cumsum(times)
    found = {
        "mean": total / n,
        "std": math.sqrt((n * squares - total * total) / n**2),
        "min": float(values[0]),
        "max": float(values[-1]),
    }
    for name, percent in PERCENTILES.items():
        position = percent / 100 * (n - 1)
        low = math.floor(position)
        at = np.searchsorted(below, [low, min(low + 1, n - 1)], side="right")
        a, b = (float(values[i]) for i in at)
        found[name] = a + (b - a) * (position - low)
    return found
