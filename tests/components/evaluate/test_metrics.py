"""Scores against scikit-learn and torchmetrics on random data, and where those leave a case undefined."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as peer
from sklearn import metrics as sk

from components.evaluate.metrics import SCORES, class_scores, confusion_matrix, scores

CLASSES = 6


@pytest.fixture(params=[0, 1, 2])
def drawn(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction of 5000 samples, right in about half; classes of very different size."""
    generator = np.random.default_rng(request.param)
    truth = generator.choice(CLASSES, 5000, p=[0.4, 0.3, 0.15, 0.1, 0.04, 0.01])
    predicted = np.where(generator.random(5000) < 0.5, truth, generator.integers(0, CLASSES, 5000))
    return truth, predicted


def test_scores_agree_with_scikit_learn(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    truth, predicted = drawn
    confusion = confusion_matrix(truth, predicted, CLASSES)
    assert np.array_equal(confusion, sk.confusion_matrix(truth, predicted))
    found = scores(confusion)
    assert found == {
        "accuracy": pytest.approx(sk.accuracy_score(truth, predicted)),
        "balanced_accuracy": pytest.approx(sk.balanced_accuracy_score(truth, predicted)),
        "macro_f1": pytest.approx(sk.f1_score(truth, predicted, average="macro")),
        "weighted_f1": pytest.approx(sk.f1_score(truth, predicted, average="weighted")),
        "miou": pytest.approx(sk.jaccard_score(truth, predicted, average="macro")),
        "kappa": pytest.approx(sk.cohen_kappa_score(truth, predicted)),
    }
    iou = peer.multiclass_jaccard_index(torch.from_numpy(predicted), torch.from_numpy(truth), CLASSES)
    assert found["miou"] == pytest.approx(float(iou))


def test_scores_of_each_class_agree_with_scikit_learn(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    truth, predicted = drawn
    each = class_scores(confusion_matrix(truth, predicted, CLASSES))
    precision, recall, f1, support = sk.precision_recall_fscore_support(truth, predicted)
    np.testing.assert_allclose(each.precision, precision)
    np.testing.assert_allclose(each.recall, recall)
    np.testing.assert_allclose(each.f1, f1)
    np.testing.assert_allclose(each.iou, sk.jaccard_score(truth, predicted, average=None))
    np.testing.assert_array_equal(each.support, support)
    np.testing.assert_array_equal(each.predicted, np.bincount(predicted))


def test_class_without_truth_is_left_out_of_every_mean() -> None:
    truth, predicted = np.array([0, 0, 1, 1, 1, 1]), np.array([0, 2, 1, 1, 1, 0])
    found = scores(confusion_matrix(truth, predicted, 4))
    present = [0, 1]
    assert found["macro_f1"] == pytest.approx(sk.f1_score(truth, predicted, average="macro", labels=present))
    assert found["miou"] == pytest.approx(sk.jaccard_score(truth, predicted, average="macro", labels=present))
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 3 / 4) / 2)
    each = class_scores(confusion_matrix(truth, predicted, 4))
    assert each.present.tolist() == [True, True, False, False]
    assert each.precision[2] == 0 and each.predicted[2] == 1  # predicted, but never true


def test_nothing_at_all_scores_zero_not_nan() -> None:
    found = scores(np.zeros((3, 3), int))
    assert {name: float(value) for name, value in found.items()} == dict.fromkeys(SCORES, 0.0)


def test_perfect_and_constant_prediction() -> None:
    truth = np.repeat([0, 1, 2], [60, 30, 10])
    assert set(map(float, scores(confusion_matrix(truth, truth, 3)).values())) == {1.0}
    constant = {k: float(v) for k, v in scores(confusion_matrix(truth, np.zeros_like(truth), 3)).items()}
    assert constant == pytest.approx(
        {
            "accuracy": 0.6,
            "balanced_accuracy": 1 / 3,
            "macro_f1": 0.75 / 3,
            "weighted_f1": 0.6 * 0.75,
            "miou": 0.6 / 3,
            "kappa": 0.0,
        }
    )


def test_one_class_predicted_as_such_has_no_agreement_beyond_chance() -> None:
    assert scores(confusion_matrix(np.zeros(5, int), np.zeros(5, int), 2))["kappa"] == 0


def test_stacked_matrices_are_scored_one_by_one() -> None:
    stack = np.random.default_rng(0).integers(0, 50, (4, 3, 3))
    together = scores(stack)
    for i, confusion in enumerate(stack):
        for name, value in scores(confusion).items():
            assert together[name][i] == value
