"""Scores from confusion matrices: pure functions of arrays, so that one model, its baselines, every bootstrap
resample and, side by side, several models are all scored by the same lines.

A confusion matrix counts samples (pixels, or patches for a classification) by truth (row) and prediction (column).
All functions take any number of leading axes. A class without a sample of truth is left out of every mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "miou", "kappa")
"""Names of the scores that `scores` gives, in the order in which they are shown."""


@dataclass(frozen=True)
class ClassScores:
    """Scores of each class, all of shape (…, class): precision, recall, F1, IoU (0 where undefined), support and
    prediction counts. `present` is false where the class has no sample of truth."""

    precision: Floats
    recall: Floats
    f1: Floats
    iou: Floats
    support: Floats
    predicted: Floats

    @property
    def present(self) -> NDArray[np.bool_]:
        """Whether a class has a sample of truth."""
        return self.support > 0


def confusion_matrix(truth: NDArray[Any], predicted: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Count samples by truth and prediction; both (n,) class indices below `classes`. Returns (class, class)."""
    pairs = truth.astype(np.intp) * classes + predicted
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def _ratio(above: Any, below: Any) -> Floats:
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    ratio: Floats = np.divide(above, below, out=np.zeros(above.shape), where=below > 0)
    return ratio


def class_scores(confusion: NDArray[Any]) -> ClassScores:
    """Scores of each class from confusion matrices (…, class, class)."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    support, predicted = confusion.sum(-1).astype(np.float64), confusion.sum(-2).astype(np.float64)
    return ClassScores(
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, support + predicted),
        iou=_ratio(hits, support + predicted - hits),
        support=support,
        predicted=predicted,
    )


def scores(confusion: NDArray[Any]) -> dict[str, Floats]:
    """The `SCORES` of confusion matrices (…, class, class), each of shape (…).

    Balanced accuracy is the mean recall, macro-F1 and mIoU the means of F1 and IoU, over classes present in the
    truth; weighted F1 weighs by support. Kappa is Cohen's: 0 where chance alone would be always right.
    """
    each = class_scores(confusion)
    count = each.present.sum(-1)
    total = each.support.sum(-1)
    accuracy = _ratio(np.diagonal(confusion, axis1=-2, axis2=-1).sum(-1), total)
    chance = _ratio((each.support * each.predicted).sum(-1), total * total)
    return {
        "accuracy": accuracy,
        "balanced_accuracy": _ratio((each.recall * each.present).sum(-1), count),
        "macro_f1": _ratio((each.f1 * each.present).sum(-1), count),
        "weighted_f1": _ratio((each.f1 * each.support).sum(-1), total),
        "miou": _ratio((each.iou * each.present).sum(-1), count),
        "kappa": _ratio(accuracy - chance, np.where(chance < 1, 1 - chance, 0)),
    }
