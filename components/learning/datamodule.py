"""A PatchSet as Lightning takes data: which patches, in what batches, on what scale. Reading is the loader's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from lightning import LightningDataModule

from components.artifacts.model import Normalisation, Task
from components.artifacts.patch_order import Indices, batch_bounds
from components.artifacts.patch_reader import PatchReader
from components.artifacts.patchset import SPLITS, PatchSet, Split
from components.errors import GeoductError
from components.learning.balance import Floats, content, labelled, patch_weights, require_every_class
from components.learning.loader import PatchLoader
from components.learning.normalisation import Scaling, scaling_of

SMALLEST = 32
"""Patches up to this size in pixels reach the network's depths as one pixel: a batch of one has no variance there."""


class Patches(LightningDataModule):
    """What every data module over a PatchSet shares: batches of some of its patches for this rank, on one scale.

    Args:
        patches: where they come from.
        numbers: of the patches of each split that are used.
        bands: their names, in the network's order.
        scaling: the normalisation of these bands.
        batch_size: patches in a batch of one rank.
        augment: turn and flip each training patch at random.
        weights: chance of each training patch to be drawn; each comes once an epoch if not given.
        workers: threads that read.
        seed: of order, draws and turns.
    """

    def __init__(
        self,
        patches: PatchSet,
        numbers: Mapping[Split, Indices],
        *,
        bands: tuple[str, ...],
        scaling: Scaling,
        batch_size: int,
        augment: bool,
        weights: Floats | None,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.numbers, self.bands, self.scaling, self.batch_size = numbers, bands, scaling, batch_size
        self.augment, self.weights, self.workers, self.seed = augment, weights, workers, seed
        self.size = patches.size
        self.ids = [str(name) for name in patches.index["id"]]
        self.reader = PatchReader(patches.path)

    def require_batches(self, ranks: int) -> None:
        """Refuse a batch size with which the ranks cannot train.

        Raises:
            GeoductError: the batch is larger than a rank's share of the train split, or a batch of one patch is left
                that batch normalisation would trip over.
        """
        count = len(self.numbers["train"])
        share = count // ranks
        if not 1 <= self.batch_size <= share:
            among = f", {share} for each of {ranks} ranks" if ranks > 1 else ""
            raise GeoductError(
                f"the batch size is {self.batch_size}, but the train split of {self.reader.path} has {count} labelled "
                f"patches{among}; expected 1 to {share}"
            )
        if self.size <= SMALLEST and np.diff(batch_bounds(count, self.batch_size, ranks=ranks)).min() < 2:
            raise GeoductError(
                f"the batch size {self.batch_size} leaves a batch of one among {count} patches of {self.size} pixels, "
                f"which cannot be normalised; expected more patches in a batch"
            )

    def loader(self, numbers: Indices, *, learning: bool) -> PatchLoader:
        """Batches of these patches for this rank; if learning, shuffled, turned and drawn anew each epoch."""
        trainer = self.trainer
        loader = PatchLoader(
            self.reader,
            numbers,
            batch_size=min(self.batch_size, len(numbers)),
            bands=self.bands,
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
        if learning and trainer:
            loader.set_epoch(trainer.current_epoch)
        return loader


class PatchDataModule(Patches):
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
        contents = {split: content(patches, split, task) for split in SPLITS}
        require_every_class(patches, contents)
        super().__init__(
            patches,
            {split: labelled(patches, split) for split in SPLITS},
            bands=tuple(patches.bands),
            scaling=scaling_of(patches.statistics, patches.bands, normalisation),
            batch_size=batch_size,
            augment=augment,
            weights=patch_weights(contents["train"]) if sampler else None,
            workers=workers,
            seed=seed,
        )
        self.task, self.content = task, contents["train"]
        self.dominant = patches.index["dominant"].to_numpy(dtype=np.int64, copy=True)
        self.require_batches(ranks)

    def train_dataloader(self) -> PatchLoader:
        """Shuffled, turned and drawn anew each epoch."""
        return self.loader(self.numbers["train"], learning=True)

    def val_dataloader(self) -> PatchLoader:
        """Every patch once, as it is, in stored order."""
        return self.loader(self.numbers["val"], learning=False)
