"""The verdict on a model of sets in words."""

from __future__ import annotations

from components.evaluate.multilabel.findings import Evidence
from components.evaluate.verdict import paragraph
from components.evaluate.wording import percent, score, whole_percent

RESULTS = {"model": "Model", "logistic": "Logistic regressions", "majority": "Usual classes"}
"""Classifiers by the key under which they are kept, in the order in which they are shown."""


def summary(e: Evidence) -> str:
    """The verdict with its numbers."""
    judged = e.judged
    f1, ap, whole = (judged.intervals[name] for name in ("macro_f1", "macro_ap", "subset_accuracy"))
    return paragraph(
        len(e.measured.blocks),
        judged.samples,
        "patches",
        f"has a macro-F1 of {score(judged.scores['macro_f1'])} ({percent(e.level, 0)} interval {score(f1.low)} to "
        f"{score(f1.high)}) and a mean average precision of {score(judged.scores['macro_ap'])} ({score(ap.low)} to "
        f"{score(ap.high)}). Of {percent(judged.scores['subset_accuracy'])} of the patches it names exactly the "
        f"classes that they hold ({percent(whole.low)} to {percent(whole.high)}); "
        f"{percent(judged.scores['hamming_loss'])} of all decisions are wrong.",
        e.gains,
        "a logistic regression a class",
        "naming the classes of most train patches",
    )


def meaning(min_fraction: float) -> str:
    """What it is for a patch to hold a class."""
    return (
        f" A patch is said to hold a class that covers {whole_percent(min_fraction)} of its "
        "pixels or more in these labels: that is what was learned, and what is scored."
    )
