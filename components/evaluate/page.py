"""The page: what was found, put into words and pictures, and set by one template into one file that needs no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from components.evaluate import facts, frame
from components.evaluate.charts import reliability_chart
from components.evaluate.findings import Evidence
from components.evaluate.judge import Judged
from components.evaluate.metrics import scores
from components.evaluate.mosaic import RIGHT, UNSCORED, WRONG
from components.evaluate.pictures import RAMP, jpeg, png, score_plan, svg
from components.evaluate.verdict import RESULTS, headline, meaning, summary
from components.evaluate.wording import count, listing, percent, score
from components.pages import render

TEMPLATE = Path(__file__).parent / "templates" / "report.html.j2"

TITLES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro-F1",
    "weighted_f1": "Weighted F1",
    "miou": "Mean IoU",
    "kappa": "Cohen’s κ",
    "ece": "Calibration error",
    "log_loss": "Log-loss",
}
HEADLINE = {
    "macro_f1": "mean F1 of the classes present",
    "miou": "mean overlap of prediction and label",
    "accuracy": "share right",
    "ece": "gap of confidence and accuracy; low is good",
}
SHOWN_BLOCKS = 12
"""Rows of the table of blocks; the CSV has all."""
SUREST = 0.1
"""At least this share of the samples is called the surest."""
WIDE = 16
"""With more classes than this the confusion matrix is set small and without counts."""

Content = frame.Content[Evidence, Judged]


def page(content: Content) -> str:
    """The page as HTML."""
    return render(TEMPLATE, **_context(content))


def _context(c: Content) -> dict[str, Any]:
    e = c.evidence
    model = c.judged["model"]
    return {
        **frame.surroundings(c, e.measured.numbers, e.history),
        **frame.scores(c, e.gains, HEADLINE, TITLES, RESULTS, ("accuracy", "macro_f1", "miou")),
        "unit": e.unit,
        "level": percent(e.level, 0),
        "headline": headline(e.gains, "a logistic regression", "the majority class"),
        "summary": summary(e),
        "meaning": meaning(c.patches.nomenclature.name),
        "map": _map(c),
        "classes": _classes(c),
        "absent": listing([c.patches.nomenclature.names[i] for i in np.flatnonzero(~model.each.present)]),
        "matrix": _matrix(c),
        "reliability_chart": svg(reliability_chart(model.bins)),
        "mean_confidence": percent(model.mean_confidence),
        "surest": _surest(c),
        "accuracy": percent(model.scores["accuracy"]),
        "examples_legend": _legend(c),
        "agreement": _agreement(),
        "blocks": _blocks(c),
    }


def _legend(c: Content) -> list[tuple[str, str]]:
    """Colour and name of each class that occurs in the truth or the prediction."""
    model = c.judged["model"].each
    seen = (model.support > 0) | (model.predicted > 0)
    return [(k.colour, k.name) for k, there in zip(c.patches.nomenclature, seen, strict=True) if there]


def _agreement() -> list[tuple[str, str]]:
    names = ("right", "wrong", "no label or no data")
    return [("#{:02x}{:02x}{:02x}".format(*rgb), n) for rgb, n in zip((RIGHT, WRONG, UNSCORED), names, strict=True)]


def _map(c: Content) -> dict[str, Any]:
    mosaic = c.evidence.measured.mosaic
    image, truth, answer, wrong = mosaic.pictures(c.patches.nomenclature)
    return {
        "panels": [
            (f"Composite, {mosaic.stretch.name}", jpeg(image)),
            ("Labels" if c.model.task == "segmentation" else "Dominant class of each patch", png(truth)),
            ("Prediction", png(answer)),
            ("Where the prediction is wrong", png(wrong)),
        ],
        "bar": facts.scale_bar(mosaic.width, c.patches),
        "step": mosaic.step,
        "share": percent(float(mosaic.covered.mean()), 0),
    }


def _classes(c: Content) -> list[dict[str, Any]]:
    share = c.evidence.train / c.evidence.train.sum()
    return [
        frame.class_row(c.patches, c.judged, share, ("precision", "recall", "iou"), int(i))
        for i in np.flatnonzero(c.judged["model"].each.present)
    ]


def _surest(c: Content) -> str:
    """How often the surest answers are right."""
    bins = c.judged["model"].bins
    above, right = (values[::-1].cumsum()[::-1] for values in (bins.number, bins.correct))
    first = int(np.flatnonzero(above >= SUREST * above[0])[-1])
    return (
        f"Of the {c.evidence.unit}, {percent(float(above[first] / above[0]))} have a confidence above "
        f"{percent(first / len(bins.number), 0)}; of these {percent(float(right[first] / above[first]))} are "
        "right."
    )


def _matrix(c: Content) -> dict[str, Any]:
    confusion, each = c.judged["model"].confusion, c.judged["model"].each
    rows = np.flatnonzero(each.support > 0)
    columns = np.flatnonzero((each.support > 0) | (each.predicted > 0))
    classes = c.patches.nomenclature.classes
    return {
        "small": len(columns) > WIDE,
        "columns": [classes[p] for p in columns],
        "rows": [
            {
                "name": classes[t].name,
                "code": classes[t].code,
                "colour": classes[t].colour,
                "cells": [_cell(int(confusion[t, p]), float(each.support[t]), bool(t == p)) for p in columns],
            }
            for t in rows
        ],
    }


def _cell(number: int, support: float, diagonal: bool) -> dict[str, Any]:
    share = number / support
    ink = (0, 114, 178) if diagonal else (213, 94, 0)
    background = "rgb({}, {}, {})".format(*(round(255 + (channel - 255) * share**0.7) for channel in ink))
    return {
        "share": percent(share) if number else "·",
        "whole": f"{100 * share:.0f}" if share >= 0.005 else "·",
        "count": count(number) if number else "",
        "background": background,
        "dark": share > 0.55,
    }


def _blocks(c: Content) -> dict[str, Any]:
    measured = c.evidence.measured
    confusion = measured.tallies["model"].confusion
    sizes, found = confusion.sum((1, 2)), scores(confusion)
    filled = np.flatnonzero(sizes)
    accuracy = found["accuracy"][filled]
    order = filled[np.argsort(accuracy, kind="stable")]
    low, high = float(accuracy.min()), float(accuracy.max())
    names = c.patches.index["block"].to_numpy().astype(str)[measured.numbers]
    position = {name: i for i, name in enumerate(measured.blocks)}
    levels = np.array([found["accuracy"][position[name]] for name in names])
    levels = (levels - low) / (high - low) if high > low else np.ones_like(levels)
    return {
        "plan": png(score_plan(c.patches, measured.numbers, np.clip(levels, 0, 1))),
        "ramp": ", ".join(RAMP),
        "low": percent(low),
        "high": percent(high),
        "median": percent(float(np.median(accuracy))),
        "total": len(filled),
        "rows": [
            {
                "name": measured.blocks[i],
                "samples": count(int(sizes[i])),
                "surest": _surest(c),
                "accuracy": percent(float(found["accuracy"][i])),
                "f1": score(float(found["macro_f1"][i])),
            }
            for i in order[:SHOWN_BLOCKS]
        ],
    }
