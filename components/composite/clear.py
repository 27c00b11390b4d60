"""Which looks at a pixel are clear: the scene classification's classes, and a margin around clouds and shadows.

Sentinel-2's scene classification misses the thin edges of clouds, so what it calls cloud or cloud shadow grows by a
disk. Nodata and saturated pixels do not grow: their neighbours are sound.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

NODATA, SATURATED, SHADOW, CLOUD_MEDIUM, CLOUD_HIGH, CIRRUS = 0, 1, 3, 8, 9, 10
"""Classes of Sentinel-2's scene classification (Level-2A Algorithm Theoretical Basis Document)."""

GROWING = (SHADOW, CLOUD_MEDIUM, CLOUD_HIGH, CIRRUS)

Mask = NDArray[np.bool_]


def dilate(mask: Mask, radius: int) -> Mask:
    """Grow the true pixels of `mask` (..., y, x) by a disk: all within `radius` pixels of one, between centres.

    A disk is a stack of rows, widest in the middle: rows are widened step by step and laid over each other, which
    takes 4 x radius passes instead of one a pixel of the disk.
    """
    grown = mask.copy()
    wide, reach = mask.copy(), 0
    for dy in range(radius, -1, -1):
        half = math.isqrt(radius * radius - dy * dy)
        for dx in range(reach + 1, half + 1):
            wide[..., dx:] |= mask[..., :-dx]
            wide[..., :-dx] |= mask[..., dx:]
        reach = max(reach, half)
        if dy:
            grown[..., dy:, :] |= wide[..., :-dy, :]
            grown[..., :-dy, :] |= wide[..., dy:, :]
        else:
            grown |= wide
    return grown


def unclear(flags: NDArray[Any], kind: str, classes: Collection[int], radius: int) -> Mask:
    """Looks that the mask band rules out, shape as `flags` (time, y, x) uint8.

    `kind` says what the flags are: `scl` (the `classes` are ruled out), `clm` (everything but 0 is cloud) or `none`.
    """
    if kind == "none":
        return np.zeros(flags.shape, bool)
    if kind == "clm":
        return dilate(flags != 0, radius)
    table = np.zeros(256, bool)
    table[list(classes)] = True
    still = table.copy()
    still[list(GROWING)] = False
    moving = table & ~still
    ruled: Mask = dilate(moving[flags], radius) | still[flags]
    return ruled
