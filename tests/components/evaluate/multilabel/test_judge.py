"""Scores of sets of classes beside scikit-learn's, their intervals, and findings that follow from built-in mistakes."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, hamming_loss, log_loss
from sklearn.metrics import precision_recall_fscore_support as by_class

from components.evaluate.bootstrap import draw
from components.evaluate.findings import Finding
from components.evaluate.judge import Gain
from components.evaluate.mosaic import Mosaic
from components.evaluate.multilabel.examples import choose
from components.evaluate.multilabel.findings import Evidence, findings
from components.evaluate.multilabel.judge import SCORES, compare, judge, score_sets
from components.evaluate.multilabel.measure import Measured
from components.evaluate.multilabel.verdict import meaning
from tests.makers import nomenclature

CLASSES, BLOCKS, PATCHES = 4, 12, 240


def measured(truth: np.ndarray, **logits: np.ndarray) -> Measured:
    """Patches in `BLOCKS` blocks of different sizes, with a truth and the logits of some classifiers."""
    positions = np.sort(np.random.default_rng(5).integers(0, BLOCKS, len(truth)))
    positions[:BLOCKS] = np.arange(BLOCKS)
    return Measured(
        np.arange(len(truth)),
        [f"b{i}" for i in range(BLOCKS)],
        positions,
        truth,
        {who: values.astype(np.float32) for who, values in logits.items()},
        cast(Mosaic, None),
    )


def random_answers(seed: int = 0, absent: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random((PATCHES, CLASSES)) < [0.1, 0.3, 0.5, 0.7]
    if absent is not None:
        truth[:, absent] = False
    return truth, np.round(rng.normal(0, 1.5, truth.shape) + 2 * truth - 1, 1)


def test_all_scores_are_scikit_learns_over_the_classes_present() -> None:
    truth, logits = random_answers(absent=1)
    found = judge(measured(truth, model=logits), "model", np.ones((20, BLOCKS)), 0.9, 10)
    said, kept = logits > 0, [0, 2, 3]
    expected = {
        "macro_f1": f1_score(truth[:, kept], said[:, kept], average="macro"),
        "micro_f1": f1_score(truth, said, average="micro"),
        "weighted_f1": f1_score(truth, said, average="weighted", zero_division=0),
        "macro_ap": average_precision_score(truth[:, kept], logits[:, kept], average="macro"),
        "subset_accuracy": accuracy_score(truth, said),
        "hamming_loss": hamming_loss(truth, said),
    }
    assert {name: found.scores[name] for name in expected} == pytest.approx(expected)
    chance = 1 / (1 + np.exp(-logits.astype(np.float32).astype(np.float64)))
    assert found.scores["log_loss"] == pytest.approx(log_loss(truth.ravel(), chance.ravel()), rel=1e-5)
    precision, recall, f1, support = by_class(truth, said, zero_division=0)
    np.testing.assert_allclose(found.each.precision, precision)
    np.testing.assert_allclose(found.each.recall, recall)
    np.testing.assert_allclose(found.each.f1, f1)
    np.testing.assert_array_equal(found.each.support, support)
    assert found.each.present.tolist() == [True, False, True, True]
    for c in kept:
        assert found.each.ap[c] == pytest.approx(average_precision_score(truth[:, c], logits[:, c]))


def test_the_calibration_error_is_that_of_single_decisions() -> None:
    """Ten decisions in ten are said with 0.9 and nine of them are right; or five, and the gap is 0.4."""
    truth = np.ones((100, 2), bool)
    truth[:10, 0] = False
    truth[:50, 1] = False
    found = judge(measured(truth, model=np.full(truth.shape, np.log(9.0))), "model", np.ones((10, BLOCKS)), 0.9, 10)
    assert found.scores["ece"] == pytest.approx(abs((90 + 50) / 200 - 0.9), abs=1e-6)
    assert found.mean_confidence == pytest.approx(0.9)
    assert (found.decisions, found.samples) == (200, 100)


def test_a_resample_scores_as_if_its_blocks_were_there_as_often_as_drawn() -> None:
    truth, logits = random_answers(3)
    made = measured(truth, model=logits)
    draws = draw(BLOCKS, 25, seed=1)
    spread, each, _ = score_sets(made, "model", draws, 10)
    for r, row in enumerate(draws.astype(int)):
        repeated = np.repeat(np.arange(PATCHES), row[made.positions])
        again = truth[repeated], logits[repeated] > 0
        present = again[0].any(0)
        assert spread["subset_accuracy"][r] == pytest.approx(accuracy_score(*again))
        macro = f1_score(again[0][:, present], again[1][:, present], average="macro")
        assert spread["macro_f1"][r] == pytest.approx(macro)
        for c in np.flatnonzero(present):
            assert each.ap[r, c] == pytest.approx(average_precision_score(again[0][:, c], logits[repeated][:, c]))


def test_many_resamples_are_ranked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, logits = random_answers(3)
    made, draws = measured(truth, model=logits), draw(BLOCKS, 25, seed=1)
    _, whole, _ = score_sets(made, "model", draws, 10)
    monkeypatch.setattr("components.evaluate.multilabel.judge.AT_ONCE", 7 * PATCHES)
    _, parts, _ = score_sets(made, "model", draws, 10)
    np.testing.assert_array_equal(parts.ap, whole.ap)


def test_gains_are_paired_and_an_interval_of_no_difference_is_none() -> None:
    truth, logits = random_answers()
    made = measured(truth, model=logits, same=logits, worse=-logits)
    draws = draw(BLOCKS, 60, seed=1)
    judged = {who: judge(made, who, draws, 0.9, 10) for who in made.logits}
    assert all(gain == (0, 0, 0) for gain in compare(judged["model"], judged["same"], 0.9).values())
    gain = compare(judged["model"], judged["worse"], 0.9)
    assert set(gain) == set(SCORES)
    assert gain["macro_f1"].certain and 0 < gain["macro_f1"].low < gain["macro_f1"].value < gain["macro_f1"].high
    assert gain["hamming_loss"].high < 0


def test_a_single_block_tells_nothing_of_the_spread() -> None:
    truth, logits = random_answers()
    made = measured(truth, model=logits, worse=-logits)
    made.blocks, made.positions = ["b0"], np.zeros(PATCHES, int)
    one, other = (judge(made, who, np.ones((10, 1)), 0.9, 10) for who in ("model", "worse"))
    assert set(one.intervals.values()) == {(0.0, 1.0)} == set(one.class_intervals["ap"])
    assert compare(one, other, 0.9)["macro_f1"][1:] == (-1.0, 1.0)


def said_of(truth: np.ndarray, logits: np.ndarray, **other: Any) -> dict[str, str]:
    """What the rules find in answers, against baselines that are never right."""
    made = measured(truth, model=logits, logistic=np.where(truth, -9.0, 9.0))
    draws = draw(BLOCKS, 60, seed=0)
    judged = {who: judge(made, who, draws, 0.95, 10) for who in made.logits}
    gains = {"logistic": compare(judged["model"], judged["logistic"], 0.95)}
    known = {
        "measured": made,
        "judged": judged["model"],
        "gains": gains,
        "nomenclature": nomenclature(CLASSES),
        "train": np.array([10, 50, 60, 70]),
        "train_patches": 300,
        "history": {},
        "level": 0.95,
        "bins": 10,
        "same_patches": True,
        "seed": 0,
    }
    found: list[Finding] = findings(Evidence(**{**known, **other}))
    return {f.title: f.text for f in found}


def test_findings_say_what_was_built_in() -> None:
    truth, _ = random_answers()
    logits = np.where(truth, 9.0, -9.0)
    held = np.flatnonzero(truth[:, 0])
    logits[held[:-4], 0] = -9.0  # class 1 is found in four patches alone
    free = np.flatnonzero(~truth[:, 2])[:30]
    logits[free, 2] = 9.0  # class 3 is seen in thirty where it is not
    logits[:, 3] = np.where(truth[:, 3], -1.0, -2.0)  # class 4 is ranked without a fault and never said
    said = said_of(truth, logits, same_patches=False)
    missed = said["Class 4 is missed most"]
    assert f"missed in {truth[:, 3].sum()} of the {truth[:, 3].sum()}" in missed and "a recall of 0.000" in missed
    assert "30 of 30 false alarms are of this class" in said["Class 3 is seen where it is not"]
    assert "average precision is 1.000, but its F1 0.000" in said["Class 4 deserves a threshold of its own"]
    assert "Make sure that the model has not seen these blocks" in said
    assert "The model is overconfident" in said
    rare = said_of(truth, np.where(truth, [-9.0, 9, 9, 9], -9.0))["Class 1 is missed most"]
    assert "It is rare in training" in rare and "3.3\u202f% of the train patches hold it (10)" in rare


def test_a_class_that_is_ranked_by_lot_needs_no_threshold() -> None:
    """Average precision by lot is the share of the patches, here seven in ten, and so well above an F1 of 0."""
    truth, _ = random_answers()
    logits = np.where(truth, 9.0, -9.0)
    logits[:, 3] = -1 - np.random.default_rng(4).random(PATCHES)
    said = said_of(truth, logits)
    assert "Class 4 is missed most" in said and not any("threshold" in title for title in said)


def test_a_block_that_is_worse_than_the_others_is_named() -> None:
    truth, _ = random_answers()
    made = measured(truth)
    logits = np.where(truth ^ (made.positions == 7)[:, None], 9.0, -9.0)
    assert (
        "100.0\u202f% of its decisions are wrong, against a median of 0.0" in said_of(truth, logits)["Look at block b7"]
    )


def test_a_perfect_model_is_told_nothing() -> None:
    truth, _ = random_answers()
    assert said_of(truth, np.where(truth, 9.0, -9.0)) == {}


def test_a_gain_that_holds_nothing_is_told() -> None:
    truth, _ = random_answers()
    gains = {"logistic": {"macro_f1": Gain(0.01, -0.02, 0.03)}}
    said = said_of(truth, np.where(truth, 9.0, -9.0), gains=gains)
    assert (
        "a regression that sees one set of band averages"
        in said["The gain over the logistic regression is not certain"]
    )


@pytest.mark.parametrize(("share", "words"), [(0.015, "1.5"), (0.0004, "0.04"), (0.125, "12.5"), (0.1, "10")])
def test_the_share_that_makes_a_patch_hold_a_class_is_told_as_it_is(share: float, words: str) -> None:
    assert f"covers {words}\u202f% of its pixels or more" in meaning(share)


def test_examples_are_the_surest_mistakes_and_the_least_sure_of_the_right() -> None:
    truth = np.tile([True, False, True, False], (20, 1))
    logits = np.where(truth, 5.0, -5.0)
    logits[3, 1], logits[8, 0], logits[11, 0] = 7.0, -2.0, -9.0
    logits[5, 2], logits[6, 3] = 0.5, -0.25
    wrong, unsure = choose(measured(truth, model=logits), 3)
    assert wrong.tolist() == [11, 3, 8]
    assert unsure[:2].tolist() == [6, 5]
