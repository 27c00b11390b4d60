"""What is scored: the samples of a split, pixel by pixel or patch by patch, streamed in batches.

A sample of a segmentation is a pixel that has a label and data in all bands of the model; a sample of a
classification is a patch that has a dominant class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.artifacts.model import Model, Task
from components.artifacts.nomenclature import IGNORE, Nomenclature
from components.artifacts.patch_reader import PatchReader
from components.artifacts.patchset import PatchSet, Split
from components.errors import GeoductError


class Batch(NamedTuple):
    """Patches as stored: their numbers (n,), images (n, band, y, x) uint16 and labels (n, y, x) uint8."""

    numbers: NDArray[np.int64]
    images: NDArray[np.uint16]
    labels: NDArray[np.uint8]


class Samples:
    """The patches of a PatchSet as a model sees them.

    Args:
        model: what is scored.
        patches: what it is scored on; more bands than the model's, or another order of them, is fine.

    Raises:
        GeoductError: the PatchSet lacks a band of the model, or their nomenclatures differ.
    """

    def __init__(self, model: Model, patches: PatchSet) -> None:
        model.require_bands(patches.bands, patches.path)
        _same_classes(model, patches)
        self.task: Task = model.task
        self.patches = patches
        self.classes = len(model.nomenclature)
        self.bands = model.bands
        self.columns = [patches.bands.index(band) for band in model.bands]
        """Where the model's bands stand in the PatchSet."""
        self.dominant: NDArray[np.int64] = patches.index["dominant"].to_numpy(np.int64)
        self._reader = PatchReader(patches.path)

    def numbers(self, split: Split) -> NDArray[np.int64]:
        """Numbers of the patches of a split that have anything to score.

        Raises:
            GeoductError: there is none.
        """
        every = self.patches.indices(split)
        if not len(every):
            raise GeoductError(f"{self.patches.path} has no patch in the split {split!r}; there is nothing to score")
        labelled: NDArray[np.int64] = every[self.dominant[every] >= 0]
        if not len(labelled):
            raise GeoductError(f"{self.patches.path}: no patch of the split {split!r} has a labelled pixel to score")
        return labelled

    def batches(self, numbers: NDArray[np.int64], size: int) -> Iterator[Batch]:
        """Read patches in this order, `size` at a time."""
        for start in range(0, len(numbers), size):
            yield self.read(numbers[start : start + size])

    def read(self, numbers: NDArray[np.int64]) -> Batch:
        """Read patches."""
        image, label = self._reader.image.shape, self._reader.label.shape
        images = np.empty((len(numbers), *image[1:]), np.uint16)
        labels = np.empty((len(numbers), *label[1:]), np.uint8)
        self._reader.read_into(numbers, images, labels)
        return Batch(numbers, images, labels)

    def read_labels(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read labels alone, (n, y, x)."""
        labels = np.empty((len(numbers), *self._reader.label.shape[1:]), np.uint8)
        self._reader.label.read_into(numbers, labels)
        return labels

    def seen(self, images: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """The model's bands, in its order, of images (n, band, y, x)."""
        if self.columns == list(range(images.shape[1])):
            return images
        return np.ascontiguousarray(images[:, self.columns])

    def scored(self, pixels: NDArray[np.uint16], label: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which pixels (y, x) of one patch (band, y, x) of the model's bands count: labelled, and data in each band."""
        counted: NDArray[np.bool_] = (label != IGNORE) & (pixels != 0).all(0)
        return counted


def _same_classes(model: Model, patches: PatchSet) -> None:
    ours, theirs = model.nomenclature, patches.nomenclature
    if difference := _difference(ours, theirs):
        raise GeoductError(
            f"the model {model.path} and the patches {patches.path} have different nomenclatures: {difference}"
        )


def _difference(model: Nomenclature, patches: Nomenclature) -> str:
    """In what the classes differ, empty if they do not; names and colours of the same codes may."""
    if model.codes == patches.codes:
        return ""
    parts: list[Any] = []
    if lacking := [code for code in model.codes if code not in patches.codes]:
        parts.append(f"only the model ({model.name}) has the class {', '.join(lacking)}")
    if strange := [code for code in patches.codes if code not in model.codes]:
        parts.append(f"only the patches ({patches.name}) have the class {', '.join(strange)}")
    return "; ".join(parts) or (
        f"the classes stand in the order {', '.join(model.codes)} in the model "
        f"and {', '.join(patches.codes)} in the patches"
    )
