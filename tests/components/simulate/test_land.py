"""The land holds every class again and again, whatever the seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from components.simulate.corine import CODES
from components.simulate.land import LAKE, RIVER, SEA, survey
from components.simulate.noise import Grid

STEP = 4


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_class_lies_in_many_places_of_20_km(seed: int) -> None:
    classes = survey(Grid(0, 0, 512, 512, STEP), seed).classes
    squares = classes.reshape(8, 64, 8, 64).swapaxes(1, 2).reshape(64, -1)  # squares of 2.56 km
    for code in CODES:
        share = (squares == code).mean(axis=1)
        assert (share > 0.02).sum() >= 8, f"class {code} lies in {(share > 0.02).sum()} squares only"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_regions_are_larger_than_corines_smallest(seed: int) -> None:
    classes = survey(Grid(0, 0, 512, 512, STEP), seed).classes
    smallest = 25e4 / (10.0 * STEP) ** 2  # 25 ha in pixels
    in_large = 0
    for code in CODES:
        parts, count = ndimage.label(classes == code)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        in_large += sizes[sizes >= smallest].sum()
    assert in_large / (classes != RIVER).sum() > 0.9


def test_rivers_run_on_land_and_water_lies_at_sea_level() -> None:
    land = survey(Grid(0, 0, 600, 600), 0)
    assert (land.classes == RIVER).any()
    assert not ((land.river > 0) & np.isin(land.classes, (SEA, LAKE))).any()
    assert (land.metres[np.isin(land.classes, (SEA, LAKE))] == 0).all()
    assert land.metres.max() > 500


def test_a_window_is_a_cut_of_a_larger_one() -> None:
    whole, part = survey(Grid(0, 0, 240, 240), 5), survey(Grid(90, 60, 48, 72), 5)
    for name in ("classes", "height", "metres", "river", "gravel", "region"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[90:138, 60:132], err_msg=name)


def test_another_seed_is_another_land() -> None:
    grid = Grid(0, 0, 256, 256, STEP)
    assert (survey(grid, 0).classes != survey(grid, 1).classes).mean() > 0.7
