"""What a PatchSet has to teach, by task: which patches count, what each holds, and its label where pixels have none."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from components.artifacts.patch_order import Indices
from components.artifacts.patchset import SPLITS, PatchSet, Split
from components.errors import GeoductError
from components.learning.balance import Floats, content, labelled, require_every_class
from components.learning.sets import held

DataTask = Literal["segmentation", "classification", "multilabel", "regression"]
"""What is learned: a class for each pixel, the dominant class of a patch, the set of its classes, or a number."""

_SHARE_STREAM = 5  # apart from the streams of the loader's order


class Truth(NamedTuple):
    """What is to be learned.

    Attributes:
        numbers: of the patches of each split that have something to learn.
        contents: of those patches, (patch, class): how much of a class each holds; one column of 1 for regression.
        labels: of all patches by number, as `PatchSetDataModule` says; none if the pixels are labelled.
    """

    numbers: dict[Split, Indices]
    contents: dict[Split, Floats]
    labels: torch.Tensor | None


def truth_of(patches: PatchSet, task: DataTask, *, target: str | None, min_fraction: float) -> Truth:
    """What `patches` has to teach; the arguments are those of `PatchSetDataModule`.

    Raises:
        GeoductError: a split has nothing to learn, a class occurs in val or test but not in train, or the target or
            the fraction is not one to learn by.
    """
    if task == "regression":
        return _numbers_of(patches, target)
    if target is not None:
        raise GeoductError(f"target is {target!r}, but the task is {task}; expected a target for regression only")
    numbers = {split: labelled(patches, split) for split in SPLITS}
    contents: dict[Split, Floats]
    labels = None
    if task != "multilabel":
        contents = {split: content(patches, split, task) for split in SPLITS}
    if task == "classification":
        labels = torch.from_numpy(patches.index["dominant"].to_numpy(dtype=np.int64, copy=True))
    elif task == "multilabel":
        if not 0 < min_fraction <= 1:
            raise GeoductError(f"min_fraction is {min_fraction}; expected more than 0, at most 1")
        contents = {split: held(patches, split, min_fraction).astype(np.float32) for split in SPLITS}
        labels = torch.zeros(len(patches.index), len(patches.nomenclature))
        for split, found in contents.items():
            labels[numbers[split]] = torch.from_numpy(found)
    require_every_class(patches, contents)
    return Truth(numbers, contents, labels)


def _numbers_of(patches: PatchSet, target: str | None) -> Truth:
    """The truth for regression of a column of the index."""
    index = patches.index
    numeric = [str(column) for column in index.columns if np.issubdtype(np.asarray(index[column]).dtype, np.number)]
    if target not in numeric:
        raise GeoductError(
            f"target is {target!r}; expected a numeric column of the index of {patches.path}: {', '.join(numeric)}"
        )
    values: NDArray[np.float64] = index[target].to_numpy(dtype=np.float64)
    numbers = {split: found[np.isfinite(values[found])] for split in SPLITS for found in [patches.indices(split)]}
    for split in SPLITS[:2]:
        if not len(numbers[split]):
            raise GeoductError(f"no patch of the {split} split of {patches.path} has a finite {target!r} to learn")
    contents: dict[Split, Floats] = {split: np.ones((len(found), 1)) for split, found in numbers.items()}
    return Truth(numbers, contents, torch.from_numpy(values.astype(np.float32)))


def draw_share(blocks: NDArray[Any], contents: Floats, share: float, seed: int) -> NDArray[np.bool_]:
    """Choose whole spatial blocks at random until they hold a share of the patches, and every class at least once.

    Args:
        blocks: (patch,) the block of each.
        contents: (patch, class), more than 0 where the patch holds the class.
        share: of the patches, 0 to 1; the outcome is the first number of blocks that reaches it.
        seed: of the draw.

    Returns:
        (patch,) whether it is chosen. With a larger share, at the same seed, all of these are chosen and more.
    """
    turn = np.random.default_rng((seed, _SHARE_STREAM)).permutation(np.unique(blocks))
    needed = (contents > 0).any(axis=0)
    first: list[Any] = []
    later: list[Any] = []
    for block in turn:
        holds = (contents[blocks == block] > 0).any(axis=0)
        (first if (holds & needed).any() else later).append(block)
        needed &= ~holds
    kept = np.zeros(len(blocks), bool)
    for number, block in enumerate(first + later):
        if number >= len(first) and kept.mean() >= share:
            break
        kept |= blocks == block
    return kept
