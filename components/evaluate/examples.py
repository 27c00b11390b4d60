"""Patches worth looking at: the surest mistakes, and what was right without being sure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.evaluate.calibration import certainty
from components.evaluate.measure import Measured, Predict, painted
from components.evaluate.mosaic import agreement, colour
from components.evaluate.pictures import jpeg, png
from components.evaluate.samples import Samples
from components.evaluate.wording import percent

RIGHT = 0.9
"""Share of right pixels from which on a patch counts as right."""


class Example(NamedTuple):
    """One patch to show: pictures as (caption, data URI), and a line of text."""

    pictures: list[tuple[str, str]]
    text: str


def choose(measured: Measured, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions in `measured.numbers` of at most `count` patches each: sure and wrong, surest first; right and
    unsure, least sure first."""
    scored = np.flatnonzero(measured.count)
    mistaken = scored[measured.sure_errors[scored] > 0]
    wrong = mistaken[np.argsort(-measured.sure_errors[mistaken], kind="stable")][:count]
    good = np.setdiff1d(scored[measured.right[scored] >= RIGHT], wrong)
    unsure = good[np.argsort(measured.confidence[good], kind="stable")][:count]
    return wrong, unsure


def show(samples: Samples, measured: Measured, positions: NDArray[np.int64], predict: Predict) -> list[Example]:
    """Read the chosen patches again and picture them."""
    return [_example(samples, measured, int(at), predict) for at in positions]


def _example(samples: Samples, measured: Measured, at: int, predict: Predict) -> Example:
    number = measured.numbers[at]
    _, images, labels = samples.read(np.array([number]))
    logits = predict(samples.seen(images))[0]
    nomenclature = samples.patches.nomenclature
    pictures = [(measured.mosaic.stretch.name.split(" (")[0], jpeg(measured.mosaic.stretch.picture(images[0])))]
    where = f"patch {samples.patches.index['id'].iloc[number]}, block {samples.patches.index['block'].iloc[number]}"
    sure = percent(float(measured.confidence[at]), 0)
    if samples.task == "classification":
        truth, names = samples.dominant[[number]], nomenclature.names
        found = certainty(logits[:, None], truth)
        answer, label = names[int(found.predicted[0])], names[int(truth[0])]
        verdict = f"{label}, and predicted so" if answer == label else f"{label}, taken for {answer}"
        return Example(pictures, f"{verdict}; {sure} sure · {where}")
    answer_map = painted(samples, logits, images[0])
    pictures += [
        ("label", png(colour(labels[0], nomenclature))),
        ("prediction", png(colour(answer_map, nomenclature))),
        ("where wrong", png(agreement(labels[0], answer_map))),
    ]
    return Example(pictures, f"{percent(float(measured.right[at]), 0)} right, {sure} sure on average · {where}")
