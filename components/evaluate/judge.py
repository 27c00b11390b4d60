"""From counts to judgements: every score with its interval, and by how much one classifier beats another.

Two classifiers are compared over the same resamples of the same blocks, so what makes a block hard for both cancels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from components.evaluate.bootstrap import Interval, interval, resampled
from components.evaluate.calibration import Bins, calibration_error
from components.evaluate.measure import Tally
from components.evaluate.metrics import SCORES, ClassScores, class_scores, scores

WITH_INTERVAL = (*SCORES, "ece")
PER_CLASS = ("precision", "recall", "f1", "iou")


class Gain(NamedTuple):
    """A difference of two scores, model minus baseline, with its interval."""

    value: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


class OfClasses(Protocol):
    """Scores of each class that every task has, each (class,)."""

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of precision and recall."""

    @property
    def support(self) -> NDArray[np.float64]:
        """Samples of truth."""

    @property
    def predicted(self) -> NDArray[np.float64]:
        """Samples that the classifier gives the class."""

    @property
    def present(self) -> NDArray[np.bool_]:
        """Whether there is any sample of truth."""


class Scored(Protocol):
    """What tables and pages need of a judgement, whatever the task."""

    @property
    def scores(self) -> Mapping[str, float]:
        """Of all classes, by name."""

    @property
    def intervals(self) -> Mapping[str, Interval]:
        """Of scores that have one, by name."""

    @property
    def each(self) -> OfClasses:
        """The scores of every class."""

    @property
    def class_intervals(self) -> Mapping[str, Sequence[Interval]]:
        """Theirs, by score, one a class."""


@dataclass(frozen=True)
class Judged:
    """One classifier, judged.

    `scores` holds the `SCORES`, `ece`, and `log_loss` and `entropy` in nats; `intervals` those of `WITH_INTERVAL`;
    `each` the scores of every class and `class_intervals` theirs, by score, one a class. `confusion` (class, class)
    and `bins` are summed over blocks.
    """

    scores: dict[str, float]
    intervals: dict[str, Interval]
    each: ClassScores
    class_intervals: dict[str, list[Interval]]
    confusion: NDArray[np.int64]
    bins: Bins

    @property
    def samples(self) -> int:
        """How many samples were scored."""
        return int(self.confusion.sum())

    @property
    def errors(self) -> int:
        """How many of them are wrong."""
        return self.samples - int(np.trace(self.confusion))

    @property
    def mean_confidence(self) -> float:
        """Mean probability given to the class that was chosen."""
        return float(self.bins.confidence.sum() / self.samples)


def _resampled_scores(tally: Tally, draws: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The scores of each resample, by name, each (resample,)."""
    bins = Bins(*(resampled(counts, draws) for counts in tally.bins))
    return {**scores(resampled(tally.confusion, draws)), "ece": calibration_error(bins)}


def _point(tally: Tally) -> dict[str, float]:
    bins = Bins(*(counts.sum(0) for counts in tally.bins))
    found = {**scores(tally.confusion.sum(0)), "ece": calibration_error(bins)}
    found |= {name: getattr(tally, name).sum() / tally.samples for name in ("log_loss", "entropy")}
    return {name: float(value) for name, value in found.items()}


def _unknown(name: str) -> Interval:
    """All values that a score can have: what is known of its spread from a single block."""
    return Interval(-1.0 if name == "kappa" else 0.0, 1.0)


def judge(tally: Tally, draws: NDArray[np.float64], level: float) -> Judged:
    """Score one classifier; `draws` (resample, block) come from `bootstrap.draw`.

    A single block leaves nothing to resample: each interval is then the whole range of its score.
    """
    blocks = draws.shape[1]
    spread = _resampled_scores(tally, draws)
    each = class_scores(resampled(tally.confusion, draws))
    return Judged(
        scores=_point(tally),
        intervals={name: interval(spread[name], level) if blocks > 1 else _unknown(name) for name in WITH_INTERVAL},
        each=class_scores(tally.confusion.sum(0)),
        class_intervals={
            name: [
                interval(getattr(each, name)[:, c], level, each.present[:, c]) if blocks > 1 else _unknown(name)
                for c in range(tally.confusion.shape[1])
            ]
            for name in PER_CLASS
        },
        confusion=tally.confusion.sum(0),
        bins=Bins(*(counts.sum(0) for counts in tally.bins)),
    )


def compare(model: Tally, baseline: Tally, draws: NDArray[np.float64], level: float) -> dict[str, Gain]:
    """By how much the model's scores of `WITH_INTERVAL` exceed the baseline's, over the same resamples."""
    ours, theirs = _point(model), _point(baseline)
    spread, other = _resampled_scores(model, draws), _resampled_scores(baseline, draws)
    gains: dict[str, Gain] = {}
    for name in WITH_INTERVAL:
        whole = _unknown(name).high - _unknown(name).low
        ends = interval(spread[name] - other[name], level) if draws.shape[1] > 1 else Interval(-whole, whole)
        gains[name] = Gain(ours[name] - theirs[name], *ends)
    return gains


def compare_classes(model: Tally, baseline: Tally, draws: NDArray[np.float64], level: float) -> dict[str, list[Gain]]:
    """By how much the model's scores of `PER_CLASS` exceed the baseline's, one gain a class, over the same resamples.

    Both have scored the same samples. A resample in which a class has no truth says nothing of it.
    """
    ours, theirs = class_scores(model.confusion.sum(0)), class_scores(baseline.confusion.sum(0))
    spread, other = (class_scores(resampled(tally.confusion, draws)) for tally in (model, baseline))
    gains: dict[str, list[Gain]] = {}
    for name in PER_CLASS:
        value = getattr(ours, name) - getattr(theirs, name)
        differences = getattr(spread, name) - getattr(other, name)
        gains[name] = [
            Gain(
                float(value[c]),
                *(
                    interval(differences[:, c], level, spread.present[:, c])
                    if draws.shape[1] > 1
                    else Interval(-1.0, 1.0)
                ),
            )
            for c in range(len(value))
        ]
    return gains
