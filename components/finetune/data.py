"""A PatchSet as TerraTorch's tasks take data, by `class_path` in a plain YAML or from our own `finetune`.

Nothing here imports terratorch: a TerraTorch task asks for a dictionary, and passes what it does not know on to the
network. So a batch holds `image`, the truth, `filename` and, if asked for, the coordinates that Prithvi's -TL models
encode; the patches' ids stand under `filename`, the one place that every task leaves alone. Several periods of a place
become the frames of an image here; until then they are more bands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import geopandas
import numpy as np
import torch
from shapely.geometry import Point

from components.artifacts.model import Normalisation
from components.artifacts.patch_order import Indices
from components.artifacts.patchset import PatchSet
from components.artifacts.periods import of_one_image, plain
from components.errors import GeoductError
from components.finetune.bands import SENTINEL2, published
from components.finetune.data_truth import DataTask, draw_share, truth_of
from components.finetune.frames import bands_of_frames, moments_of
from components.learning.balance import patch_weights
from components.learning.datamodule import Patches
from components.learning.frames import apart
from components.learning.loader import Batch, PatchLoader
from components.learning.normalisation import scaling_of

DataNormalisation = Literal["standardise", "minmax", "percentile", "backbone"]
Statistics = dict[str, dict[str, float]]


class TaskLoader:
    """A PatchLoader whose batches are remade for a task; orders, shares and resumes exactly as that one does."""

    def __init__(self, loader: PatchLoader, remake: Callable[[Batch], dict[str, Any]]) -> None:
        self.loader, self.remake = loader, remake

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.loader:
            yield self.remake(batch)

    def set_epoch(self, epoch: int) -> None:
        """As `PatchLoader.set_epoch`."""
        self.loader.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """As `PatchLoader.state_dict`."""
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As `PatchLoader.load_state_dict`."""
        self.loader.load_state_dict(state)


