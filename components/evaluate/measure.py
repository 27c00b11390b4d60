"""One pass over the held-out patches: each is read once and given to the model and to every baseline.

Only counts are kept (per block a confusion matrix and reliability bins), a small seeded sample of logits, three
numbers a patch and the picture of the area, so memory does not grow with the number of patches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.artifacts.nomenclature import IGNORE
from components.evaluate.baselines import Linear, features
from components.evaluate.calibration import Bins, Certainty, certainty, reliability
from components.evaluate.metrics import confusion_matrix
from components.evaluate.mosaic import Mosaic
from components.evaluate.samples import Samples
from components.progress import track

Predict = Callable[[NDArray[np.uint16]], NDArray[np.float32]]
"""Pixels (n, band, y, x) to logits, (n, class, y, x) or (n, class)."""

REACH = 11
"""Distances to a label border are told apart up to this many pixels; the last bin holds all beyond."""
RIM = 8
"""Width in pixels of the rim of a patch, where a network sees little of what lies beyond."""
KEPT_LOGITS = 50_000
"""How many samples the temperature is fitted on."""


class Tally:
    """Counts of one classifier, by block: all that scores, calibration and bootstrap need.

    `confusion` (block, class, class), `bins` each (block, bin), `log_loss` and `entropy` (block,) sums in nats.
    """

    def __init__(self, blocks: int, classes: int, bins: int) -> None:
        self.confusion = np.zeros((blocks, classes, classes), np.int64)
        self.bins = Bins(*(np.zeros((blocks, bins)) for _ in range(3)))
        self.log_loss = np.zeros(blocks)
        self.entropy = np.zeros(blocks)

    def add(self, block: int, truth: NDArray[Any], logits: NDArray[np.float32]) -> Certainty:
        """Count samples of one block: truth (n,), logits (class, n)."""
        found = certainty(logits, truth)
        self.confusion[block] += confusion_matrix(truth, found.predicted, self.confusion.shape[1])
        counted = reliability(found.confidence, found.predicted == truth, self.bins.number.shape[1])
        for total, part in zip(self.bins, counted, strict=True):
            total[block] += part
        self.log_loss[block] += found.log_loss.sum(dtype=np.float64)
        self.entropy[block] += found.entropy.sum(dtype=np.float64)
        return found

    @property
    def samples(self) -> int:
        """How many were counted."""
        return int(self.confusion.sum())


@dataclass
class Measured:
    """What one pass found.

    `blocks` are the names of the split's blocks in the order of every tally. Per patch of `numbers`: samples, share
    right, mean confidence, and mean over its samples of the confidence in wrong answers. `border` counts the pixels of
    a segmentation by distance to the nearest label border (0 = at it) and whether right or wrong;
    `rim` by whether they lie inside or in the rim of their patch, and whether right or wrong. `logits` (class, n) and
    `truth` (n,) are a sample.
    """

    numbers: NDArray[np.int64]
    blocks: list[str]
    tallies: dict[str, Tally]
    count: NDArray[np.int64]
    right: NDArray[np.float64]
    confidence: NDArray[np.float64]
    sure_errors: NDArray[np.float64]
    border: NDArray[np.int64]
    rim: NDArray[np.int64]
    logits: NDArray[np.float32]
    truth: NDArray[np.int64]
    mosaic: Mosaic


def border_distance(label: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Chessboard distance of each pixel (y, x) to the nearest border between labels, cut at `REACH`.

    0: one of the eight neighbours has another label (ignore counts as one). Borders beyond the patch are not known.
    """
    from scipy.ndimage import distance_transform_cdt, maximum_filter, minimum_filter

    inside = maximum_filter(label, 3, mode="nearest") == minimum_filter(label, 3, mode="nearest")
    if inside.all():
        return np.full(label.shape, REACH)
    distance: NDArray[np.intp] = np.minimum(distance_transform_cdt(inside, "chessboard"), REACH).astype(np.intp)
    return distance


