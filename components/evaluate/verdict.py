"""The verdict in words, and what a score on these labels means."""

from __future__ import annotations

from collections.abc import Mapping

from components.evaluate.bootstrap import FEW
from components.evaluate.findings import Evidence
from components.evaluate.judge import Gain
from components.evaluate.wording import held_out, percent, score, signed

Gains = Mapping[str, Mapping[str, Gain]]
"""The model's over each baseline, by score."""


def headline(gains: Gains, logistic: str, majority: str) -> str:
    """One line: whether the model beats both baselines, by macro-F1; `logistic` and `majority` are what these are."""
    regression, usual = gains["logistic"]["macro_f1"], gains["majority"]["macro_f1"]
    if regression.low > 0 and usual.low > 0:
        return "Better than both baselines"
    if regression.high < 0 or usual.high < 0:
        return "Worse than a baseline"
    if usual.low > 0:
        return f"Better than {majority}, not certainly better than {logistic}"
    return "Not certainly better than a baseline"


def paragraph(blocks: int, samples: int, unit: str, said: str, gains: Gains, logistic: str, majority: str) -> str:
    """The verdict with its numbers: what was scored, what is `said` of the model, and its gains over `logistic` and
    over always doing as `majority`."""
    regression, usual = gains["logistic"]["macro_f1"], gains["majority"]["macro_f1"]
    rough = f" With {blocks} blocks the intervals are rough." if blocks < FEW else ""
    rough = " One block tells nothing of how far the score would vary." if blocks == 1 else rough
    return (
        f"{held_out(blocks, samples, unit)} the model {said} In macro-F1 that is {signed(regression.value)} against "
        f"{logistic} ({signed(regression.low)} to {signed(regression.high)}) and {signed(usual.value)} against always "
        f"{majority} ({signed(usual.low)} to {signed(usual.high)}).{rough}"
    )


def summary(e: Evidence) -> str:
    """The verdict with its numbers."""
    judged = e.judged
    accuracy, f1 = judged.intervals["accuracy"], judged.intervals["macro_f1"]
    return paragraph(
        len(e.measured.blocks),
        judged.samples,
        e.unit,
        f"is right on {percent(judged.scores['accuracy'])} of the {e.unit} ({percent(e.level, 0)} interval "
        f"{percent(accuracy.low)} to {percent(accuracy.high)}), with a macro-F1 of {score(judged.scores['macro_f1'])} "
        f"({score(f1.low)} to {score(f1.high)}).",
        e.gains,
        "a logistic regression",
        "saying the majority class",
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
