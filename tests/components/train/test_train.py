"""What `train` promises: it learns, it repeats itself, it survives a kill, and it refuses what it cannot learn from."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.artifacts import Model, PatchSet
from components.errors import GeoductError
from components.learning.predictor import Predictor
from components.train import train
from tests import halting
from tests.components.train.worlds import BANDS, LEARNER, hide, land, patchset

ROOT = Path(__file__).parents[3]
SMALL: dict[str, Any] = {**LEARNER, "epochs": 6, "batch_size": 8}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    return patchset(tmp_path_factory.mktemp("world") / "patches", *land(40, 32, 3, seed=0))


@pytest.fixture(scope="module")
def trained(world: PatchSet, tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("trained") / "model"
    train(world.path, path, **SMALL)
    return Model.open(path)


def pixels_of(world: PatchSet, split: str) -> tuple[np.ndarray, np.ndarray]:
    numbers = world.indices(split)
    return world.array("image")[:][numbers], world.array("label")[:][numbers]


def rows(model: Model) -> list[dict[str, str]]:
    return list(csv.DictReader(model.history.open()))


def test_it_learns_what_can_be_told_apart(world: PatchSet, trained: Model) -> None:
    image, label = pixels_of(world, "test")
    found = Predictor(trained)(image).argmax(axis=1)
    assert (found == label).mean() > 0.9
    assert float(rows(trained)[-1]["train_loss"]) < 0.5 * float(rows(trained)[0]["train_loss"])


def test_the_model_says_all_that_its_use_needs(world: PatchSet, trained: Model) -> None:
    assert (trained.task, trained.bands, trained.size) == ("segmentation", list(BANDS), 32)
    assert trained.statistics == world.statistics
    assert trained.nomenclature == world.nomenclature
    assert trained.description.patches == world.digest
    assert sorted(p.name for p in trained.path.iterdir()) == [
        "curves",
        "geoduct.json",
        "history.csv",
        "model.json",
        "model.safetensors",
    ]


def test_the_weights_kept_are_those_of_the_best_epoch(world: PatchSet, trained: Model) -> None:
    history = rows(trained)
    assert [int(row["epoch"]) for row in history] == list(range(6))
    best = max(float(row["val_macro_f1"]) for row in history)
    image, label = pixels_of(world, "val")
    found = Predictor(trained)(image).argmax(axis=1)
    hits = [(2 * ((found == c) & (label == c)).sum()) / ((found == c).sum() + (label == c).sum()) for c in range(3)]
    assert np.mean(hits) == pytest.approx(best, abs=1e-3)
    summary = json.loads((trained.path / "curves" / "metrics.json").read_text())
    assert summary["val_macro_f1"] == best


def test_the_curves_are_those_of_the_history(trained: Model) -> None:
    curve = csv.reader((trained.path / "curves/plots/metrics/val/loss.tsv").open(), delimiter="\t")
    header, *points = list(curve)
    assert header == ["step", "loss"]
    assert points == [[row["epoch"], row["val_loss"]] for row in rows(trained)]


def test_the_same_command_gives_the_same_bytes(world: PatchSet, trained: Model, tmp_path: Path) -> None:
    train(world.path, tmp_path / "again", **SMALL)
    assert Model.open(tmp_path / "again").digest == trained.digest
    train(world.path, tmp_path / "other", **{**SMALL, "seed": 1, "epochs": 1})
    assert Model.open(tmp_path / "other").digest != trained.digest


def test_a_killed_run_ends_as_if_it_had_never_stopped(world: PatchSet, trained: Model, tmp_path: Path) -> None:
    flags = [word for name, value in SMALL.items() for word in (f"--{name}", *map(str, np.atleast_1d(value)))]
    command = [*halting.COMMAND, "epoch 2/6", "train"]
    command += ["--patches", str(world.path), "--model", str(tmp_path / "model"), *flags]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )
    halting.wait(process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "model").exists()
    left, *_ = tmp_path.glob(".model.*.partial/checkpoints/*-0000000.ckpt")
    assert left.stat().st_size > 0

    train(world.path, tmp_path / "model", **SMALL)
    resumed = Model.open(tmp_path / "model")
    assert rows(resumed) == rows(trained)
    for name, tensor in trained.weights().items():
        np.testing.assert_array_equal(resumed.weights()[name], tensor, err_msg=name)
    assert resumed.digest == trained.digest
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_classifier_learns_the_dominant_class(tmp_path: Path) -> None:
    image, label = land(100, 16, 3, seed=1)
    world = patchset(tmp_path / "patches", image, label)
    train(world.path, tmp_path / "model", **{**SMALL, "task": "classification", "encoder": "test_resnet"})
    model = Model.open(tmp_path / "model")
    assert model.task == "classification"
    image, label = pixels_of(world, "test")
    dominant = [np.bincount(patch.ravel(), minlength=3).argmax() for patch in label]
    assert (Predictor(model)(image).argmax(axis=1) == dominant).mean() >= 0.75


def test_pixels_and_patches_without_a_label_teach_nothing(tmp_path: Path) -> None:
    image, label = land(40, 16, 3, seed=2)
    label[:4], label[24] = 255, 255  # whole patches of train and of val
    label[5:9, :8] = 255
    wrong = image.copy()
    wrong[:4] = 9999
    settings = {**SMALL, "epochs": 1, "augment": False}
    for name, pixels in (("one", image), ("two", wrong)):
        world = patchset(tmp_path / name, pixels, label, statistics={"mean": 1000.0, "std": 1000.0})
        train(world.path, tmp_path / f"{name}-model", **settings)
    one, two = (Model.open(tmp_path / f"{name}-model").weights() for name in ("one", "two"))
    for name, tensor in one.items():
        np.testing.assert_array_equal(two[name], tensor, err_msg=name)


def test_early_stopping_ends_a_run_that_gains_nothing(world: PatchSet, tmp_path: Path) -> None:
    settings = {**SMALL, "learning_rate": 1e-12, "schedule": "constant", "epochs": 6, "patience": 2}
    train(world.path, tmp_path / "model", **settings)
    history = rows(Model.open(tmp_path / "model"))
    best = max(range(len(history)), key=lambda i: float(history[i]["val_macro_f1"]))
    assert len(history) == min(best + 3, 6) < 6


@pytest.mark.parametrize("change", [{"imbalance": "sampler"}, {"imbalance": "none"}, {"label_smoothing": 0.1}])
def test_a_remedy_changes_what_is_learned(
    world: PatchSet, trained: Model, tmp_path: Path, change: dict[str, Any]
) -> None:
    train(world.path, tmp_path / "model", **{**SMALL, "epochs": 1, **change})
    found = rows(Model.open(tmp_path / "model"))[0]["train_loss"]
    train(world.path, tmp_path / "plain", **{**SMALL, "epochs": 1})
    assert found != rows(Model.open(tmp_path / "plain"))[0]["train_loss"]


def refused(words: str, world: PatchSet, path: Path, **settings: Any) -> None:
    with pytest.raises(GeoductError, match=words):
        train(world.path, path, **{**SMALL, **settings})
    assert not path.exists() and not list(path.parent.glob(".*partial"))


def test_a_batch_larger_than_the_split_is_refused(world: PatchSet, tmp_path: Path) -> None:
    refused(
        "the batch size is 25, but the train split of .* has 24 labelled patches", world, tmp_path / "m", batch_size=25
    )


def test_an_unknown_encoder_is_refused(world: PatchSet, tmp_path: Path) -> None:
    refused("--encoder 'resnet_18' .* did you mean 'resnet18'", world, tmp_path / "m", encoder="resnet_18")


def test_a_gpu_that_is_not_there_is_refused(world: PatchSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    refused("its machine, which has 0 GPUs", world, tmp_path / "m", accelerator="gpu")


def test_a_class_without_a_training_pixel_is_refused(tmp_path: Path) -> None:
    image, label = land(20, 16, 3, seed=0)
    label[:12] = hide(label[:12], 2)
    world = patchset(tmp_path / "patches", image, label)
    refused(r"class 30 \(class 3\) of .* occurs in the (val|test) split but nowhere in train", world, tmp_path / "m")


@pytest.mark.parametrize(("split", "part"), [("train", slice(0, 12)), ("val", slice(12, 16))])
def test_a_split_without_labels_is_refused(tmp_path: Path, split: str, part: slice) -> None:
    image, label = land(20, 16, 3, seed=0)
    label[part] = 255
    world = patchset(tmp_path / "patches", image, label)
    refused(f"has no labelled patch in its {split} split", world, tmp_path / "m")


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_patches(tmp_path: Path) -> None:
    world = patchset(tmp_path / "patches", *land(20, 16, 3, seed=0))
    words = r"the loss became (nan|inf) in epoch \d, batch \d \(patches p0\d\d, p0\d\d"
    refused(words, world, tmp_path / "m", learning_rate=1e30, schedule="constant", warmup=0.0)
