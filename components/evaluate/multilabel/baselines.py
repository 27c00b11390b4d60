"""What a model of sets has to beat: always the classes that most train patches hold, and a regression a class.

Both are linear, as the baselines of other tasks; here each class has a logit of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.errors import GeoductError
from components.evaluate.baselines import ITERATIONS, LEAST, Linear, features
from components.evaluate.samples import Samples
from components.progress import track


def usual(truth: NDArray[np.bool_], width: int) -> Linear:
    """The classifier that gives each class the log-odds of its share of the train patches, whatever the features.

    So it says those that more than half of the patches hold. `truth` is (patch, class), `width` counts the features.
    """
    shares = np.clip(truth.mean(0), LEAST, 1 - LEAST)
    zeros = np.zeros((truth.shape[1], width), np.float32)
    return Linear(zeros, np.log(shares / (1 - shares)).astype(np.float32), zeros[0], zeros[0])


def regressions(samples: Samples, truth: NDArray[np.bool_], size: int, seed: int) -> tuple[Linear, int]:
    """Fit a logistic regression a class on at most `size` train patches, on each band's mean and standard deviation.

    `truth` (patch, class) is of the train patches of `samples`, in order. A class that all of those drawn hold, or
    none of them, gets that for an answer. Returns the classifier and how many patches it was fitted on.

    Raises:
        GeoductError: there is no class to tell apart.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    numbers = samples.numbers("train")
    drawn = np.arange(len(numbers))
    if len(numbers) > size:
        drawn = np.sort(np.random.default_rng(seed).choice(drawn, size, replace=False))
    parts = []
    for number in track(numbers[drawn], label="sampling the train split"):
        _, images, labels = samples.read(np.array([number]))
        pixels = samples.seen(images)[0]
        parts.append(features(samples, pixels, samples.scored(pixels, labels[0])))
    raw, holds = np.concatenate(parts, 1).T, truth[drawn]
    known = [c for c in range(samples.classes) if 0 < holds[:, c].sum() < len(holds)]
    if not known:
        raise GeoductError(
            f"{samples.patches.path}: all train patches hold the same classes; a baseline needs some that differ"
        )
    scaler = StandardScaler().fit(raw.astype(np.float64))
    standard = scaler.transform(raw)
    weights = np.zeros((samples.classes, raw.shape[1]), np.float32)
    bias = np.where(holds.all(0), -np.log(LEAST), np.log(LEAST)).astype(np.float32)
    for c in known:
        fitted = LogisticRegression(max_iter=ITERATIONS, random_state=seed).fit(standard, holds[:, c])
        weights[c], bias[c] = fitted.coef_[0], fitted.intercept_[0]
    centre, scale = scaler.mean_.astype(np.float32), (1 / scaler.scale_).astype(np.float32)
    return Linear(weights, bias, centre, scale), len(drawn)
