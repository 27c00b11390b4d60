"""Normalisation takes the statistics to their known places, and nodata to 0."""

from __future__ import annotations

import numpy as np
import pytest

from components.artifacts.model import Normalisation
from components.errors import GeoductError
from components.learning.normalisation import normalise, scaling_of

STATISTICS = {
    "B04": {"mean": 1000.0, "std": 250.0, "min": 1.0, "max": 4001.0, "p02": 500.0, "p98": 2500.0},
    "B08": {"mean": 3000.0, "std": 500.0, "min": 101.0, "max": 10101.0, "p02": 2000.0, "p98": 6000.0},
}


@pytest.mark.parametrize(
    ("normalisation", "low", "high", "values"),
    [
        ("standardise", "mean", "std", None),
        ("minmax", "min", "max", (0.0, 1.0)),
        ("percentile", "p02", "p98", (0.0, 1.0)),
    ],
)
def test_the_statistics_land_where_they_should(
    normalisation: Normalisation, low: str, high: str, values: tuple[float, float] | None
) -> None:
    scaling = scaling_of(STATISTICS, ["B08", "B04"], normalisation)
    for position, band in enumerate(["B08", "B04"]):
        first, second = STATISTICS[band][low], STATISTICS[band][high]
        if values is None:  # the mean, and one standard deviation above it
            second, expected = first + second, (0.0, 1.0)
        else:
            expected = values
        pixels = np.array([first, second], np.uint16).reshape(1, 1, 2).repeat(2, axis=0)
        out = np.empty(pixels.shape, np.float32)
        normalise(pixels, scaling, out)
        np.testing.assert_allclose(out[position, 0], expected, atol=1e-6)


def test_nodata_becomes_zero_in_its_band_alone() -> None:
    pixels = np.full((2, 3, 3), 2000, np.uint16)
    pixels[0, 1, 1] = 0
    out = np.full(pixels.shape, np.nan, np.float32)
    normalise(pixels, scaling_of(STATISTICS, ["B04", "B08"], "standardise"), out)
    assert out[0, 1, 1] == 0
    assert out[1, 1, 1] == pytest.approx(-2.0)
    assert np.count_nonzero(out[0] == 4.0) == 8


def test_a_constant_band_is_refused() -> None:
    flat = {"B04": {"min": 7.0, "max": 7.0}}
    with pytest.raises(GeoductError, match="band B04 cannot be normalised by 'minmax': its min and max are 7 and 7"):
        scaling_of(flat, ["B04"], "minmax")
