"""Scores of sets of classes, beside scikit-learn's, and what a patch holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

from components.artifacts import PatchSet
from components.learning.sets import SetScores, average_precision, held
from tests.components.train.worlds import hide, land, patchset


def answers(n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth and logits (n, class) that have something to do with it, in steps so that there are ties."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, classes)) < np.linspace(0.1, 0.7, classes)
    return truth, (np.round(4 * (rng.normal(0, 1, truth.shape) + truth)) / 4 - 0.5).astype(np.float32)


def test_average_precision_is_scikit_learns_with_weights_and_ties() -> None:
    truth, logits = answers(80, 3)
    weights = np.random.default_rng(1).integers(0, 4, (20, 80)).astype(float)
    for c in range(3):
        assert len(np.unique(logits[:, c])) < 40
        expected = [average_precision_score(truth[:, c], logits[:, c], sample_weight=row) for row in weights]
        np.testing.assert_allclose(average_precision(truth[:, c], logits[:, c], weights), expected, rtol=1e-12)


def test_a_class_that_no_counted_sample_holds_has_no_precision() -> None:
    truth, scores = np.array([True, False, False]), np.array([0.1, 0.2, 0.3])
    assert average_precision(truth, scores, np.array([[0, 1, 1], [1, 1, 1]])).tolist() == [0.0, pytest.approx(1 / 3)]


def test_the_scores_of_an_epoch_are_scikit_learns_over_the_classes_that_occur() -> None:
    truth, logits = answers(90, 4)
    truth[:, 2] = False
    metric = SetScores()
    for part in np.array_split(np.arange(90), 7):
        metric.update(torch.from_numpy(logits[part]), torch.from_numpy(truth[part].astype(np.float32)))
    kept = [0, 1, 3]
    expected = {
        "val_macro_f1": f1_score(truth[:, kept], logits[:, kept] > 0, average="macro"),
        "val_macro_ap": average_precision_score(truth[:, kept], logits[:, kept], average="macro"),
    }
    assert metric.compute() == pytest.approx(expected)
    metric.reset()
    metric.update(torch.zeros(2, 4), torch.zeros(2, 4))
    assert metric.compute() == {"val_macro_f1": 0.0, "val_macro_ap": 0.0}


def test_a_patch_holds_what_covers_enough_of_it(tmp_path: Path) -> None:
    image, label = land(30, 16, 3, seed=0)
    label[1], label[2] = hide(label[1], 0, 1, 2), 255
    label[2, 0, :2] = 1  # 2 of 256 pixels
    world: PatchSet = patchset(tmp_path / "patches", image, label)
    kept = [0, *range(2, 18)]
    shares = np.stack([(label[kept] == c).mean((1, 2)) for c in range(3)], 1)
    for least in (0.005, 0.01, 0.4):
        np.testing.assert_array_equal(held(world, "train", least), shares >= least)
    assert held(world, "train", 0.005)[1].tolist() == [False, True, False]
    assert not held(world, "train", 0.01)[1].any()
