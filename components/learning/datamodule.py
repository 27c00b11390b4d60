"""A PatchSet as Lightning takes data: which patches, in what batches, on what scale. Reading is the loader's."""

from __future__ import annotations

import numpy as np
from lightning import LightningDataModule

from components.artifacts.model import Normalisation, Task
from components.artifacts.patch_order import batch_bounds
from components.artifacts.patch_reader import PatchReader
from components.artifacts.patchset import PatchSet, Split
from components.errors import GeoductError
from components.learning.balance import content, labelled, patch_weights, require_every_class
from components.learning.loader import PatchLoader
from components.learning.normalisation import scaling_of

LEARNED: tuple[Split, ...] = ("train", "val")
"""The splits that training may see."""
SMALLEST = 32
"""Patches up to this size in pixels reach the network's depths as one pixel: a batch of one has no variance there."""


class PatchDataModule(LightningDataModule):
    """The train and val splits of a PatchSet; patches without any label are left out.

    Args:
        patches: all its bands are used, in stored order.
        task: decides which patches hold which class.
        batch_size: patches in a batch of one rank.
        normalisation: from the statistics of the PatchSet.
        augment: turn and flip each training patch at random.
        sampler: draw patches that hold rare classes more often.
        workers: threads that read.
        seed: of order, draws and turns.
        ranks: processes that share each epoch.

    Raises:
        GeoductError: a split has no labelled patch, a class occurs in val or test but not in train, the batch is
            larger than the train split, or batches of one patch cannot be normalised.
    """

    def __init__(
        self,
        patches: PatchSet,
        *,
        task: Task,
        batch_size: int,
        normalisation: Normalisation = "standardise",
        augment: bool = True,
        sampler: bool = False,
        workers: int = 2,
        seed: int = 0,
        ranks: int = 1,
    ) -> None:
        super().__init__()
        require_every_class(patches, task)
        self.task, self.batch_size = task, batch_size
        self.augment, self.workers, self.seed = augment, workers, seed
        self.ids = [str(name) for name in patches.index["id"]]
        self.dominant = patches.index["dominant"].to_numpy(dtype=np.int64, copy=True)
        self.content = content(patches, "train", task)
        self.numbers = {split: labelled(patches, split) for split in LEARNED}
        self.weights = patch_weights(self.content) if sampler else None
        self.scaling = scaling_of(patches.statistics, patches.bands, normalisation)
        self.reader = PatchReader(patches.path)
        count = len(self.numbers["train"])
        share = count // ranks
        if batch_size > share:
            among = f", {share} for each of {ranks} ranks" if ranks > 1 else ""
            raise GeoductError(
                f"--batch-size is {batch_size}, but the train split of {patches.path} has {count} labelled patches"
                f"{among}; expected at most {share}"
            )
        if patches.size <= SMALLEST and np.diff(batch_bounds(count, batch_size, ranks=ranks)).min() < 2:
            raise GeoductError(
                f"--batch-size {batch_size} leaves a batch of one among {count} patches of {patches.size} pixels, "
                f"which cannot be normalised; expected more patches in a batch"
            )

    def train_dataloader(self) -> PatchLoader:
        """Shuffled, turned and drawn anew each epoch."""
        return self._loader("train")

    def val_dataloader(self) -> PatchLoader:
        """Every patch once, as it is, in stored order."""
        return self._loader("val")

    def _loader(self, split: Split) -> PatchLoader:
        trainer = self.trainer
        learning = split == "train"
        return PatchLoader(
            self.reader,
            self.numbers[split],
            batch_size=min(self.batch_size, len(self.numbers[split])),
            scaling=self.scaling,
            augment=self.augment and learning,
            shuffle=learning,
            weights=self.weights if learning else None,
            workers=self.workers,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
            seed=self.seed,
            rank=trainer.global_rank if trainer else 0,
            ranks=trainer.world_size if trainer else 1,
        )
