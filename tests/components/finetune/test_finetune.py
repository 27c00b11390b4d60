"""What `finetune` promises: it learns as TerraTorch does, repeats itself, survives a stop, and gives a plain Model."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.artifacts import Model, PatchSet, Weights
from components.artifacts.weights import Origin, Pretraining, write_weights
from components.errors import STOPPED, GeoductError, Halted
from components.finetune import finetune
from components.learning.checkpoints import Checkpoints
from components.learning.fitting import fit
from components.learning.predictor import Predictor
from tests.components.finetune.losses import both_losses
from tests.components.finetune.yamls import LORA, OURS, tiny
from tests.components.train.worlds import hide, land, patchset

written = Checkpoints.state_dict
EMA = {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.9}}

EVERYTHING = {
    "model.class_path": OURS,
    "model.init_args.layer_decay": 0.7,
    "model.init_args.schedule": "cosine",
    "model.init_args.warmup": 0.2,
    "model.init_args.model_args.backbone_drop_path": 0.2,
    "trainer.accumulate_grad_batches": 2,
    "trainer.gradient_clip_val": 1.0,
    "trainer.callbacks": [EMA],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    return patchset(tmp_path_factory.mktemp("world") / "patches", *land(40, 32, 3, seed=0))


@pytest.fixture(scope="module")
def tuned(world: PatchSet, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return run(world, tmp_path_factory.mktemp("tuned") / "model", **{"trainer.max_epochs": 8})


@pytest.fixture
def stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stop file that is there already: every run ends after its first step."""
    file = tmp_path / "stop"
    file.touch()
    monkeypatch.setenv("GEODUCT_STOP_FILE", str(file))
    return file


def run(world: PatchSet, path: Path, **changes: Any) -> Model:
    finetune(world.path, None, path, config=tiny(path.with_suffix(".yaml"), changes))
    return Model.open(path)


def rows(model: Model, name: str = "history.csv") -> list[dict[str, str]]:
    return list(csv.DictReader((model.path / name).open()))


def pixels_of(world: PatchSet, split: str) -> tuple[np.ndarray, np.ndarray]:
    numbers = world.indices(split)
    return world.array("image")[:][numbers], world.array("label")[:][numbers]


def same(one: Model, other: Model) -> None:
    assert rows(one) == rows(other)
    assert one.weights().keys() == other.weights().keys()
    for name, tensor in one.weights().items():
        np.testing.assert_array_equal(other.weights()[name], tensor, err_msg=name)


def test_it_learns_and_the_model_is_used_like_any_other(world: PatchSet, tuned: Model) -> None:
    image, label = pixels_of(world, "test")
    predictor = Predictor(tuned)
    assert (predictor(image).argmax(axis=1) == label).mean() > 0.9
    for height, width in ((32, 32), (33, 47), (5, 70)):
        logits = predictor(np.full((2, 3, height, width), 900, np.uint16))
        assert logits.shape == (2, 3, height, width)
        assert np.isfinite(logits).all()


def test_the_weights_kept_are_those_of_the_best_epoch(world: PatchSet, tuned: Model) -> None:
    best = max(float(row["val_macro_f1"]) for row in rows(tuned))
    image, label = pixels_of(world, "val")
    found = Predictor(tuned)(image).argmax(axis=1)
    hits = [(2 * ((found == c) & (label == c)).sum()) / ((found == c).sum() + (label == c).sum()) for c in range(3)]
    assert np.mean(hits) == pytest.approx(best, abs=1e-3)


def test_the_model_says_how_it_came_to_be(world: PatchSet, tuned: Model) -> None:
    assert (tuned.task, tuned.bands, tuned.size) == ("segmentation", world.bands, 32)
    assert tuned.architecture.name == "terratorch"
    assert tuned.statistics == world.statistics
    assert sorted(p.name for p in tuned.path.iterdir()) == [
        "curves",
        "geoduct.json",
        "history.csv",
        "model.json",
        "model.safetensors",
        "performance.csv",
        "run.json",
        "tensorboard",
    ]
    told = json.loads((tuned.path / "run.json").read_text())
    assert told["hyperparameters"]["model"]["init_args"]["lr"] == 3e-3
    assert told["backbone"] == "prithvi_eo_v2_tiny_tl"
    assert told["seconds"] > 0
    for row in rows(tuned, "performance.csv"):
        assert row["samples"] == "24"
        assert float(row["samples_per_second"]) > 0
        assert 0 <= float(row["data_wait_share"]) <= 1


