from __future__ import annotations

import numpy as np
import pytest

from components.patch.statistics import PERCENTILES, describe, histogram


@pytest.mark.parametrize("high", [3, 300, 65536])
def test_statistics_are_those_of_numpy(high: int) -> None:
    image = np.random.default_rng(0).integers(0, high, (11, 2, 17, 13)).astype("uint16")
    image[3] = 0
    counts = histogram(image)
    for band in range(2):
        values = image[:, band][image[:, band] > 0].astype("float64")
        found = describe(counts[band])
        assert found["mean"] == pytest.approx(values.mean(), rel=1e-12)
        assert found["std"] == pytest.approx(values.std(), rel=1e-9)
        assert (found["min"], found["max"]) == (values.min(), values.max())
        for name, percent in PERCENTILES.items():
            assert found[name] == pytest.approx(np.percentile(values, percent), rel=1e-12)


def test_histograms_merge() -> None:
    image = np.random.default_rng(1).integers(0, 5000, (20, 3, 8, 8)).astype("uint16")
    assert (histogram(image) == histogram(image[:7]) + histogram(image[7:])).all()


def test_a_band_without_values_has_zeros() -> None:
    assert set(describe(histogram(np.zeros((2, 1, 4, 4), "uint16"))[0]).values()) == {0.0}
