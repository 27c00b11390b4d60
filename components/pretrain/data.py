"""Images without their labels: a PatchSet's train split and single dates of its land to learn from, its val split to be
judged by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.artifacts.patchset import PatchSet, Split
from components.artifacts.scenecube import SceneCube
from components.errors import GeoductError
from components.finetune.bands import stored_bands
from components.learning.datamodule import Patches
from components.learning.loader import PatchLoader
from components.learning.normalisation import scaling_of
from components.pretrain.looks import Looks


class Images(Patches):
    """All patches of the train and val splits, whether they are labelled or not, standardised.

    With scenes, an epoch also passes over single dates of the land under the patches of the train split, each window
    once; the val split and the statistics stay those of the PatchSet.

    Args:
        patches: where they come from.
        scenes: dates of the patches' land, if there are.
        stride: distance between the windows cut from scenes; see `Looks`.
        min_clear: least share of such a window that is clear.
        bands: in order, by Sentinel-2's names or TerraTorch's; all as stored if not given.
        batch_size: patches in a batch of one rank.
        augment: turn and flip each training patch at random.
        workers: threads that read.
        seed: of order and turns.

    Raises:
        GeoductError: a band is missing, a split has no patch, the scenes do not go with the patches, or there is a
            stride without scenes.
    """

    def __init__(
        self,
        patches: PatchSet,
        *,
        scenes: SceneCube | None,
        stride: int | None,
        min_clear: float,
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
        if stride is not None and scenes is None:
            raise GeoductError(
                f"--stride is {stride}, the distance between windows of scenes, but --scenes is not given"
            )
        looks = None if scenes is None else Looks(patches, scenes, stride=stride, least=min_clear)
        if looks is not None:
            numbers["train"] = np.concatenate([numbers["train"], looks.numbers])
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
        if looks is not None:
            self.reader, self.ids = looks, [*self.ids, *looks.names]

    def setup(self, stage: str) -> None:
        """Check that the trainer's ranks can share the patches; Lightning calls this."""
        if stage == "fit":
            self.require_batches(self.trainer.world_size if self.trainer else 1)

    def train_dataloader(self) -> PatchLoader:
        """Shuffled and turned anew each epoch; patches and windows of scenes once each."""
        return self.loader(self.numbers["train"], learning=True)

    def val_dataloader(self) -> PatchLoader:
        """Every patch once, as it is, in stored order."""
        return self.loader(self.numbers["val"], learning=False)
