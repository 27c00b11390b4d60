"""From answers to judgements: scores of sets of classes, their intervals by the block bootstrap, and gains.

Counts add up over blocks, so that a resample of blocks is a weighted sum; average precision ranks all patches, each
counted as often as its block was drawn. Classes that no patch of a resample holds are left out of its means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.bootstrap import Interval, interval, resampled
from components.evaluate.calibration import Bins, calibration_error, reliability
from components.evaluate.judge import Gain
from components.evaluate.multilabel.measure import Measured, sureness
from components.learning.sets import average_precision

Floats = NDArray[np.float64]

SCORES = ("macro_f1", "micro_f1", "weighted_f1", "macro_ap", "subset_accuracy", "hamming_loss", "ece")
"""Those that have an interval, in the order in which they are shown."""
PER_CLASS = ("precision", "recall", "ap", "f1")

AT_ONCE = 1_000_000
"""Patches of resamples that are ranked at a time, which bounds the memory of it."""

RANGE = Interval(0.0, 1.0)
"""All values that a score can have: what is known of its spread from a single block."""


@dataclass(frozen=True)
class ClassScores:
    """Scores of each class, all of shape (…, class): precision, recall, F1 and average precision (0 where undefined),
    in how many patches it is (`support`), is said to be (`predicted`), and is said to be rightly (`hits`)."""

    precision: Floats
    recall: Floats
    f1: Floats
    ap: Floats
    support: Floats
    predicted: Floats
    hits: Floats

    @property
    def present(self) -> NDArray[np.bool_]:
        """Whether a patch holds the class."""
        return self.support > 0


@dataclass(frozen=True)
class Judged:
    """One classifier, judged.

    `scores` holds the `SCORES`, and `log_loss` and `entropy` a decision in nats; `intervals` those of the `SCORES`;
    `each` the scores of every class and `class_intervals` theirs, by score, one a class. `bins` are of all decisions.
    `spread` and `class_spread` hold the scores of each resample, from which gains over another classifier come;
    `samples` counts the patches, `blocks` theirs.
    """

    scores: dict[str, float]
    intervals: dict[str, Interval]
    each: ClassScores
    class_intervals: dict[str, list[Interval]]
    bins: Bins
    spread: dict[str, Floats]
    class_spread: ClassScores
    samples: int
    blocks: int

    @property
    def decisions(self) -> int:
        """How many were taken: one a class and patch."""
        return int(self.bins.number.sum())

    @property
    def mean_confidence(self) -> float:
        """Mean probability given to what was decided."""
        return float(self.bins.confidence.sum() / self.decisions)


def _ratio(above: Floats, below: Floats) -> Floats:
    ratio: Floats = np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)
    return ratio


def _by_block(measured: Measured, values: NDArray[np.bool_]) -> Floats:
    """Sums of values (n, …) over the patches of each block, (block, …)."""
    sums = np.zeros((len(measured.blocks), *values.shape[1:]))
    np.add.at(sums, measured.positions, values)
    return sums


def score_sets(measured: Measured, who: str, draws: Floats, bins: int) -> tuple[dict[str, Floats], ClassScores, Bins]:
    """The `SCORES` of each resample, each (resample,), those of each class, (resample, class), and the bins.

    `draws` (resample, block) says how often each block counts; a row of ones gives the scores themselves.
    """
    truth, said = measured.truth, measured.said(who)
    hits, support, predicted = (resampled(_by_block(measured, values), draws) for values in (truth & said, truth, said))
    logits = measured.logits[who]
    each = ClassScores(
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, support + predicted),
        ap=_precisions(measured, who, draws),
        support=support,
        predicted=predicted,
        hits=hits,
    )
    found = sureness(logits, truth)
    right = (found.predicted == truth.ravel()).reshape(truth.shape)
    counted = _bins(measured, found.confidence.reshape(truth.shape), right, bins)
    drawn = Bins(*(resampled(part, draws) for part in counted))
    patches = draws @ measured.sizes()
    count = each.present.sum(1).astype(np.float64)
    wrong = resampled(_by_block(measured, ~right), draws).sum(1)
    return (
        {
            "macro_f1": _ratio((each.f1 * each.present).sum(1), count),
            "micro_f1": _ratio(2 * hits.sum(1), support.sum(1) + predicted.sum(1)),
            "weighted_f1": _ratio((each.f1 * support).sum(1), support.sum(1)),
            "macro_ap": _ratio((each.ap * each.present).sum(1), count),
            "subset_accuracy": _ratio(resampled(_by_block(measured, right.all(1)), draws), patches),
            "hamming_loss": _ratio(wrong, patches * truth.shape[1]),
            "ece": calibration_error(drawn),
        },
        each,
        drawn,
    )


def _precisions(measured: Measured, who: str, draws: Floats) -> Floats:
    """Average precision of each class in each resample, (resample, class)."""
    found = np.zeros((len(draws), measured.truth.shape[1]))
    step = max(1, AT_ONCE // len(measured.positions))
    for start in range(0, len(draws), step):
        weights = draws[start : start + step, measured.positions]
        for c, (truth, logits) in enumerate(zip(measured.truth.T, measured.logits[who].T, strict=True)):
            found[start : start + step, c] = average_precision(truth, logits, weights)
    return found


def _bins(measured: Measured, confidence: NDArray[np.float32], right: NDArray[np.bool_], bins: int) -> Bins:
    """The decisions of each block by confidence, each (block, bin)."""
    parts = []
    for block in range(len(measured.blocks)):
        here = measured.positions == block
        parts.append(reliability(confidence[here].ravel(), right[here].ravel(), bins))
    return Bins(*(np.stack(column) for column in zip(*parts, strict=True)))


def judge(measured: Measured, who: str, draws: Floats, level: float, bins: int) -> Judged:
    """Score one classifier; `draws` (resample, block) come from `bootstrap.draw`.

    A single block leaves nothing to resample: each interval is then the whole range of its score.
    """
    blocks = draws.shape[1]
    point, each, counted = score_sets(measured, who, np.ones((1, blocks)), bins)
    spread, class_spread, _ = score_sets(measured, who, draws, bins)
    found = sureness(measured.logits[who], measured.truth)
    means = {name: float(getattr(found, name).mean(dtype=np.float64)) for name in ("log_loss", "entropy")}
    first = ClassScores(**{name: values[0] for name, values in vars(each).items()})
    return Judged(
        scores={**{name: float(point[name][0]) for name in SCORES}, **means},
        intervals={name: interval(spread[name], level) if blocks > 1 else RANGE for name in SCORES},
        each=first,
        class_intervals={
            name: [
                interval(getattr(class_spread, name)[:, c], level, class_spread.present[:, c]) if blocks > 1 else RANGE
                for c in range(measured.truth.shape[1])
            ]
            for name in PER_CLASS
        },
        bins=Bins(*(part[0] for part in counted)),
        spread=spread,
        class_spread=class_spread,
        samples=len(measured.numbers),
        blocks=blocks,
    )


def compare(model: Judged, baseline: Judged, level: float) -> dict[str, Gain]:
    """By how much the model's `SCORES` exceed the baseline's, over the same resamples of the same blocks."""
    gains: dict[str, Gain] = {}
    for name in SCORES:
        ends = interval(model.spread[name] - baseline.spread[name], level) if model.blocks > 1 else Interval(-1.0, 1.0)
        gains[name] = Gain(model.scores[name] - baseline.scores[name], *ends)
    return gains


def compare_classes(model: Judged, baseline: Judged, level: float) -> dict[str, list[Gain]]:
    """By how much the model's scores of `PER_CLASS` exceed the baseline's, one gain a class, over the same resamples.

    A resample in which no patch holds a class says nothing of it.
    """
    present = model.class_spread.present
    gains: dict[str, list[Gain]] = {}
    for name in PER_CLASS:
        value = getattr(model.each, name) - getattr(baseline.each, name)
        differences = getattr(model.class_spread, name) - getattr(baseline.class_spread, name)
        gains[name] = [
            Gain(
                float(value[c]),
                *(interval(differences[:, c], level, present[:, c]) if model.blocks > 1 else Interval(-1.0, 1.0)),
            )
            for c in range(len(value))
        ]
    return gains
