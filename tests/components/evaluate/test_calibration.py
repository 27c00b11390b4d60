"""Calibration on data whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import entropy
from torchmetrics.functional.classification import multiclass_calibration_error

from components.evaluate.calibration import calibration_error, certainty, fit_temperature, reliability


def drawn(count: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (class, n) and truths that follow them exactly at `temperature`: 1 is perfectly calibrated."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (4, count)).astype(np.float32)
    share = softmax(logits / temperature, 0).cumsum(0)
    truth = (generator.random(count) > share[:-1]).sum(0)
    return logits, truth


def error_of(logits: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    found = certainty(logits, truth)
    return float(calibration_error(reliability(found.confidence, found.predicted == truth, bins)))


def test_certainty_agrees_with_scipy() -> None:
    logits, truth = drawn(500, 1.0)
    found = certainty(logits, truth)
    np.testing.assert_array_equal(found.predicted, logits.argmax(0))
    np.testing.assert_allclose(found.confidence, softmax(logits, 0).max(0), rtol=1e-5)
    np.testing.assert_allclose(found.log_loss, -log_softmax(logits, 0)[truth, np.arange(500)], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.entropy, entropy(softmax(logits, 0), axis=0), rtol=1e-4, atol=1e-5)


def test_huge_logits_stay_finite() -> None:
    found = certainty(np.array([[1e4], [-1e4]], np.float32), np.array([1]))
    assert found.confidence[0] == 1 and found.log_loss[0] == pytest.approx(2e4) and found.entropy[0] == 0


def test_calibration_error_agrees_with_torchmetrics() -> None:
    logits, truth = drawn(4000, 2.0)
    peer = multiclass_calibration_error(torch.from_numpy(softmax(logits, 0).T), torch.from_numpy(truth), 4, n_bins=15)
    assert error_of(logits, truth) == pytest.approx(float(peer), abs=1e-6)


def test_calibrated_data_have_almost_no_error_and_overconfident_ones_have() -> None:
    assert error_of(*drawn(200_000, 1.0)) < 0.005
    assert error_of(*drawn(200_000, 2.0)) > 0.15


def test_error_is_the_gap_where_all_confidence_is_the_same() -> None:
    confidence, correct = np.full(10, 0.9), np.arange(10) < 6
    assert calibration_error(reliability(confidence, correct, 10)) == pytest.approx(0.3)


def test_bins_hold_their_upper_edge() -> None:
    bins = reliability(np.array([0.0, 0.25, 0.2500001, 1.0]), np.array([0, 1, 0, 1]), 4)
    assert bins.number.tolist() == [2, 1, 0, 1]
    assert bins.correct.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_is_found(temperature: float) -> None:
    logits, truth = drawn(20_000, temperature)
    assert fit_temperature(logits, truth) == pytest.approx(temperature, rel=0.05)
