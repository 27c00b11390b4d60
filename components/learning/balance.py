"""Two remedies for rare classes: weigh them more in the loss, or draw the patches that hold them more often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.artifacts.model import Task
from components.artifacts.patchset import PatchSet, Split
from components.errors import GeoductError

Floats = NDArray[np.floating[Any]]


def content(patches: PatchSet, split: Split, task: Task) -> Floats:
    """What the patches of a split teach, (patch, class): fractions of pixels, or for classification 1 at the dominant.

    Of multilabel these are the fractions too; from which on a patch holds a class, `sets.held` is told.

    Patches without a label are left out.
    """
    rows = patches.index.iloc[labelled(patches, split)]
    codes = patches.nomenclature.codes
    if task == "classification":
        dominant: NDArray[np.int64] = rows["dominant"].to_numpy(dtype=np.int64)
        return np.equal.outer(dominant, np.arange(len(codes))).astype(np.float64)
    columns = [f"fraction_{code}" for code in codes]
    if missing := [c for c in columns if c not in rows.columns]:
        raise GeoductError(f"the index of {patches.path} lacks the column {missing[0]!r}")
    return np.asarray(rows[columns].to_numpy(dtype=np.float64))


def labelled(patches: PatchSet, split: Split) -> NDArray[np.int64]:
    """Numbers of the patches of a split that have a label at all, ascending."""
    numbers = patches.indices(split)
    kept: NDArray[np.int64] = numbers[patches.index["dominant"].to_numpy()[numbers] >= 0]
    return kept


def require_every_class(patches: PatchSet, contents: Mapping[Split, Floats]) -> None:
    """Refuse a PatchSet that asks for a class which it does not teach; `contents` is `content` of each split.

    Raises:
        GeoductError: train or val has no labelled patch, or a class occurs in val or test but not in train.
    """
    learned: tuple[Split, ...] = ("train", "val")
    for split in learned:
        if not len(contents[split]):
            raise GeoductError(f"{patches.path} has no labelled patch in its {split} split; training needs some there")
    taught = contents["train"].sum(axis=0)
    asked: tuple[Split, ...] = ("val", "test")
    for split in asked:
        for number in np.flatnonzero((contents[split].sum(axis=0) > 0) & (taught == 0)):
            what = patches.nomenclature.classes[number]
            raise GeoductError(
                f"class {what.code} ({what.name}) of {patches.path} occurs in the {split} split but nowhere in train; "
                "cut the patches with another seed or smaller blocks, or leave the class out of the nomenclature"
            )


def class_weights(content: Floats) -> NDArray[np.float32]:
    """Weight of each class in the loss: the inverse square root of its share, 1 on average over the labels.

    The square root (Mahajan et al. 2018, "Exploring the limits of weakly supervised pretraining") lifts rare classes
    without letting a handful of pixels rule, as the plain inverse would. A class without any share gets 0.
    """
    share = content.sum(axis=0) / content.sum()
    weights = np.zeros(len(share))
    weights[share > 0] = share[share > 0] ** -0.5
    mean = float((share * weights).sum())
    return (weights / mean).astype(np.float32)


def patch_weights(content: Floats) -> NDArray[np.float64]:
    """Chance of each patch to be drawn, up to a factor: the repeat factor of the rarest class in it.

    The factor of a class is max(1, sqrt(t / f)), where f is the share of patches that hold it and t the median of the
    shares (Gupta et al. 2019, "LVIS", repeat factor sampling; there t is a constant).
    """
    holds = content > 0
    frequency = holds.mean(axis=0)
    threshold = np.median(frequency[frequency > 0])
    factor = np.sqrt(threshold / np.maximum(frequency, 1.0 / len(content))).clip(min=1.0)
    weights: NDArray[np.float64] = np.where(holds, factor, 1.0).max(axis=1)
    return weights