class PatchSetDataModule(Patches):
    """A PatchSet for a TerraTorch task; every patch once an epoch over all ranks, in another order each epoch.

    A batch of n patches holds `image` (n, band, y, x) float32, normalised, nodata 0; `filename`, the ids of the
    patches; and the truth: `mask` (n, y, x) int64 for segmentation, 255 where it is to be ignored (`ignore_index: 255`
    in the task), otherwise `label`: (n,) int64 for classification, (n, class) float32 of 0 and 1 for multilabel, (n,)
    float32 for regression. Batches of `terratorch predict` hold no truth; they are of all patches, in stored order.
    The loaders keep their position in Lightning's checkpoints, so that a run resumes at the very next batch.

    With several `frames`, `image` is (n, band, frame, y, x), as TerraTorch's temporal models take it: the same bands of
    the first periods of the Composite that the patches were cut from. All frames of a patch are turned alike. The
    statistics of the PatchSet are of each band in each period, those of a backbone of a band in any.

    Regression is of one number a patch; a PatchSet has no number a pixel.

    Args:
        patches: path or `s3://` URL of the PatchSet, or the PatchSet itself.
        task: what the truth is.
        batch_size: patches in a batch of one rank.
        bands: names of the bands in the network's order, Sentinel-2's (`B8A`) or TerraTorch's (`NIR_NARROW`); if not
            given, those that `backbone` was pretrained with, or else all as stored. With several frames they are
            without a period (`B8A`), with one they may have it (`B8A@2`).
        frames: how many periods are frames: the first so many, in order of time.
        normalisation: from the statistics of the PatchSet, or `backbone`: what the backbone was pretrained with.
        backbone: its name in TerraTorch's registry.
        statistics: mean and std in DN by band, of weights that bring their own; `normalisation: backbone` then takes
            these instead of the published ones.
        augment: turn and flip each training patch at random.
        sampler: draw patches that hold rare classes more often, with replacement, instead of each once.
        workers: threads that read, in each rank.
        seed: of order, draws and turns.
        coordinates: add `location_coords` (n, 2) float32, latitude and longitude of the patch's centre in degrees.
        date: of the composite, such as `2024-07-01`, or `periods`: the middle of the period of each frame; adds
            `temporal_coords` (n, frame, 2) float32, year and day of the year counted from 0, as TerraTorch's own data
            modules count it.
        target: name of the numeric column of the index that regression learns; patches without a value are left out.
        min_fraction: share of a patch's pixels that a class must cover to count as present, for multilabel.
        share: of the train patches that are used, in whole spatial blocks drawn by `seed` so that every class stays;
            for learning curves.

    Raises:
        GeoductError: what is asked for is not there or cannot be learned from; the sentence names it.
    """

    val_dataset = None
    """TerraTorch's tasks look here for a way to draw samples, and then for `plot`."""

    def __init__(
        self,
        patches: str | PatchSet,
        *,
        task: DataTask,
        batch_size: int,
        bands: list[str] | None = None,
        frames: int = 1,
        normalisation: DataNormalisation = "standardise",
        backbone: str | None = None,
        statistics: Statistics | None = None,
        augment: bool = True,
        sampler: bool = False,
        workers: int = 2,
        seed: int = 0,
        coordinates: bool = False,
        date: str | None = None,
        target: str | None = None,
        min_fraction: float = 0.01,
        share: float = 1.0,
    ) -> None:
        opened = patches if isinstance(patches, PatchSet) else PatchSet.open(patches)
        if bands is None and backbone and not statistics:
            bands = list(published(backbone).bands)
        names = bands_of_frames(bands, opened, frames)
        scale: Statistics
        rule: Normalisation
        if normalisation == "backbone":
            scale, rule = _pretrained(names, backbone, statistics), "standardise"
        else:
            stored = opened.statistics
            scale, rule = {band: stored[band] for band in names}, normalisation
        numbers, contents, labels = truth_of(opened, task, target=target, min_fraction=min_fraction)
        if workers < 1:
            raise GeoductError(f"workers is {workers}; expected 1 or more, threads that read")
        if not 0 < share <= 1:
            raise GeoductError(f"share is {share}; expected more than 0, at most 1")
        if share < 1:
            kept = draw_share(opened.index["block"].to_numpy()[numbers["train"]], contents["train"], share, seed)
            numbers["train"], contents["train"] = numbers["train"][kept], contents["train"][kept]
        if sampler and task == "regression":
            raise GeoductError("sampler draws by classes, of which regression has none; expected sampler: false")
        super().__init__(
            opened,
            numbers,
            bands=names,
            scaling=scaling_of(scale, names, rule),
            batch_size=batch_size,
            augment=augment,
            weights=patch_weights(contents["train"]) if sampler else None,
            workers=workers,
            seed=seed,
        )
        self.min_fraction = min_fraction if task == "multilabel" else None
        self.patches, self.task, self.content, self.labels = opened, task, contents["train"], labels
        self.statistics, self.normalisation = scale, rule
        self.frames, self.moments = frames, moments_of(date, names, opened, frames)
        self.locations = _locations(opened) if coordinates else None

    @property
    def frame_bands(self) -> tuple[str, ...]:
        """Names of the bands in one frame, as a backbone knows them: without their period if they are of one."""
        return of_one_image(self.bands[: len(self.bands) // self.frames])

    @property
    def place(self) -> tuple[float, float] | None:
        """Latitude and longitude of the middle of the train patches, in degrees, where coordinates are asked for."""
        if self.locations is None:
            return None
        footprints = self.patches.index.geometry.iloc[self.numbers["train"]]
        middles = footprints.centroid  # in metres, where no meridian parts what lies together
        middle = geopandas.GeoSeries([Point(middles.x.mean(), middles.y.mean())], crs=footprints.crs)
        (point,) = middle.to_crs("EPSG:4326")
        return float(point.y), float(point.x)

    def setup(self, stage: str) -> None:
        """Check that the trainer's ranks can share the patches; Lightning calls this."""
        if stage == "fit":
            self.require_batches(self.trainer.world_size if self.trainer else 1)

    def train_dataloader(self) -> TaskLoader:
        """The train split: shuffled, turned and drawn anew each epoch."""
        return self._task_loader(self.numbers["train"], learning=True)

    def val_dataloader(self) -> TaskLoader:
        """The val split: every patch once, as it is, in stored order."""
        return self._task_loader(self.numbers["val"])

    def test_dataloader(self) -> TaskLoader:
        """The test split: every patch once, as it is, in stored order."""
        if not len(self.numbers["test"]):
            raise GeoductError(f"{self.patches.path} has no labelled patch in its test split; testing needs some there")
        return self._task_loader(self.numbers["test"])

    def predict_dataloader(self) -> TaskLoader:
        """All patches of the set in stored order, without truth."""
        return self._task_loader(np.arange(len(self.ids)), truth=False)

    def plot(self, sample: dict[str, Any], split: str) -> None:
        """TerraTorch asks for pictures of samples while it validates; Geoduct's are in the report of `evaluate`."""

    def _task_loader(self, numbers: Indices, *, learning: bool = False, truth: bool = True) -> TaskLoader:
        return TaskLoader(self.loader(numbers, learning=learning), lambda batch: self._remake(batch, truth))

    def _remake(self, batch: Batch, truth: bool) -> dict[str, Any]:
        index = batch["index"]
        made: dict[str, Any] = dict(self.inputs(batch["image"], index))
        if truth and self.labels is None:
            made["mask"] = batch["mask"]
        elif truth and self.labels is not None:
            made["label"] = self.labels[index]
        made["filename"] = [self.ids[number] for number in index.tolist()]
        return made

    def inputs(self, image: torch.Tensor, index: torch.Tensor) -> dict[str, torch.Tensor]:
        """What a network is given of images (n, band, y, x) of the patches of these numbers: their frames apart, and
        the coordinates that were asked for."""
        given = {"image": apart(image, self.frames)}
        if self.locations is not None:
            given["location_coords"] = self.locations[index]
        if self.moments is not None:
            given["temporal_coords"] = torch.tensor(self.moments).repeat(len(index), 1, 1)
        return given


def _pretrained(bands: tuple[str, ...], backbone: str | None, statistics: Statistics | None) -> Statistics:
    """Mean and std in DN by stored band: those given, or else the published ones of the backbone."""
    if statistics is None:
        if backbone is None:
            raise GeoductError("normalisation is 'backbone', but neither backbone nor statistics says which")
        known = published(backbone)
        whose = f"the backbone {backbone!r}"
        statistics = {
            band: {"mean": mean, "std": std} for band, mean, std in zip(known.bands, known.mean, known.std, strict=True)
        }
    else:
        whose = "statistics"
    given = {SENTINEL2.get(band, band): values for band, values in statistics.items()}
    chosen = {}
    for band in bands:
        values = given.get(SENTINEL2.get(plain(band), plain(band)), {})
        if not {"mean", "std"} <= values.keys():
            raise GeoductError(
                f"{whose} has no mean and std of band {band}, only of {', '.join(given)}; choose among these bands, or "
                "another normalisation"
            )
        chosen[band] = {"mean": float(values["mean"]), "std": float(values["std"])}
    return chosen


def _locations(patches: PatchSet) -> torch.Tensor:
    """(patch, 2) float32: latitude and longitude of the centre of each footprint, in degrees (WGS 84)."""
    footprints = patches.index.geometry
    if footprints.crs is None:
        raise GeoductError(f"the footprints of {patches.path} have no CRS; without it coordinates cannot be given")
    centres = footprints.centroid.to_crs("EPSG:4326")
    return torch.from_numpy(np.stack([centres.y, centres.x], axis=1).astype(np.float32))
