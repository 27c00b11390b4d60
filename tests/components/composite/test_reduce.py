"""Reductions and masks against plain references that share no code with them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from components.composite.clear import dilate, unclear
from components.composite.reduce import best, median, observations


def looks(count: int, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Reflectance (time, 3 bands, 30, 40) over the whole of uint16, and which of it is clear."""
    random = np.random.default_rng(seed)
    return random.integers(1, 65536, (count, 3, 30, 40)).astype("uint16"), random.random((count, 30, 40)) < share


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 11, 16, 23])
@pytest.mark.parametrize("share", [0.1, 0.6, 1.0])
def test_median_is_numpys(count: int, share: float) -> None:
    pixels, clear = looks(count, share, count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of pixels without a clear look
        expected = np.nanmedian(np.where(clear[:, None], pixels, np.nan), axis=0)
    expected = np.where(clear.any(axis=0), np.floor(expected + 0.5), 0)
    assert (median(pixels, clear) == expected).all()


def test_median_of_an_even_number_rounds_half_up() -> None:
    pixels = np.array([10, 13, 999], "uint16").reshape(3, 1, 1, 1)
    clear = np.array([True, True, False]).reshape(3, 1, 1)
    assert median(pixels, clear).item() == 12


def test_best_is_one_clear_look_and_no_other_is_nearer_to_the_median() -> None:
    pixels, clear = looks(7, 0.7)
    found, middle = best(pixels, clear).astype("int64"), median(pixels, clear).astype("int64")
    for y, x in np.ndindex(30, 40):
        sound = pixels[clear[:, y, x], :, y, x].astype("int64")
        if not len(sound):
            assert (found[:, y, x] == 0).all()
            continue
        distances = ((sound - middle[:, y, x]) ** 2).sum(axis=1)
        assert (found[:, y, x] == sound[distances.argmin()]).all()


def test_observations_saturate() -> None:
    clear = np.ones((300, 1, 2), bool)
    clear[:60, 0, 1] = False
    assert observations(clear).tolist() == [[255, 240]]


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 4, 7, 40])
def test_dilation_is_a_euclidean_disk(radius: int) -> None:
    mask = np.random.default_rng(radius).random((50, 37)) < 0.01
    assert (dilate(mask, radius) == (distance_transform_edt(~mask) <= radius)).all()


def test_only_clouds_and_shadows_grow() -> None:
    for code in range(12):
        flags = np.full((1, 9, 9), 4, "uint8")
        flags[0, 4, 4] = code
        ruled = unclear(flags, "scl", [0, 1, 3, 8, 9, 10], 2).sum()
        assert ruled == {0: 1, 1: 1, 3: 13, 8: 13, 9: 13, 10: 13}.get(code, 0)


def test_classes_are_by_choice() -> None:
    flags = np.array([[[8, 11, 4, 4, 4]]], "uint8")
    assert unclear(flags, "scl", [11], 1).tolist() == [[[False, True, False, False, False]]]
    assert unclear(flags, "scl", [], 1).sum() == 0


def test_other_masks() -> None:
    flags = np.array([[[0, 0, 0, 1]]], "uint8")
    assert unclear(flags, "clm", [0, 1, 3, 8, 9, 10], 1).tolist() == [[[False, False, True, True]]]
    assert unclear(flags, "none", [0], 1).sum() == 0
