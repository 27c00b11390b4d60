"""Noise depends on place alone."""

from __future__ import annotations

import numpy as np
import pytest

from components.simulate.noise import Grid, Points, fractal, key_of, normal, uniform


@pytest.mark.parametrize("wavelength", [3.2, 40.0, 700.0])
def test_a_window_is_a_cut_of_a_larger_one(wavelength: float) -> None:
    whole = Grid(-60, 120, 90, 80).smooth(key_of(0, "a"), wavelength)
    part = Grid(-60 + 17, 120 + 33, 20, 30).smooth(key_of(0, "a"), wavelength)
    np.testing.assert_array_equal(part, whole[17:37, 33:63])


def test_scattered_places_see_the_same_noise() -> None:
    grid = Grid(5, -9, 12, 14)
    y, x = np.broadcast_arrays(grid.y, grid.x)
    scattered = Points(y, x).smooth(key_of(3, "b"), 7.5)
    np.testing.assert_allclose(scattered, grid.smooth(key_of(3, "b"), 7.5), atol=1e-5)


def test_noise_at_another_step_samples_the_same_field() -> None:
    coarse = Grid(0, 0, 20, 20, step=2)
    y, x = np.broadcast_arrays(coarse.y, coarse.x)
    np.testing.assert_allclose(
        Points(y, x).smooth(key_of(1, "c"), 15.0), coarse.smooth(key_of(1, "c"), 15.0), atol=1e-5
    )


def test_seed_and_name_choose_the_stream() -> None:
    grid = Grid(0, 0, 200, 200)
    fields = [grid.smooth(key_of(seed, name), 5.0) for seed, name in ((0, "a"), (0, "b"), (1, "a"))]
    assert abs(np.corrcoef([f.ravel() for f in fields]) - np.eye(3)).max() < 0.1


def test_moments() -> None:
    grid = Grid(0, 0, 700, 700)
    draws = normal(key_of(0, "n"), grid.rows, grid.columns)
    assert abs(draws.mean()) < 0.005
    assert draws.std() == pytest.approx(1.0, abs=0.005)
    assert abs(draws).max() <= 3.46
    assert uniform(key_of(0, "u"), grid.rows, grid.columns).mean() == pytest.approx(0.5, abs=0.005)
    assert fractal(grid, key_of(0, "f"), 20.0, 3).std() == pytest.approx(1.0, abs=0.1)


def test_neighbouring_draws_are_independent() -> None:
    grid = Grid(0, 0, 400, 400)
    draws = normal(key_of(0, "n"), grid.rows, grid.columns)
    for shifted in (draws[1:, :-1], draws[:-1, 1:], draws[1:, 1:]):
        assert abs(np.corrcoef(draws[:-1, :-1].ravel(), shifted.ravel())[0, 1]) < 0.01
