"""One pass over the held-out patches: each is read once and given to the model and to every baseline.

All logits are kept, a few numbers a patch, since average precision ranks patches among each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.baselines import Linear, features
from components.evaluate.calibration import Certainty, certainty
from components.evaluate.measure import Predict, paint_around
from components.evaluate.mosaic import Mosaic
from components.evaluate.samples import Samples
from components.learning.sets import SAID
from components.progress import track


@dataclass
class Measured:
    """What one pass found.

    `numbers` (n,) are the patches, `blocks` the names of their blocks and `positions` (n,) which one each lies in;
    `truth` (n, class) which classes each holds, `logits` the answers of each classifier, (n, class).
    """

    numbers: NDArray[np.int64]
    blocks: list[str]
    positions: NDArray[np.intp]
    truth: NDArray[np.bool_]
    logits: dict[str, NDArray[np.float32]]
    mosaic: Mosaic

    def said(self, who: str) -> NDArray[np.bool_]:
        """Which classes a classifier says that each patch holds, (n, class)."""
        found: NDArray[np.bool_] = self.logits[who] > SAID
        return found

    def sizes(self) -> NDArray[np.int64]:
        """How many patches lie in each block, (block,)."""
        return np.bincount(self.positions, minlength=len(self.blocks))


def decisions(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each class of each patch as a choice of two, absent or present: logits (2, …) of logits (…) of being present."""
    return np.stack([np.zeros_like(logits), logits])


def sureness(logits: NDArray[np.float32], truth: NDArray[np.bool_]) -> Certainty:
    """What logits (n, class) say of all decisions, each (n * class,), patch by patch."""
    return certainty(decisions(logits.ravel()), truth.ravel())


def measure(
    samples: Samples,
    numbers: NDArray[np.int64],
    truth: NDArray[np.bool_],
    predict: Predict,
    baselines: Mapping[str, Linear],
    *,
    batch: int,
) -> Measured:
    """Score the model (`"model"`) and the baselines on the patches `numbers`, which hold `truth` (n, class)."""
    names, positions = np.unique(samples.patches.index["block"].to_numpy()[numbers].astype(str), return_inverse=True)
    logits = {who: np.empty(truth.shape, np.float32) for who in ("model", *baselines)}
    mosaic = Mosaic(samples.patches, numbers)
    total = -(-len(numbers) // batch)
    at = 0
    for group, images, labels in track(samples.batches(numbers, batch), total=total, label="scoring patches"):
        seen = samples.seen(images)
        logits["model"][at : at + len(group)] = predict(seen)
        for number, image, label, pixels in zip(group, images, labels, seen, strict=True):
            inputs = features(samples, pixels, samples.scored(pixels, label))
            for who, baseline in baselines.items():
                logits[who][at] = baseline.logits(inputs)[:, 0]
            mosaic.paint(int(number), image, label, label)
            at += 1
    paint_around(samples, mosaic, numbers, batch)
    return Measured(numbers, [str(name) for name in names], positions, truth, logits, mosaic)
