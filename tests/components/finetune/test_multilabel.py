"""Fine-tuning to the set of classes of a patch: as TerraTorch learns it, with scores that are never no number."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from components.artifacts import Model, PatchSet
from components.errors import GeoductError
from components.finetune import finetune
from components.finetune.config import build
from components.finetune.reading import read
from components.learning.predictor import Predictor
from tests.components.finetune.losses import both_losses
from tests.components.finetune.yamls import NETWORK, tiny
from tests.components.train.worlds import hide, land, patchset

LEAST = 0.2
"""Share of the pixels from which on these tests count a class."""
SETS: dict[str, Any] = {
    "model.class_path": "terratorch.tasks.MultiLabelClassificationTask",
    "model.init_args.loss": "bce",
    "model.init_args.ignore_index": None,
    "model.init_args.model_args": {
        **{name: value for name, value in NETWORK.items() if name not in ("necks", "decoder", "decoder_channels")},
        "necks": [{"name": "SelectIndices", "indices": [3]}, {"name": "ReshapeTokensToImage"}],
        "decoder": "IdentityDecoder",
        "head_dropout": 0.0,
    },
    "data.init_args.task": "multilabel",
    "data.init_args.min_fraction": LEAST,
}
OURS = {
    **SETS,
    "model.class_path": "components.finetune.tasks.MultilabelTask",
    "model.init_args.layer_decay": 0.7,
    "model.init_args.schedule": "cosine",
    "model.init_args.warmup": 0.2,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    """Two of three classes a patch, in shares from nothing to all; the val split knows two classes alone."""
    image, label = land(40, 32, 3, seed=0)
    label[24:32] = hide(label[24:32], 2)
    return patchset(tmp_path_factory.mktemp("world") / "patches", image, label)


@pytest.fixture(scope="module")
def tuned(world: PatchSet, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return run(world, tmp_path_factory.mktemp("tuned") / "model", **OURS, **{"trainer.max_epochs": 12})


def run(world: PatchSet, path: Path, **changes: Any) -> Model:
    finetune(world.path, None, path, config=tiny(path.with_suffix(".yaml"), changes))
    return Model.open(path)


def pixels_of(world: PatchSet, split: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images of a split and which classes each holds."""
    numbers = world.indices(split)
    label = world.array("label")[:][numbers]
    return world.array("image")[:][numbers], np.stack([(label == c).mean((1, 2)) >= LEAST for c in range(3)], 1)


def test_it_learns_what_a_patch_holds_and_the_model_says_what_that_means(world: PatchSet, tuned: Model) -> None:
    image, truth = pixels_of(world, "test")
    logits = Predictor(tuned)(image)
    assert logits.shape == (8, 3)
    assert ((logits > 0) == truth).mean() > 0.8 > truth.mean()
    assert (tuned.task, tuned.min_fraction) == ("multilabel", LEAST)
    assert (truth.sum(1) > 1).any(), "the classes of a patch are to be independent of each other"


def test_the_scores_that_choose_the_epoch_are_those_of_the_answers(world: PatchSet, tuned: Model) -> None:
    rows = list(csv.DictReader((tuned.path / "history.csv").open()))
    assert list(rows[0]) == ["epoch", "train_loss", "val_loss", "val_macro_f1", "val_macro_ap", "learning_rate"]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    best = max(rows, key=lambda row: float(row["val_macro_f1"]))
    image, truth = pixels_of(world, "val")
    assert not truth[:, 2].any() and truth[:, :2].any(0).all()
    logits = Predictor(tuned)(image)[:, :2]
    assert f1_score(truth[:, :2], logits > 0, average="macro") == pytest.approx(float(best["val_macro_f1"]), abs=1e-6)
    precision = average_precision_score(truth[:, :2], logits, average="macro")
    assert precision == pytest.approx(float(best["val_macro_ap"]), abs=1e-6)
    assert (tuned.path / "curves/plots/metrics/val/macro_ap.tsv").is_file()


@pytest.mark.parametrize("settings", [pytest.param(SETS, id="terratorch's"), pytest.param(OURS, id="ours")])
def test_the_same_losses_as_terratorch_itself(
    world: PatchSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    ours, theirs = both_losses(world, tmp_path, monkeypatch, settings)
    assert len(ours) == 12
    assert ours == theirs


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model.init_args.loss": "ce"}, "loss is 'ce', by which sets .* expected bce"),
        ({"model.init_args.loss": None}, "loss is 'ce', by which sets of classes"),
        ({"model.init_args.loss": ["bce", "focal"]}, "loss is 'focal', by which sets of classes"),
        ({"model.init_args.loss": {"bce": 1.0, "balanced_bce": 0.5}}, "loss is 'balanced_bce', by which sets"),
        ({"model.init_args.class_weights": [1.0, 2.0, 1.0]}, "class_weights is given, .* passes over; expected none"),
        ({"data.init_args.task": "classification"}, "'classification', but model.class_path learns multilabel"),
        ({"data.init_args.min_fraction": 0.0}, "min_fraction is 0.0; expected more than 0, at most 1"),
        ({"data.init_args.min_fraction": 1.0}, "no patch of the train split .* by a share of 1 of its pixels or more"),
        ({"model.init_args.model_args.num_classes": 4}, "num_classes is 4, but the nomenclature of .* has 3 classes"),
        (
            {"trainer.callbacks": [{"class_path": "EarlyStopping", "init_args": {"monitor": "val_accuracy"}}]},
            "monitors 'val_accuracy'; .*val_macro_",
        ),
    ],
)
def test_a_mistake_is_named(world: PatchSet, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    file = tiny(tmp_path / "run.yaml", SETS | change)
    with pytest.raises(GeoductError, match=words) as caught:
        build(read(file, ()), world, None, file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("score", ["val_macro_f1", "val_macro_ap"])
def test_a_run_can_stop_early_by_either_score(world: PatchSet, tmp_path: Path, score: str) -> None:
    stopping = {"class_path": "EarlyStopping", "init_args": {"monitor": score, "mode": "max", "patience": 1}}
    changes = {"trainer.callbacks": [stopping], "model.init_args.lr": 1e-12, "trainer.max_epochs": 9}
    model = run(world, tmp_path / "m", **SETS, **changes)
    assert len(list(csv.DictReader((model.path / "history.csv").open()))) == 2


@pytest.mark.slow
def test_two_ranks_judge_all_patches_together(tmp_path: Path) -> None:
    """Three patches to judge by, of which one rank has two and the other one."""
    image, label = land(28, 32, 3, seed=0)
    world = patchset(tmp_path / "patches", image, label, shares=(24 / 28, 3 / 28))
    finetune(world.path, None, tmp_path / "m", config=tiny(tmp_path / "run.yaml", SETS), devices=2)
    model = Model.open(tmp_path / "m")
    best = max(float(row["val_macro_f1"]) for row in csv.DictReader((model.path / "history.csv").open()))
    image, truth = pixels_of(world, "val")
    kept = truth.any(0)
    expected = f1_score(truth[:, kept], Predictor(model)(image)[:, kept] > 0, average="macro", zero_division=0)
    assert expected == pytest.approx(best, abs=1e-6)
