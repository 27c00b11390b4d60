"""Sets of classes: what a patch holds, and the scores of answers that name several; for training and evaluation.

Of each class a network says on its own whether the patch holds it; the logit is that of the class alone, its sigmoid
the probability. A class is said to be there where that is above one half.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics import Metric

from components.artifacts.patchset import PatchSet, Split
from components.errors import GeoductError
from components.learning.balance import content

Floats = NDArray[np.float64]

SAID = 0.0
"""A class is said to be in a patch where its logit is above this, hence its probability above one half."""


def held(patches: PatchSet, split: Split, min_fraction: float) -> NDArray[np.bool_]:
    """Which classes the labelled patches of a split hold, (patch, class): those of at least this share of its pixels.

    The patches are those of `balance.labelled`, in that order; one whose classes all are below the share holds none.

    Raises:
        GeoductError: there are labelled patches, but none of them holds a class.
    """
    found: NDArray[np.bool_] = content(patches, split, "multilabel") >= min_fraction
    if len(found) and not found.any():
        raise GeoductError(
            f"no patch of the {split} split of {patches.path} holds a class by a share of {min_fraction:g} of its "
            "pixels or more; there is nothing to learn or to score, expected a smaller min_fraction"
        )
    return found


def average_precision(truth: NDArray[np.bool_], scores: NDArray[Any], weights: NDArray[Any]) -> Floats:
    """Average precision of one class under many weightings of the samples: the mean of the precision at each sample
    that holds the class, where the samples are ranked by score and those of equal score come together.

    The weight of a sample is how often it counts, so that a bootstrap is many weightings. Manning, Raghavan and
    Schütze, Introduction to Information Retrieval, 2008, section 8.4; in ties as scikit-learn has it.

    Args:
        truth: (n,), whether the sample holds the class.
        scores: (n,), higher where it is surer that it does.
        weights: (k, n), at least 0.

    Returns:
        (k,); 0 where no sample that counts holds the class.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, holds = scores[order], truth[order].astype(np.float64)
    last = np.searchsorted(-ranked, -ranked, side="right") - 1  # of those that have the same score
    weight = np.asarray(weights, np.float64)[:, order]
    hits = weight * holds
    above, counted = hits.cumsum(1)[:, last], weight.cumsum(1)[:, last]
    precision = np.divide(above, counted, out=np.zeros_like(above), where=counted > 0)
    total = hits.sum(1)
    found: Floats = np.divide((hits * precision).sum(1), total, out=np.zeros(len(total)), where=total > 0)
    return found


class SetScores(Metric):
    """Macro-F1 and mean average precision of the answers so far, over the classes that some patch holds; 0 if none.

    `update` takes logits and truth, both (n, class), the truth of 0 and 1. It keeps them all, a few numbers a patch.
    """

    full_state_update = False
    logits: list[torch.Tensor]
    truth: list[torch.Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("logits", default=[], dist_reduce_fx="cat")
        self.add_state("truth", default=[], dist_reduce_fx="cat")

    def update(self, logits: torch.Tensor, truth: torch.Tensor) -> None:
        """Take the answers of a batch."""
        self.logits.append(logits.detach().float())
        self.truth.append(truth.detach().float())

    def compute(self) -> dict[str, float]:
        """The scores by the names that they have in a history."""
        logits, truth = (
            (torch.cat(state) if isinstance(state, list) else state).cpu().numpy()
            for state in (self.logits, self.truth)
        )
        holds, said = truth > 0, logits > SAID
        present = np.flatnonzero(holds.any(0))
        if not len(present):
            return {"val_macro_f1": 0.0, "val_macro_ap": 0.0}
        hits, counted = (holds & said).sum(0), holds.sum(0) + said.sum(0)
        once = np.ones((1, len(holds)))
        precisions = [average_precision(holds[:, c], logits[:, c], once)[0] for c in present]
        return {
            "val_macro_f1": float((2 * hits[present] / counted[present]).mean()),
            "val_macro_ap": float(np.mean(precisions)),
        }
