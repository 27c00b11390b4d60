"""What the data module for TerraTorch promises: each patch once, resumable, the right bands, scale and truth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer

from components.artifacts import PatchSet
from components.errors import GeoductError
from components.finetune.bands import published, stored_bands
from components.finetune.data import PatchSetDataModule
from components.finetune.data_truth import draw_share
from components.learning.normalisation import Scaling, normalise
from tests.components.train.worlds import hide, land, patchset
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
HLS = ("B02", "B03", "B04", "B8A", "B11", "B12")
TRAIN = 41
"""Patches of the train split: no multiple of the ranks nor of the batches."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    """70 patches of six bands and 16 pixels, 41 of them to train on, some with nodata, with a number to regress."""
    image, label = land(70, 16, 3, seed=0)
    image = np.concatenate([image, image[:, ::-1] // 2], axis=1)
    image[::4, :, 2:5, 3:9] = 0
    path = tmp_path_factory.mktemp("world") / "patches"
    world = patchset(path, image, label, shares=(TRAIN / 70, 0.2), bands=HLS)
    index = world.index
    index["block"] = np.arange(70) // 4
    index["height"] = np.where(np.arange(70) % 5, np.arange(70) / 2.0, np.nan)
    index.to_parquet(path / "index.parquet")
    PatchSet(path).seal({})
    return PatchSet.open(path)


def feed(world: PatchSet, rank: int = 0, ranks: int = 1, **settings: Any) -> PatchSetDataModule:
    """The module as one of several ranks sees it."""
    module = PatchSetDataModule(world, **{"task": "segmentation", "batch_size": 6, **settings})
    device = SimpleNamespace(root_device=torch.device("cpu"))
    trainer = SimpleNamespace(global_rank=rank, world_size=ranks, strategy=device, current_epoch=0)
    module.trainer = trainer  # what it asks of a trainer, without processes
    module.setup("fit")
    return module


def names(batches: Any) -> list[str]:
    return [name for batch in batches for name in batch["filename"]]


def ids(world: PatchSet, split: Any) -> list[str]:
    return [str(world.index["id"][i]) for i in world.indices(split)]


# ---- each patch once --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_patch_comes_once_an_epoch_over_all_ranks(world: PatchSet, ranks: int) -> None:
    loaders = [feed(world, rank, ranks).train_dataloader() for rank in range(ranks)]
    assert len({len(loader) for loader in loaders}) == 1  # or the ranks would wait for each other forever
    epochs = [[names(loader) for loader in loaders] for _ in range(3)]
    for epoch in epochs:
        assert sorted(name for rank in epoch for name in rank) == ids(world, "train")
    assert epochs[0] != epochs[1] != epochs[2]
    for split, method in (("val", "val_dataloader"), ("test", "test_dataloader")):
        seen = [names(getattr(feed(world, rank, ranks), method)()) for rank in range(ranks)]
        assert [name for rank in seen for name in rank] == ids(world, split)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_a_resumed_epoch_goes_on_at_the_very_next_batch(world: PatchSet, ranks: int) -> None:
    for rank in range(ranks):
        whole = feed(world, rank, ranks).train_dataloader()
        expected = [names(whole), names(whole), names(whole)]
        stopped = feed(world, rank, ranks).train_dataloader()
        assert names(stopped) == expected[0]
        batches = iter(stopped)
        seen = names([next(batches), next(batches)])
        state = json.loads(json.dumps(stopped.state_dict()))
        resumed = feed(world, rank, ranks).train_dataloader()
        resumed.load_state_dict(state)
        assert seen + names(resumed) == expected[1]
        assert names(resumed) == expected[2]


def test_the_order_depends_on_the_seed_alone(world: PatchSet) -> None:
    assert names(feed(world, seed=3).train_dataloader()) == names(feed(world, seed=3, workers=1).train_dataloader())
    assert names(feed(world, seed=3).train_dataloader()) != names(feed(world, seed=4).train_dataloader())


class Watcher(LightningModule):
    """Notes the patches of each training batch; learns one number, so that there is something to optimise."""

    def __init__(self, stop_after: int | None = None, save: Path | None = None) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[int, list[str]] = {}
        self.stop_after, self.save = stop_after, save

    def training_step(self, batch: dict[str, Any], number: int) -> torch.Tensor:
        self.seen.setdefault(self.current_epoch, []).extend(batch["filename"])
        return (self.number - batch["image"].mean()) ** 2

    def validation_step(self, batch: dict[str, Any], number: int) -> None:
        assert batch["mask"].dtype == torch.int64

    def on_train_batch_end(self, *_: Any) -> None:
        if self.stop_after == self.global_step and self.save:
            self.trainer.save_checkpoint(self.save)
            self.trainer.should_stop = True
            raise KeyboardInterrupt

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(folder: Path, epochs: int) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


def test_a_plain_trainer_sees_every_patch_each_epoch_and_resumes_within_one(world: PatchSet, tmp_path: Path) -> None:
    whole = Watcher()
    trainer(tmp_path, 3).fit(whole, datamodule=PatchSetDataModule(world, task="segmentation", batch_size=6))
    assert len(whole.seen) == 3 and len({tuple(epoch) for epoch in whole.seen.values()}) == 3
    assert all(sorted(epoch) == ids(world, "train") for epoch in whole.seen.values())

    stopped = Watcher(stop_after=10, save=tmp_path / "middle.ckpt")  # batch 3 of 7 in the second epoch
    with pytest.raises(SystemExit):
        trainer(tmp_path, 3).fit(stopped, datamodule=PatchSetDataModule(world, task="segmentation", batch_size=6))
    resumed = Watcher()
    again = PatchSetDataModule(world, task="segmentation", batch_size=6)
    trainer(tmp_path, 3).fit(resumed, datamodule=again, ckpt_path=tmp_path / "middle.ckpt", weights_only=True)
    assert stopped.seen[0] == whole.seen[0]
    assert len(stopped.seen[1]) in (17, 18) and stopped.seen[1] + resumed.seen[1] == whole.seen[1]
    assert resumed.seen[2] == whole.seen[2]


@pytest.mark.slow
def test_three_processes_of_a_plain_trainer_share_the_patches(world: PatchSet, tmp_path: Path) -> None:
    common = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "3",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tests.components.finetune.plain", str(world.path), str(tmp_path)]
    started = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(3)
    ]
    for process in started:
        said = process.communicate(timeout=300)[1]
        assert process.returncode == 0, said
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    for epoch in ("0", "1"):
        assert sorted(name for rank in seen for name in rank[epoch]) == ids(world, "train")
    assert seen[0]["0"] != seen[0]["1"]


# ---- pixels -----------------------------------------------------------------------------------------------------


def test_bands_come_by_either_name_in_the_order_asked_for(world: PatchSet) -> None:
    module = feed(world, bands=["NIR_NARROW", "B02", "SWIR_2"], augment=False)
    assert module.bands == ("B8A", "B02", "B12")
    batch = next(iter(module.val_dataloader()))
    number = ids(world, "val").index(batch["filename"][0]) + TRAIN
    stored = world.array("image")[number]
    expected = np.empty((3, 16, 16), np.float32)
    mean, std = (
        np.array([module.statistics[band][name] for band in module.bands], np.float32) for name in ("mean", "std")
    )
    normalise(stored[[3, 0, 5]], Scaling(mean, 1 / std), expected)
    np.testing.assert_allclose(batch["image"][0], expected, rtol=1e-5, atol=1e-6)
    assert batch["image"].dtype == torch.float32


def test_a_backbone_brings_its_bands_and_published_scale(world: PatchSet) -> None:
    module = feed(world, backbone="prithvi_eo_v2_300_tl", normalisation="backbone")
    assert module.bands == HLS and module.normalisation == "standardise"
    assert module.statistics["B8A"] == {"mean": 2734.0, "std": 1850.0}
    batch = next(iter(module.val_dataloader()))
    number = ids(world, "val").index(batch["filename"][0]) + TRAIN
    stored = world.array("image")[number].astype(np.float64)
    valid = stored[3] > 0
    np.testing.assert_allclose(batch["image"][0, 3].numpy()[valid], ((stored[3] - 2734) / 1850)[valid], rtol=1e-4)
    nodata = feed(world, backbone="prithvi_eo_v1_100", normalisation="backbone").val_dataloader()
    zeros = world.array("image")[TRAIN : TRAIN + 14] == 0
    images = torch.cat([b["image"] for b in nodata]).numpy()
    assert zeros.any() and (images[zeros] == 0).all()


def test_weights_may_bring_statistics_of_their_own(world: PatchSet) -> None:
    own = {"RED": {"mean": 10.0, "std": 2.0}, "B02": {"mean": 20.0, "std": 4.0}}
    module = feed(world, bands=["B02", "B04"], normalisation="backbone", statistics=own)
    assert module.statistics == {"B02": {"mean": 20.0, "std": 4.0}, "B04": {"mean": 10.0, "std": 2.0}}


def test_centre_and_date_come_as_prithvi_wants_them(world: PatchSet) -> None:
    batch = next(iter(feed(world, coordinates=True, date="2024-07-01").val_dataloader()))
    assert batch["temporal_coords"].shape == (4, 1, 2) and batch["temporal_coords"].dtype == torch.float32
    assert batch["temporal_coords"][3, 0].tolist() == [2024.0, 182.0]  # 1 January is day 0, and 2024 has a 29 February
    # UTM zone 27 has its central meridian at 21° W, at x = 500 km; a footprint of this world is near x = 41 m, y = 0.
    latitude, longitude = batch["location_coords"][0].tolist()
    assert latitude == pytest.approx(0.0, abs=1e-4) and longitude == pytest.approx(-25.49, abs=0.01)
    plain = next(iter(feed(world).val_dataloader()))
    assert set(plain) == {"image", "mask", "filename"}


# ---- truth ------------------------------------------------------------------------------------------------------


def test_each_task_has_its_truth(world: PatchSet) -> None:
    label = world.array("label")[:]
    numbers = {name: number for number, name in enumerate(world.index["id"])}

    def found(task: Any, **settings: Any) -> tuple[np.ndarray, np.ndarray]:
        batches = list(feed(world, task=task, augment=False, **settings).train_dataloader())
        key = "mask" if task == "segmentation" else "label"
        return np.array([numbers[name] for name in names(batches)]), torch.cat([b[key] for b in batches]).numpy()

    which, masks = found("segmentation")
    np.testing.assert_array_equal(masks, label[which])
    which, classes = found("classification")
    assert classes.dtype == np.int64
    np.testing.assert_array_equal(classes, [np.bincount(label[i].ravel(), minlength=3).argmax() for i in which])
    which, several = found("multilabel", min_fraction=0.3)
    np.testing.assert_array_equal(several, [[(label[i] == c).mean() >= 0.3 for c in range(3)] for i in which])
    assert 0 < several.mean() < 1 and several.dtype == np.float32
    which, heights = found("regression", target="height")
    np.testing.assert_array_equal(heights, which / 2)
    assert sorted(which) == [i for i in range(TRAIN) if i % 5]


def test_prediction_is_of_all_patches_without_their_truth(world: PatchSet) -> None:
    batches = list(feed(world, task="classification", coordinates=True).predict_dataloader())
    assert names(batches) == list(world.index["id"])
    assert all(set(batch) == {"image", "filename", "location_coords"} for batch in batches)


def test_patches_without_a_label_are_left_out(tmp_path: Path) -> None:
    image, label = land(30, 16, 3, seed=2)
    label[3] = hide(label[3], 0, 1, 2)
    module = feed(patchset(tmp_path / "p", image, label), task="classification")
    assert sorted(names(module.train_dataloader())) == [f"p{i:03d}" for i in range(18) if i != 3]


def test_a_share_is_whole_blocks_nested_and_of_every_class(world: PatchSet) -> None:
    tenth, half = (set(names(feed(world, share=share, batch_size=4).train_dataloader())) for share in (0.1, 0.5))
    blocks = world.index.set_index("id")["block"]
    used = set(blocks[sorted(tenth)])
    assert tenth == {name for name in ids(world, "train") if blocks[name] in used}
    assert tenth < half and 0.1 <= len(tenth) / TRAIN < 0.3 and 0.5 <= len(half) / TRAIN < 0.7
    other = set(names(feed(world, share=0.1, batch_size=4, seed=1).train_dataloader()))
    assert other != tenth


def test_a_share_keeps_a_class_that_few_blocks_hold() -> None:
    blocks = np.repeat(np.arange(50), 2)
    contents = np.zeros((100, 2))
    contents[:, 0], contents[37, 1] = 1, 1
    for seed in range(20):
        kept = draw_share(blocks, contents, 0.1, seed)
        assert kept[37] and kept[36] and kept.sum() == 10


# ---- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"bands": ["B02", "RED_EDGE_1"]}, r"has no band RED_EDGE_1 \(B05\); it has B02, B03, B04, B8A, B11, B12"),
        ({"bands": ["B02", "SWIR1"]}, r"has no band SWIR1 \(did you mean SWIR_1\?\); it has"),
        ({"bands": ["B02", "BLUE"]}, "names a band twice: B02, BLUE"),
        ({"bands": []}, "bands is empty"),
        ({"backbone": "terramind_v1_base"}, "has no band B01, B05, B06, B07, B08, B09; it has"),
        ({"normalisation": "backbone"}, "neither backbone nor statistics says which"),
        (
            {"normalisation": "backbone", "backbone": "convnext_pico"},
            "no mean and standard deviation .*'convnext_pico'",
        ),
        (
            {"normalisation": "backbone", "statistics": {"BLUE": {"mean": 1.0, "std": 1.0}}},
            "statistics has no mean and std of band B03, only of B02",
        ),
        ({"task": "regression"}, "target is None; expected a numeric column .*height"),
        ({"task": "regression", "target": "split"}, "target is 'split'; expected a numeric column"),
        ({"target": "height"}, "target is 'height', but the task is segmentation"),
        ({"task": "regression", "target": "height", "sampler": True}, "regression has none"),
        ({"task": "multilabel", "min_fraction": 0.0}, "min_fraction is 0.0; expected more than 0"),
        ({"share": 0.0}, "share is 0.0; expected more than 0, at most 1"),
        ({"date": "July"}, "date is 'July'; expected a day such as 2024-07-01"),
        ({"batch_size": 42}, "batch size is 42, but .* has 41 labelled patches; expected 1 to 41"),
        ({"batch_size": 0}, "batch size is 0"),
    ],
)
def test_what_cannot_be_is_refused_by_name(world: PatchSet, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(GeoductError, match=sentence):
        feed(world, **settings)


def test_ranks_that_share_too_little_are_refused(world: PatchSet) -> None:
    with pytest.raises(GeoductError, match="41 labelled patches, 13 for each of 3 ranks; expected 1 to 13"):
        feed(world, ranks=3, batch_size=14)


def test_a_class_that_train_lacks_is_refused(tmp_path: Path) -> None:
    image, label = land(30, 16, 3, seed=2)
    label[:18] = hide(label[:18], 2)
    patches = patchset(tmp_path / "p", image, label)
    for task in ("segmentation", "classification", "multilabel"):
        with pytest.raises(GeoductError, match=r"class 30 \(class 3\) of .* nowhere in train"):
            feed(patches, task=task)


def test_unknown_bands_and_backbones_have_no_silent_match() -> None:
    assert stored_bands(["RED", "B08"], ["RED", "B08"], "x") == ("RED", "B08")
    with pytest.raises(GeoductError, match="x has no band B8A; it has B08"):
        stored_bands(["B8A"], ["B08"], "x")
    with pytest.raises(GeoductError, match="'prithvi'"):
        published("prithvi")
