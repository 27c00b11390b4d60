"""What to improve in a model of sets: rules over the figures of one evaluation, as for the other tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.artifacts.nomenclature import Nomenclature
from components.evaluate.calibration import calibration_error, certainty, fit_temperature, reliability
from components.evaluate.findings import (
    LEAST_TO_FIT,
    SMALL_SHARE,
    Finding,
    absent_classes,
    capitalised,
    few_blocks,
    overfit,
    strange_patches,
    uncertain_gain,
)
from components.evaluate.history import History
from components.evaluate.judge import Gain
from components.evaluate.multilabel.judge import Judged
from components.evaluate.multilabel.measure import Measured, decisions
from components.evaluate.wording import count, percent, score

KEPT_DECISIONS = 50_000
"""How many decisions the temperature is fitted on."""
BADLY_CUT = 0.2
"""By how much the average precision of a class has to exceed its F1 for its threshold to be worth a sentence."""
WELL_RANKED = 0.2
"""How much of the way from chance to a perfect ranking makes the ranking a good one."""
FALSE_ALARMS = 0.1
"""Share of the patches said to hold a class that has to be wrong to be worth a sentence."""
FAR = 0.05
"""By how much more of the decisions a block has to get wrong than the median one to be worth a sentence."""


@dataclass(frozen=True)
class Evidence:
    """All that the rules look at. `train` (class,) counts the train patches that hold each class, of `train_patches`;
    `history` has a list of numbers per column; `same_patches` is whether the model was trained on this very PatchSet;
    `seed` draws the decisions that a temperature is fitted on."""

    measured: Measured
    judged: Judged
    gains: Mapping[str, Mapping[str, Gain]]
    nomenclature: Nomenclature
    train: NDArray[np.int64]
    train_patches: int
    history: History
    level: float
    bins: int
    same_patches: bool
    seed: int


def findings(e: Evidence) -> list[Finding]:
    """Every finding that the figures give, the most telling first."""
    blocks = len(e.measured.blocks)
    return capitalised(
        strange_patches(e.same_patches),
        uncertain_gain(e.gains["logistic"]["macro_f1"], e.level, blocks, "set of band averages"),
        _missed(e),
        _claimed(e),
        _thresholds(e),
        overfit(e.history),
        _calibration(e),
        _places(e),
        absent_classes(e.nomenclature, e.judged.each.present),
        few_blocks(blocks),
    )


def _missed(e: Evidence) -> Iterator[Finding]:
    """The class of which the largest share is missed."""
    each = e.judged.each
    present = np.flatnonzero(each.present)
    if len(present) < 2 or not (each.recall[present] < 1).any():
        return
    c = int(present[each.recall[present].argmin()])
    others = score(float(each.recall[present[present != c]].mean()))
    share = e.train[c] / e.train_patches
    advice = (
        "It is rare in training: more patches with it, or a sampler that draws them more often, come first."
        if share < SMALL_SHARE
        else "It is not rare in training, so more of it will help little: look at its labels first, and at how little "
        "of it makes a patch count."
    )
    yield Finding(
        f"{e.nomenclature.names[c]} is missed most",
        f"It is missed in {count(int(each.support[c] - each.hits[c]))} of the {count(int(each.support[c]))} held-out "
        f"patches that hold it: a recall of {score(float(each.recall[c]))}, against {others} on average over the "
        f"other classes. {percent(share)} of the train patches hold it ({count(int(e.train[c]))}). {advice}",
    )


def _claimed(e: Evidence) -> Iterator[Finding]:
    """The class that accounts for most of what is said to be there and is not."""
    each = e.judged.each
    false = each.predicted - each.hits
    c = int(false.argmax())
    if false[c] < FALSE_ALARMS * each.predicted[c] or not false[c]:
        return
    held = (
        f"it is there in {count(int(each.hits[c]))} of the {count(int(each.predicted[c]))} patches where the model says"
        " so"
    )
    yield Finding(
        f"{e.nomenclature.names[c]} is seen where it is not",
        f"{count(int(false[c]))} of {count(int(false.sum()))} false alarms are of this class; {held}. Part of them may "
        "be less of the class than makes a patch count, or ground that the labels lack.",
    )


def _thresholds(e: Evidence) -> Iterator[Finding]:
    """A class that is ranked well, which is more than as by chance, and decided badly."""
    each = e.judged.each
    chance = each.support / e.judged.samples  # the average precision of a ranking by lot
    well = each.present & (each.ap - chance > WELL_RANKED * (1 - chance))
    gap = np.where(well, each.ap - each.f1, 0)
    c = int(gap.argmax())
    if gap[c] < BADLY_CUT:
        return
    yield Finding(
        f"{e.nomenclature.names[c]} deserves a threshold of its own",
        f"Its average precision is {score(float(each.ap[c]))}, but its F1 {score(float(each.f1[c]))}: the model ranks "
        "the patches well by this class, and a probability of one half cuts them in the wrong place. Choose its "
        "threshold on the val split.",
    )


def _calibration(e: Evidence) -> Iterator[Finding]:
    judged = e.judged
    right, sure, error = 1 - judged.scores["hamming_loss"], judged.mean_confidence, judged.scores["ece"]
    if error < 0.01:
        return
    text = (
        f"It is sure of a decision to {percent(sure)} on average and right in {percent(right)}; the expected "
        f"calibration error is {score(error)}."
    )
    logits, truth = e.measured.logits["model"].ravel(), e.measured.truth.ravel()
    if len(truth) > KEPT_DECISIONS:
        kept = np.random.default_rng(e.seed).choice(len(truth), KEPT_DECISIONS, replace=False)
        logits, truth = logits[kept], truth[kept]
    if len(truth) >= LEAST_TO_FIT:
        choices = decisions(logits)
        temperature = fit_temperature(choices, truth)
        before, after = (_error(choices / np.float32(t), truth, e.bins) for t in (1.0, temperature))
        if after < before:  # it is fitted by the log-loss, which another error may not follow
            text += (
                f" Dividing the logits by a temperature of {temperature:.2f} would take it from {score(before)} to "
                f"{score(after)} on the {count(len(truth))} decisions on which the temperature was fitted (so a little "
                "less elsewhere); no decision would change."
            )
    yield Finding(f"The model is {'overconfident' if sure > right else 'underconfident'}", text)


def _error(choices: NDArray[np.float32], truth: NDArray[np.bool_], bins: int) -> float:
    found = certainty(choices, truth)
    return float(calibration_error(reliability(found.confidence, found.predicted == truth, bins)))


def _places(e: Evidence) -> Iterator[Finding]:
    measured = e.measured
    wrong = np.zeros(len(measured.blocks))
    np.add.at(wrong, measured.positions, (measured.said("model") != measured.truth).sum(1))
    sizes = measured.sizes()
    shares = wrong / (sizes * measured.truth.shape[1])
    worst, middle = int(shares.argmax()), float(np.median(shares))
    if len(sizes) < 3 or shares[worst] - middle < FAR:
        return
    yield Finding(
        f"Look at block {measured.blocks[worst]}",
        f"{percent(float(shares[worst]))} of its decisions are wrong, against a median of {percent(middle)} over "
        f"{len(sizes)} blocks; it holds {percent(sizes[worst] / sizes.sum())} of the patches and "
        f"{percent(wrong[worst] / wrong.sum())} of the errors.",
    )
