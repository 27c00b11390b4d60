"""The verdict on a model of sets in words."""

from __future__ import annotations

from components.evaluate.bootstrap import FEW
from components.evaluate.multilabel.findings import Evidence
from components.evaluate.wording import count, percent, score, signed, whole_percent

RESULTS = {"model": "Model", "logistic": "Logistic regressions", "majority": "Usual classes"}
"""Classifiers by the key under which they are kept, in the order in which they are shown."""


def headline(e: Evidence) -> str:
    """One line: whether the model beats both baselines, by macro-F1."""
    logistic, usual = e.gains["logistic"]["macro_f1"], e.gains["majority"]["macro_f1"]
    if logistic.low > 0 and usual.low > 0:
        return "Better than both baselines"
    if logistic.high < 0 or usual.high < 0:
        return "Worse than a baseline"
    if usual.low > 0:
        return "Better than the usual classes, not certainly better than logistic regressions"
    return "Not certainly better than a baseline"


def summary(e: Evidence) -> str:
    """The verdict with its numbers."""
    judged, level = e.judged, percent(e.level, 0)
    f1, ap, whole = (judged.intervals[name] for name in ("macro_f1", "macro_ap", "subset_accuracy"))
    logistic, usual = e.gains["logistic"]["macro_f1"], e.gains["majority"]["macro_f1"]
    blocks = len(e.measured.blocks)
    rough = f" With {blocks} blocks the intervals are rough." if blocks < FEW else ""
    rough = " One block tells nothing of how far the score would vary." if blocks == 1 else rough
    return (
        f"On {blocks} held-out block{'s' if blocks > 1 else ''} ({count(judged.samples)} labelled patches) the model "
        f"has a macro-F1 of {score(judged.scores['macro_f1'])} ({level} interval {score(f1.low)} to {score(f1.high)}) "
        f"and a mean average precision of {score(judged.scores['macro_ap'])} ({score(ap.low)} to {score(ap.high)}). "
        f"Of {percent(judged.scores['subset_accuracy'])} of the patches it names exactly the classes that they hold "
        f"({percent(whole.low)} to {percent(whole.high)}); {percent(judged.scores['hamming_loss'])} of all decisions "
        f"are wrong. In macro-F1 that is {signed(logistic.value)} against a logistic regression a class "
        f"({signed(logistic.low)} to {signed(logistic.high)}) and {signed(usual.value)} against always naming the "
        f"classes of most train patches ({signed(usual.low)} to {signed(usual.high)}).{rough}"
    )


def meaning(min_fraction: float) -> str:
    """What it is for a patch to hold a class."""
    return (
        f" A patch is said to hold a class that covers {whole_percent(min_fraction)} of its "
        "pixels or more in these labels: that is what was learned, and what is scored."
    )
