"""PatchSets of two periods, whose classes only both periods together tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components.artifacts import PatchSet
from components.artifacts.patchset import describe_patchset
from tests.components.train.worlds import BANDS, BRIGHT, DARK, land, patchset

PERIODS = (
    {"start": "2020-06-01", "end": "2020-06-30", "dates": ["2020-06-03T12:00:00Z"]},
    {"start": "2023-03-01", "end": "2023-03-02", "dates": ["2023-03-02T12:00:00Z"]},
)
MOMENTS = [[2020.0, 166.0], [2023.0, 59.0]]
"""Year and day of the year, counted from 0, of their middles: 15 June of a leap year, 1 March."""
STORED = tuple(f"{band}@{number}" for number in (1, 2) for band in BANDS)


def seasons(path: Path, count: int = 40, size: int = 32, seed: int = 0) -> PatchSet:
    """Patches of three bands in two periods: of class 0 bright in the first, of class 1 in the second, of 2 in both."""
    _, label = land(count, size, 3, seed)
    noise = np.random.default_rng(seed + 1).normal(0, 300, (count, len(STORED), size, size))
    bright = np.stack([label != 1, label != 0], axis=1).repeat(len(BANDS), axis=1)
    image = (np.where(bright, BRIGHT, DARK) + noise).clip(1, 10000).astype(np.uint16)
    patchset(path, image, label, bands=STORED)
    return with_periods(path)


def with_periods(path: Path) -> PatchSet:
    """The PatchSet that is at `path`, told of the periods of its bands."""
    describe_patchset(path, {"periods": list(PERIODS)})
    PatchSet(path).seal({})
    return PatchSet.open(path)