def measure(
    samples: Samples,
    numbers: NDArray[np.int64],
    predict: Predict,
    baselines: Mapping[str, Linear],
    *,
    bins: int,
    batch: int,
    seed: int,
) -> Measured:
    """Score the model (`"model"`) and the baselines on the patches `numbers`."""
    names, positions = np.unique(samples.patches.index["block"].to_numpy()[numbers].astype(str), return_inverse=True)
    tallies = {name: Tally(len(names), samples.classes, bins) for name in ("model", *baselines)}
    result = Measured(
        numbers=numbers,
        blocks=[str(name) for name in names],
        tallies=tallies,
        count=np.zeros(len(numbers), np.int64),
        right=np.zeros(len(numbers)),
        confidence=np.zeros(len(numbers)),
        sure_errors=np.zeros(len(numbers)),
        border=np.zeros((REACH + 1, 2), np.int64),
        rim=np.zeros((2, 2), np.int64),
        logits=np.empty((samples.classes, 0), np.float32),
        truth=np.empty(0, np.int64),
        mosaic=Mosaic(samples.patches, numbers),
    )
    rim = np.pad(np.zeros([max(0, samples.patches.size - 2 * RIM)] * 2, np.intp), RIM, constant_values=1)
    rim = rim[: samples.patches.size, : samples.patches.size]
    generator = np.random.default_rng(seed)
    each = -(-KEPT_LOGITS // len(numbers))
    kept: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
    total = -(-len(numbers) // batch)
    for start, (group, images, labels) in enumerate(
        track(samples.batches(numbers, batch), total=total, label="scoring patches")
    ):
        seen = samples.seen(images)
        for offset, (number, logits) in enumerate(zip(group, predict(seen), strict=True)):
            at = start * batch + offset
            pixels, label = seen[offset], labels[offset]
            scored = samples.scored(pixels, label)
            truth, flat = counted(samples, int(number), label, scored, logits)
            found = tallies["model"].add(positions[at], truth, flat)
            inputs = features(samples, pixels, scored)
            for name, baseline in baselines.items():
                tallies[name].add(positions[at], truth, baseline.logits(inputs))
            wrong = found.predicted != truth
            if len(truth):
                result.count[at] = len(truth)
                result.right[at] = 1 - wrong.mean()
                result.confidence[at] = found.confidence.mean(dtype=np.float64)
                result.sure_errors[at] = (found.confidence * wrong).mean(dtype=np.float64)
                chosen = generator.choice(len(truth), min(each, len(truth)), replace=False)
                kept.append((flat[:, chosen], truth[chosen]))
            if samples.task == "segmentation":
                place = wrong.astype(np.intp)
                np.add.at(result.border, (border_distance(label)[scored], place), 1)
                np.add.at(result.rim, (rim[scored], place), 1)
            answer = painted(samples, logits, images[offset])
            result.mosaic.paint(int(number), images[offset], painted_truth(samples, int(number), label), answer)
    paint_around(samples, result.mosaic, numbers, batch)
    result.logits = np.concatenate([part[0] for part in kept], 1)
    result.truth = np.concatenate([part[1] for part in kept])
    return result


def paint_around(samples: Samples, mosaic: Mosaic, numbers: NDArray[np.int64], batch: int) -> None:
    """Draw the patches that touch the frame of `mosaic` and are none of `numbers`."""
    others = np.setdiff1d(np.arange(len(samples.dominant)), numbers)
    others = np.array([n for n in others if mosaic.touches(int(n))], np.int64)
    for group, images, labels in track(
        samples.batches(others, batch), total=-(-len(others) // batch), label="drawing the land around"
    ):
        for number, image, label in zip(group, images, labels, strict=True):
            mosaic.paint_around(int(number), image, painted_truth(samples, int(number), label))


def counted(
    samples: Samples, number: int, label: NDArray[np.uint8], scored: NDArray[np.bool_], logits: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Truth (n,) and logits (class, n) of what counts in one patch."""
    if samples.task == "segmentation":
        return label[scored].astype(np.int64), logits[:, scored]
    return samples.dominant[[number]], logits[:, None]


def painted(samples: Samples, logits: NDArray[np.float32], image: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """The answer as a picture (y, x) of class indices, 255 where a band of the model has no data.

    A classification fills the patch with its one class.
    """
    classes = logits.argmax(0).astype(np.uint8)
    full = np.broadcast_to(classes, image.shape[1:]) if classes.ndim == 0 else classes
    answer: NDArray[np.uint8] = np.where((image[samples.columns] != 0).all(0), full, np.uint8(IGNORE))
    return answer


def painted_truth(samples: Samples, number: int, label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The truth as a picture (y, x): the label, or for a classification the patch filled with its dominant class."""
    if samples.task != "classification":
        return label
    return np.where(label != IGNORE, samples.dominant[number], IGNORE).astype(np.uint8)