@pytest.mark.parametrize("settings", [pytest.param({}, id="plain"), pytest.param(EVERYTHING, id="everything")])
def test_the_same_losses_as_terratorch_itself(
    world: PatchSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    ours, theirs = both_losses(world, tmp_path, monkeypatch, settings)
    assert len(ours) == 12
    assert ours == theirs


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param(EVERYTHING, id="everything"),
    ],
)
def test_a_stopped_run_ends_as_if_it_had_never_stopped(
    world: PatchSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    whole = run(world, tmp_path / "whole", **changes)
    (tmp_path / "stop").touch()
    with monkeypatch.context() as patch:
        patch.setenv("GEODUCT_STOP_FILE", str(tmp_path / "stop"))
        step = changes.get("trainer.accumulate_grad_batches", 1)
        for batch in range(step, 6, step):
            with pytest.raises(Halted, match=f"finetune: stopped in epoch 1 of 2, after batch {batch} of 6") as caught:
                run(world, tmp_path / "m", **changes)
            assert caught.value.code == STOPPED
    resumed = run(world, tmp_path / "m", **changes)
    same(resumed, whole)
    assert resumed.digest == whole.digest
    assert len(rows(resumed, "performance.csv")) == 2


def test_a_changed_configuration_begins_anew(
    world: PatchSet, tmp_path: Path, stop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Halted):
        run(world, tmp_path / "m")
    stop.unlink()
    run(world, tmp_path / "m", **{"model.init_args.lr": 1e-3, "trainer.max_epochs": 1})
    said = capsys.readouterr().err
    assert "the configuration has changed" in said
    assert "going on" not in said


def test_one_rank_divides_nothing(world: PatchSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = run(world, tmp_path / "m", **{"trainer.strategy": "fsdp2", "trainer.max_epochs": 1})
    assert "there is one rank, which has nobody to divide the network with" in capsys.readouterr().err
    assert json.loads((model.path / "run.json").read_text())["strategy"] is None


def test_lora_adapts_the_weights_given_and_ends_as_a_plain_network(
    world: PatchSet, tuned: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = "network.encoder."
    tensors = {n.removeprefix(mark): v for n, v in tuned.weights().items() if n.startswith(mark)}
    weights = tmp_path / "weights"
    told = Pretraining("prithvi_eo_v2_tiny_tl", ("RED", "NIR_BROAD", "SWIR_1"), 32, Origin("tests"))
    write_weights(weights, told, tensors)
    Weights(weights).seal({})
    changes = {"model.init_args.model_args.peft_config": LORA, "model.init_args.model_args.backbone_pretrained": True}
    finetune(world.path, weights, tmp_path / "m", config=tiny(tmp_path / "run.yaml", changes))
    assert "from weights (" in capsys.readouterr().err
    model = Model.open(tmp_path / "m")
    assert model.weights().keys() == tuned.weights().keys()
    adapted = {n for n, v in tensors.items() if not np.array_equal(model.weights()[mark + n], v)}
    assert adapted == {f"blocks.{i}.attn.qkv.weight" for i in range(4)}
    image, label = pixels_of(world, "test")
    assert (Predictor(model)(image).argmax(axis=1) == label).mean() > 0.6


def test_merged_adapters_compute_what_they_did_before() -> None:
    from components.finetune.adapters import merge
    from components.finetune.tasks import SegmentationTask
    from components.learning.foundation import architecture_of
    from components.learning.networks import build, load_weights, weights_of
    from tests.components.finetune.yamls import TINY

    arguments = TINY["model"]["init_args"]
    torch.manual_seed(0)
    task = SegmentationTask(**{**arguments, "model_args": {**arguments["model_args"], "peft_config": LORA}})
    for name, parameter in task.named_parameters():
        if "lora_B" in name:  # begins as 0, which would merge into nothing
            torch.nn.init.normal_(parameter, std=0.1)
    image = torch.randn(2, 3, 32, 32)
    network = task.trained().eval()
    with torch.inference_mode():
        before = network(image).output
    plain = build(architecture_of("segmentation", 32, {**arguments["model_args"], "peft_config": LORA})).eval()
    load_weights(plain, {f"network.{name}": values for name, values in weights_of(merge(network)).items()}, "merged")
    with torch.inference_mode():
        torch.testing.assert_close(plain(image), before, rtol=1e-4, atol=1e-5)


def test_a_frozen_backbone_stays_as_it_was(world: PatchSet, tmp_path: Path) -> None:
    changes = {"model.init_args.freeze_backbone": True, "model.init_args.model_args.backbone_drop_path": 0.9}
    short = run(world, tmp_path / "one", **changes, **{"trainer.max_epochs": 1})
    longer = run(world, tmp_path / "two", **changes)
    told = {name for name in short.weights() if name.startswith("network.encoder")}
    for name in told:
        np.testing.assert_array_equal(short.weights()[name], longer.weights()[name], err_msg=name)
    assert any(not np.array_equal(v, longer.weights()[n]) for n, v in short.weights().items() if n not in told)


def test_a_classifier_learns_the_dominant_class(tmp_path: Path) -> None:
    world = patchset(tmp_path / "patches", *land(100, 32, 3, seed=1))
    network = {
        "backbone": "timm_test_resnet",
        "backbone_pretrained": False,
        "backbone_in_chans": 3,
        "decoder": "IdentityDecoder",
        "head_dropout": 0.0,
        "num_classes": 3,
    }
    changes = {
        "model.class_path": "terratorch.tasks.ClassificationTask",
        "model.init_args.model_args": network,
        "data.init_args.task": "classification",
        "trainer.max_epochs": 8,
    }
    model = run(world, tmp_path / "m", **changes)
    image, label = pixels_of(world, "test")
    dominant = [np.bincount(patch.ravel(), minlength=3).argmax() for patch in label]
    assert (Predictor(model)(image).argmax(axis=1) == dominant).mean() >= 0.75


def test_a_loss_that_is_no_number_ends_the_run_behind_the_last_good_state(
    world: PatchSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fit.__kwdefaults__, "interval", 0.0)  # a checkpoint after each batch
    words = r"became \w+ in epoch 1, batch [23] \(patches p0\d\d, p0\d\d.* choose a smaller learning rate.* is kept"
    with pytest.raises(Halted, match=words):
        run(world, tmp_path / "m", **{"model.init_args.lr": 1e30})
    assert list(tmp_path.glob(".m.*.partial/checkpoints-*/*.ckpt"))


def test_a_gpu_that_is_too_small_says_what_would_fit(
    world: PatchSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.finetune.tasks import SegmentationTask

    def overfull(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(SegmentationTask, "training_step", overfull)
    with pytest.raises(GeoductError, match=r"too small for batches of 4 patches; 2 would need about half.*batch_size"):
        run(world, tmp_path / "m")


@pytest.mark.slow
def test_two_ranks_share_each_epoch_and_end_alike(
    world: PatchSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tiny(Path("run.yaml"), {"trainer.max_epochs": 8, "trainer.precision": "32-true"})
    finetune(world.path, None, tmp_path / "m", config=file, devices=2)
    model = Model.open(tmp_path / "m")
    assert model.provenance["ranks"] == 2
    assert [row["samples"] for row in rows(model, "performance.csv")] == ["24"] * 8
    image, label = pixels_of(world, "test")
    assert (Predictor(model)(image).argmax(axis=1) == label).mean() > 0.7


def test_a_class_without_a_training_pixel_is_refused(tmp_path: Path) -> None:
    image, label = land(20, 32, 3, seed=0)
    label[:12] = hide(label[:12], 2)
    world = patchset(tmp_path / "patches", image, label)
    with pytest.raises(GeoductError, match=r"class 30 \(class 3\) of .* occurs in the (val|test) split but nowhere"):
        run(world, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_run_is_not_resumed_by_another_number_of_ranks(
    world: PatchSet, tmp_path: Path, stop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Halted):
        run(world, tmp_path / "m")
    monkeypatch.setattr(Checkpoints, "state_dict", lambda self: {**written(self), "ranks": 2})
    with pytest.raises(Halted):
        run(world, tmp_path / "m")
    with pytest.raises(Halted, match="was begun with 2 ranks, now there are 1, and their batches differ"):
        run(world, tmp_path / "m")
