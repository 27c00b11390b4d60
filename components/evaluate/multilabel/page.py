"""The page of a report on sets: what was found, put into words and pictures; its look is that of the other tasks'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from components.evaluate import facts, frame
from components.evaluate.charts import reliability_chart
from components.evaluate.mosaic import colour
from components.evaluate.multilabel.findings import Evidence
from components.evaluate.multilabel.judge import Judged
from components.evaluate.multilabel.verdict import RESULTS, meaning, summary
from components.evaluate.page import SHOWN_BLOCKS
from components.evaluate.pictures import RAMP, jpeg, png, score_plan, svg
from components.evaluate.verdict import headline
from components.evaluate.verdict import meaning as meaning_of_labels
from components.evaluate.wording import count, listing, percent, score
from components.pages import render

TEMPLATE = Path(__file__).parents[1] / "templates" / "multilabel.html.j2"

TITLES = {
    "macro_f1": "Macro-F1",
    "micro_f1": "Micro-F1",
    "weighted_f1": "Weighted F1",
    "macro_ap": "Mean average precision",
    "subset_accuracy": "Subset accuracy",
    "hamming_loss": "Hamming loss",
    "ece": "Calibration error",
    "log_loss": "Log-loss",
}
HEADLINE = {
    "macro_f1": "mean F1 of the classes present",
    "macro_ap": "how well patches are ranked by class",
    "subset_accuracy": "share whose whole set is right",
    "ece": "gap of confidence and accuracy; low is good",
}
MOST_ERRORS = 3
"""Patches with so many wrong decisions or more are counted together."""

Content = frame.Content[Evidence, Judged]


def page(content: Content) -> str:
    """The page as HTML."""
    return render(TEMPLATE, **_context(content))


def _context(c: Content) -> dict[str, Any]:
    e, model = c.evidence, c.judged["model"]
    names = c.patches.nomenclature.names
    share = e.train / e.train_patches
    assert c.model.min_fraction is not None
    return {
        **frame.surroundings(c, e.measured.numbers, e.history),
        **frame.scores(c, e.gains, HEADLINE, TITLES, RESULTS, ("macro_f1", "macro_ap", "subset_accuracy")),
        "unit": "patches",
        "level": percent(e.level, 0),
        "headline": headline(e.gains, "logistic regressions", "the usual classes"),
        "summary": summary(e),
        "meaning": meaning_of_labels(c.patches.nomenclature.name) + meaning(c.model.min_fraction),
        "usual": listing([names[i] for i in np.flatnonzero(c.evidence.measured.said("majority").all(0))]),
        "map": _map(c),
        "legend_entries": [
            (k.colour, k.name) for k, there in zip(c.patches.nomenclature, _seen(model), strict=True) if there
        ],
        "classes": [
            {
                **frame.class_row(c.patches, c.judged, share, ("precision", "recall", "ap"), int(i)),
                "shares": _outcomes(model, int(i)),
            }
            for i in np.flatnonzero(model.each.present)
        ],
        "absent": _absent(c),
        "errors": _errors(c),
        "reliability_chart": svg(reliability_chart(model.bins)),
        "mean_confidence": percent(model.mean_confidence),
        "right": percent(1 - model.scores["hamming_loss"]),
        "decisions": count(model.decisions),
        "blocks": _blocks(c),
        "ramp": ", ".join(RAMP),
    }


def _seen(model: Judged) -> list[bool]:
    return [bool(there) for there in (model.each.support > 0) | (model.each.predicted > 0)]


def _outcomes(model: Judged, c: int) -> dict[str, str]:
    """How often a class was found, missed, and said to be there falsely."""
    hits = int(model.each.hits[c])
    return {
        "found": count(hits),
        "missed": count(int(model.each.support[c]) - hits),
        "false": count(int(model.each.predicted[c]) - hits),
    }


def _absent(c: Content) -> str:
    """The classes that no held-out patch holds, and how often the model sees them nevertheless."""
    each = c.judged["model"].each
    return listing(
        [
            f"{c.patches.nomenclature.names[i]}"
            + (f" (said of {count(int(each.predicted[i]))})" if each.predicted[i] else "")
            for i in np.flatnonzero(~each.present)
        ]
    )


def _errors(c: Content) -> list[tuple[str, str, float]]:
    """How many patches have how many wrong decisions: words, share as text and in per cent."""
    measured = c.evidence.measured
    wrong = np.minimum((measured.said("model") != measured.truth).sum(1), MOST_ERRORS)
    words = ["all right", "one wrong", *(f"{n} wrong" for n in range(2, MOST_ERRORS)), f"{MOST_ERRORS} or more wrong"]
    shares = np.bincount(wrong, minlength=MOST_ERRORS + 1) / len(wrong)
    return [(word, percent(float(s)), round(100 * float(s), 2)) for word, s in zip(words, shares, strict=True)]


def _patch_f1(c: Content) -> np.ndarray[Any, np.dtype[np.float64]]:
    """F1 of the set of each held-out patch, (n,); 1 where there is nothing, and nothing is said."""
    truth, said = c.evidence.measured.truth, c.evidence.measured.said("model")
    sizes = truth.sum(1) + said.sum(1)
    found: np.ndarray[Any, np.dtype[np.float64]] = np.where(
        sizes > 0, 2 * (truth & said).sum(1) / np.maximum(sizes, 1), 1
    )
    return found


def _map(c: Content) -> dict[str, Any]:
    mosaic = c.evidence.measured.mosaic
    return {
        "panels": [
            (f"Composite, {mosaic.stretch.name}", jpeg(mosaic.framed(mosaic.image, faint=True))),
            ("Labels", png(mosaic.framed(colour(mosaic.truth, c.patches.nomenclature), faint=True))),
        ],
        "bar": facts.scale_bar(mosaic.width, c.patches),
        "step": mosaic.step,
        "share": percent(float(mosaic.covered.mean()), 0),
        "plan": png(score_plan(c.patches, c.evidence.measured.numbers, _patch_f1(c))),
    }


def _blocks(c: Content) -> dict[str, Any]:
    measured = c.evidence.measured
    f1, sizes = _patch_f1(c), measured.sizes()
    mean = np.bincount(measured.positions, weights=f1) / sizes
    wrong = (measured.said("model") != measured.truth).mean(1)
    hamming = np.bincount(measured.positions, weights=wrong) / sizes
    order = np.argsort(-hamming, kind="stable")
    return {
        "total": len(sizes),
        "median": percent(float(np.median(hamming))),
        "rows": [
            {
                "name": measured.blocks[i],
                "samples": count(int(sizes[i])),
                "wrong": percent(float(hamming[i])),
                "f1": score(float(mean[i])),
            }
            for i in order[:SHOWN_BLOCKS]
        ],
    }
