"""The images of a PatchSet without their labels: the train split to learn from, the val split to be judged by."""

from __future__ import annotations

from collections.abc import Sequence

from components.artifacts.patchset import PatchSet, Split
from components.errors import GeoductError
from components.finetune.bands import stored_bands
from components.learning.datamodule import Patches
from components.learning.loader import PatchLoader
from components.learning.normalisation import scaling_of


class Images(Patches):
    """All patches of the train and val splits, whether they are labelled or not, standardised.

    Args:
        patches: where they come from.
        bands: in order, by Sentinel-2's names or TerraTorch's; all as stored if not given.
        batch_size: patches in a batch of one rank.
        augment: turn and flip each training patch at random.
        workers: threads that read.
        seed: of order and turns.

    Raises:
        GeoductError: a band is missing, or a split has no patch.
    """

    def __init__(
        self,
        patches: PatchSet,
        *,
        bands: Sequence[str] | None,
        batch_size: int,
        augment: bool,
        workers: int,
        seed: int,
    ) -> None:
        names = stored_bands(bands or patches.bands, patches.bands, patches.path)
        splits: tuple[Split, ...] = ("train", "val")
        numbers = {split: patches.indices(split) for split in splits}
        for split, found in numbers.items():
            if not len(found):
                raise GeoductError(f"{patches.path} has no patch in its {split} split; pre-training needs some there")
        super().__init__(
            patches,
            numbers,
            bands=names,
            scaling=scaling_of(patches.statistics, names, "standardise"),
            batch_size=batch_size,
            augment=augment,
            weights=None,
            workers=workers,
            seed=seed,
        )

    def setup(self, stage: str) -> None:
        """Check that the trainer's ranks can share the patches; Lightning calls this."""
        if stage == "fit":
            self.require_batches(self.trainer.world_size if self.trainer else 1)

    def train_dataloader(self) -> PatchLoader:
        """Shuffled and turned anew each epoch."""
        return self.loader(self.numbers["train"], learning=True)

    def val_dataloader(self) -> PatchLoader:
        """Every patch once, as it is, in stored order."""
        return self.loader(self.numbers["val"], learning=False)
