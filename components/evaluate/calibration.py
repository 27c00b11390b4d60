"""How far a model's confidence can be believed: reliability bins, expected calibration error, a fitted temperature."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Certainty(NamedTuple):
    """What logits say of samples, each (n,): the class, its softmax probability, the log-loss of the truth and the
    entropy of all classes, both in nats."""

    predicted: NDArray[np.intp]
    confidence: NDArray[np.float32]
    log_loss: NDArray[np.float32]
    entropy: NDArray[np.float32]


class Bins(NamedTuple):
    """Samples by confidence in equal-width bins, each (…, bin): their number, how many are right, sum of confidence."""

    number: Floats
    correct: Floats
    confidence: Floats


def certainty(logits: NDArray[np.float32], truth: NDArray[Any]) -> Certainty:
    """Read logits (class, n) against the truth (n,) of class indices. Of equal logits the first class is taken."""
    predicted = logits.argmax(0)
    shifted = logits - logits.max(0)
    weights = np.exp(shifted)
    total = weights.sum(0)
    log_total = np.log(total)
    return Certainty(
        predicted,
        1 / total,
        log_total - np.take_along_axis(shifted, truth[None].astype(np.intp), 0)[0],
        log_total - (weights * shifted).sum(0) / total,
    )


def reliability(confidence: NDArray[Any], correct: NDArray[Any], bins: int) -> Bins:
    """Sort samples (n,) into `bins` equal-width bins of confidence; bin i holds ]i/bins, (i+1)/bins]."""
    place = np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(np.intp) - 1, 0, bins - 1)
    return Bins(
        np.bincount(place, minlength=bins).astype(np.float64),
        np.bincount(place, weights=correct, minlength=bins).astype(np.float64),
        np.bincount(place, weights=confidence, minlength=bins).astype(np.float64),
    )


def calibration_error(bins: Bins) -> Floats:
    """Expected calibration error of bins (…, bin): mean gap of accuracy and confidence, weighed by samples.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    total = bins.number.sum(-1)
    gap = np.abs(bins.correct - bins.confidence).sum(-1)
    error: Floats = np.divide(gap, total, out=np.zeros(np.shape(total)), where=total > 0)
    return error


def fit_temperature(logits: NDArray[np.float32], truth: NDArray[Any]) -> float:
    """The temperature that makes the log-loss of `logits / temperature` least; logits (class, n), truth (n,).

    Above 1 the model is overconfident. Sought between 0.05 and 20. Guo et al. 2017, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    wide = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        return float(certainty(wide / np.exp(log_temperature), truth).log_loss.mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))
