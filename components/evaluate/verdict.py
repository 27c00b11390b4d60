"""The verdict in words, and what a score on these labels means."""

from __future__ import annotations

from components.evaluate.bootstrap import FEW
from components.evaluate.findings import Evidence
from components.evaluate.judge import Judged
from components.evaluate.wording import count, percent, score, signed


def headline(e: Evidence) -> str:
    """One line: whether the model beats both baselines, by macro-F1."""
    logistic, majority = e.gains["logistic"]["macro_f1"], e.gains["majority"]["macro_f1"]
    if logistic.low > 0 and majority.low > 0:
        return "Better than both baselines"
    if logistic.high < 0 or majority.high < 0:
        return "Worse than a baseline"
    if majority.low > 0:
        return "Better than the majority class, not certainly better than a logistic regression"
    return "Not certainly better than a baseline"


def summary(e: Evidence) -> str:
    """The verdict with its numbers."""
    judged, level = e.judged, percent(e.level, 0)
    accuracy, f1 = judged.intervals["accuracy"], judged.intervals["macro_f1"]
    logistic, majority = e.gains["logistic"]["macro_f1"], e.gains["majority"]["macro_f1"]
    blocks = len(e.measured.blocks)
    rough = f" With {blocks} blocks the intervals are rough." if blocks < FEW else ""
    rough = " One block tells nothing of how far the score would vary." if blocks == 1 else rough
    return (
        f"On {blocks} held-out block{'s' if blocks > 1 else ''} ({count(judged.samples)} labelled {e.unit}) the model "
        f"is right on {percent(judged.scores['accuracy'])} of the {e.unit} ({level} interval {percent(accuracy.low)} "
        f"to {percent(accuracy.high)}), with a macro-F1 of {score(judged.scores['macro_f1'])} ({score(f1.low)} to "
        f"{score(f1.high)}). In macro-F1 that is {signed(logistic.value)} against a logistic regression "
        f"({signed(logistic.low)} to {signed(logistic.high)}) and {signed(majority.value)} against always saying the "
        f"majority class ({signed(majority.low)} to {signed(majority.high)}).{rough}"
    )


_CORINE = (
    "The labels here follow CORINE Land Cover, which people draw from imagery with a smallest mapped area of 25 "
    "hectares and a smallest width of 100 metres. A copse, a pond or a farmstead below that size has no label of its "
    "own, so at 10 metres this is a noisy label: a model that sees such things is counted wrong, and one that smooths "
    "them away is counted right. The score says how well the model agrees with CORINE, not with the ground."
)
_SCL = (
    "The truth here is ESA's scene classification (SCL), which an algorithm computed from the same kind of imagery: a "
    "weak label. A high score shows that the chain works and that the model imitates that algorithm, not that land "
    "cover is solved."
)
_OTHER = (
    "The truth here is the label map that was given, with the classes of “{name}”. Where that map is wrong, a model "
    "that is right is counted wrong, so the score says how well the model agrees with the map."
)
_PLACE = (
    " The held-out blocks lie in the same scene as the training blocks: this is how the model does on new ground "
    "nearby, seen on the same dates. Another region, season or year may be harder."
)


def meaning(nomenclature: str) -> str:
    """What a score against labels of this nomenclature means, in honest words.

    CORINE's mapping unit: CLC2018 Technical Guidelines, European Environment Agency 2017, section 2.
    """
    name = nomenclature.lower()
    if name.startswith(("corine", "clc", "bigearthnet")):
        return _CORINE + _PLACE
    return (_SCL if name.startswith("scl") else _OTHER.format(name=nomenclature)) + _PLACE


RESULTS = {"model": "Model", "logistic": "Logistic regression", "majority": "Majority class"}
"""Classifiers by the key under which they are kept, in the order in which they are shown."""


def ordered(judged: dict[str, Judged]) -> list[tuple[str, str, Judged]]:
    """Key, name and judgement of each classifier, in the order in which they are shown."""
    return [(key, name, judged[key]) for key, name in RESULTS.items()]
