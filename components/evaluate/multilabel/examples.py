"""Patches worth looking at: where the model is surest of something wrong, and what it got right without being sure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.evaluate.examples import Example
from components.evaluate.mosaic import colour
from components.evaluate.multilabel.measure import Measured, sureness
from components.evaluate.pictures import jpeg, png
from components.evaluate.samples import Samples
from components.evaluate.wording import listing, percent


def choose(measured: Measured, count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions in `measured.numbers` of at most `count` patches each: with a wrong decision, the surest first; wholly
    right, that with the least sure decision first."""
    sure = sureness(measured.logits["model"], measured.truth).confidence.reshape(measured.truth.shape)
    wrong = measured.said("model") != measured.truth
    surest = (sure * wrong).max(1)
    mistaken, right = np.flatnonzero(wrong.any(1)), np.flatnonzero(~wrong.any(1))
    return (
        mistaken[np.argsort(-surest[mistaken], kind="stable")][:count],
        right[np.argsort(sure[right].min(1), kind="stable")][:count],
    )


def show(samples: Samples, measured: Measured, positions: NDArray[np.intp]) -> list[Example]:
    """Read the chosen patches again and picture them beside their labels."""
    return [_example(samples, measured, int(at)) for at in positions]


def _example(samples: Samples, measured: Measured, at: int) -> Example:
    number = int(measured.numbers[at])
    _, images, labels = samples.read(np.array([number]))
    nomenclature, stretch = samples.patches.nomenclature, measured.mosaic.stretch
    pictures = [
        (stretch.name.split(" (")[0], jpeg(stretch.picture(images[0]))),
        ("label", png(colour(labels[0], nomenclature))),
    ]
    logits = measured.logits["model"][at].astype(np.float64)
    chance = 1 / (1 + np.exp(-logits))

    def named(chosen: NDArray[np.bool_]) -> str:
        return listing([f"{nomenclature.names[c]} ({percent(chance[c], 0)})" for c in np.flatnonzero(chosen)])

    truth, said = measured.truth[at], measured.said("model")[at]
    parts = [
        f"{verb} {named(chosen)}"
        for verb, chosen in (("found", truth & said), ("missed", truth & ~said), ("falsely says", ~truth & said))
        if chosen.any()
    ]
    index = samples.patches.index
    where = f"patch {index['id'].iloc[number]}, block {index['block'].iloc[number]}"
    return Example(pictures, f"{'; '.join(parts) or 'rightly says nothing'} · {where}")
