"""What a model has to beat: always the majority class of the train split, and a multinomial logistic regression.

The regression sees one pixel's bands and nothing around it; for a classification, each band's mean and standard
deviation over the patch. It is fitted on a seeded sample of the train split, features standardised, classes not
weighted. Both are linear: logits = weights · features + bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.artifacts.nomenclature import IGNORE
from components.errors import GeoductError
from components.evaluate.samples import Samples
from components.progress import track

MOST_PATCHES = 2048
"""From how many train patches the sample is taken at most: enough that one patch gives under a hundred pixels."""
ITERATIONS = 300
LEAST = 1e-9
"""Share given to a class that the train split lacks, so that its log-loss stays finite."""


class Linear(NamedTuple):
    """A linear classifier: `weights` (class, feature) and `bias` (class,), of features `(x - centre) * scale`."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    centre: NDArray[np.float32]
    scale: NDArray[np.float32]

    def logits(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Logits (class, n) of raw features (feature, n)."""
        standard = (features.astype(np.float32) - self.centre[:, None]) * self.scale[:, None]
        result: NDArray[np.float32] = self.weights @ standard + self.bias[:, None]
        return result


def features(samples: Samples, pixels: NDArray[np.uint16], scored: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Features (feature, n) of one patch (band, y, x): of its scored pixels, or of the patch as a whole.

    A whole patch is described by the mean and the standard deviation of each band where it has data.
    """
    if samples.task == "segmentation":
        return pixels[:, scored].astype(np.float32)
    counts = np.maximum((pixels != 0).sum((1, 2)), 1)
    mean = pixels.sum((1, 2), dtype=np.float64) / counts
    square = (pixels.astype(np.float64) ** 2).sum((1, 2)) / counts
    return np.concatenate([mean, np.sqrt(np.maximum(square - mean**2, 0))])[:, None].astype(np.float32)


def class_counts(samples: Samples, batch: int) -> NDArray[np.int64]:
    """Labelled samples of each class in the train split, (class,).

    Raises:
        GeoductError: the train split is empty.
    """
    numbers = samples.numbers("train")
    if samples.task == "classification":
        return np.bincount(samples.dominant[numbers], minlength=samples.classes)
    total = np.zeros(256, np.int64)
    for start in track(range(0, len(numbers), batch), label="counting train labels"):
        total += np.bincount(samples.read_labels(numbers[start : start + batch]).ravel(), minlength=256)
    return total[: samples.classes]


def majority(counts: NDArray[np.int64], width: int) -> Linear:
    """The classifier that always gives the classes their shares `counts` of the train split, whatever the features."""
    shares = np.maximum(counts / counts.sum(), LEAST)
    zeros = np.zeros((len(counts), width), np.float32)
    return Linear(zeros, np.log(shares).astype(np.float32), zeros[0], zeros[0])


def _draw(samples: Samples, size: int, seed: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Features and classes of about `size` samples of the train split, patch by patch."""
    generator = np.random.default_rng(seed)
    numbers = samples.numbers("train")
    most = size if samples.task == "classification" else MOST_PATCHES
    if len(numbers) > most:
        numbers = np.sort(generator.choice(numbers, most, replace=False))
    each = -(-size // len(numbers))
    for number in track(numbers, label="sampling the train split"):
        _, images, labels = samples.read(np.array([number]))
        pixels, label = samples.seen(images)[0], labels[0]
        scored = samples.scored(pixels, label)
        if samples.task == "classification":
            yield features(samples, pixels, scored), samples.dominant[[number]]
            continue
        places = np.flatnonzero(scored)
        chosen = generator.choice(places, min(each, len(places)), replace=False)
        mask = np.zeros(scored.shape, bool)
        mask.flat[chosen] = True
        yield features(samples, pixels, mask), label[mask].astype(np.int64)


def regression(samples: Samples, size: int, seed: int) -> tuple[Linear, int]:
    """Fit the logistic regression on about `size` samples of the train split; returns it and how many they were.

    Raises:
        GeoductError: the train split has fewer than two classes to tell apart.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    parts = list(_draw(samples, size, seed))
    raw = np.concatenate([part[0] for part in parts], 1).T
    truth = np.concatenate([part[1] for part in parts])
    known = np.unique(truth[truth != IGNORE])
    if len(known) < 2:
        raise GeoductError(
            f"{samples.patches.path}: the train split has {len(known)} class; a baseline needs two or more"
        )
    scaler = StandardScaler().fit(raw.astype(np.float64))
    fitted = LogisticRegression(max_iter=ITERATIONS, random_state=seed).fit(scaler.transform(raw), truth)
    weights = np.zeros((samples.classes, raw.shape[1]), np.float32)
    bias = np.full(samples.classes, np.log(LEAST), np.float32)
    if len(known) == 2:  # scikit-learn keeps one row: the log-odds of the second class
        weights[known[1]], bias[known] = fitted.coef_[0], (0, fitted.intercept_[0])
    else:
        weights[known], bias[known] = fitted.coef_, fitted.intercept_
    centre, scale = scaler.mean_.astype(np.float32), (1 / scaler.scale_).astype(np.float32)
    return Linear(weights, bias, centre, scale), len(truth)
