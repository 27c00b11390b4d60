"""A backbone pre-trained by us: it has learned something, resumes to the bit, and is what finetune can load."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from components.artifacts import PatchSet, Weights
from components.artifacts.nomenclature import IGNORE
from components.errors import STOPPED, GeoductError, Halted
from components.finetune.weights import load_backbone
from components.pretrain import pretrain
from components.pretrain.looks import Looks
from tests.components.finetune.backbones import prithvi
from tests.components.finetune.seasons import STORED, seasons
from tests.components.pretrain.worlds import dates, scenecube
from tests.components.pretrain.worlds import patchset as patchset_of_scenes
from tests.components.train.worlds import patchset

SMALL: dict[str, Any] = {
    "token": 8,
    "width": 32,
    "depth": 2,
    "heads": 2,
    "decoder_width": 32,
    "decoder_depth": 1,
    "decoder_heads": 2,
    "epochs": 3,
    "batch_size": 4,
    "learning_rate": 5e-3,
    "accelerator": "cpu",
}
"""Six batches an epoch."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    """40 patches of 32 pixels, each of one brightness a band, so that what is seen says what is hidden.

    Those of the train split have no label at all.
    """
    rng = np.random.default_rng(0)
    image = rng.uniform(500, 4000, (40, 3, 1, 1)) + rng.normal(0, 100, (40, 3, 32, 32))
    label = np.zeros((40, 32, 32), np.uint8)
    label[:24] = IGNORE
    return patchset(tmp_path_factory.mktemp("world") / "patches", image.clip(1).astype(np.uint16), label)


@pytest.fixture(scope="module")
def whole(world: PatchSet, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    path = tmp_path_factory.mktemp("whole") / "weights"
    pretrain(world.path, weights=path, **SMALL)
    return Weights.open(path)


def history(weights: Weights) -> list[dict[str, float]]:
    with (weights.path / "history.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_unlabelled_images_are_learned_from(world: PatchSet, tmp_path: Path) -> None:
    pretrain(world.path, weights=tmp_path / "weights", **{**SMALL, "epochs": 12})
    rows = history(Weights.open(tmp_path / "weights"))
    assert [row["epoch"] for row in rows] == list(range(12))
    # About 1 is what a network gets that always answers with the mean of the standardised images.
    assert rows[0]["val_loss"] > 0.6
    assert rows[-1]["val_loss"] < 0.3


def test_labelled_as_made_here(whole: Weights, world: PatchSet) -> None:
    told = whole.pretraining
    assert told.origin.text == f"pretrained by Geoduct on the PatchSet {world.digest}"
    assert told.origin.url is None
    assert (told.backbone, told.bands, told.size) == ("prithvi_eo_v2_tiny_tl", ("RED", "NIR_BROAD", "SWIR_1"), 32)
    assert told.arguments == {
        "patch_size": [1, 8, 8],
        "coords_encoding": [],
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
    }
    assert told.statistics is not None
    assert told.statistics["RED"] == {key: world.statistics["B04"][key] for key in ("mean", "std")}


def test_a_backbone_takes_them(whole: Weights) -> None:
    told = whole.pretraining
    encoder = prithvi(bands=list(told.bands), **told.arguments)
    before = {name: values.clone() for name, values in encoder.state_dict().items()}
    matched = load_backbone(encoder, whole)
    after = encoder.state_dict()
    assert matched.missing == ("pos_embed",)
    assert not matched.unexpected
    assert all(not torch.equal(before[name], after[name]) for name in matched.loaded)


def test_the_picture_shows_patches_and_what_was_hidden(whole: Weights, world: PatchSet) -> None:
    picture = np.asarray(Image.open(whole.path / "reconstructions.png"))
    height, width, channels = picture.shape
    assert (width, channels) == (6 + 3 * 166, 3)
    assert height == 6 + 6 * 166
    seen = picture[6:166, 172:332]
    hidden = (seen == 128).all(axis=-1).mean()
    assert hidden == pytest.approx(0.75, abs=0.03)
    completed = picture[6:166, 338:498]
    visible = (seen != 128).any(axis=-1)
    assert np.array_equal(completed[visible], seen[visible])


def test_a_stopped_run_ends_as_if_it_had_not_been(
    whole: Weights, world: PatchSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stop").touch()
    monkeypatch.setenv("GEODUCT_STOP_FILE", str(tmp_path / "stop"))
    with pytest.raises(Halted, match="pretrain: stopped in epoch 1 of 3, after batch 1 of 6") as halt:
        pretrain(world.path, weights=tmp_path / "weights", **SMALL)
    assert halt.value.code == STOPPED
    assert not (tmp_path / "weights").exists()
    monkeypatch.delenv("GEODUCT_STOP_FILE")
    pretrain(world.path, weights=tmp_path / "weights", **SMALL)
    assert Weights.open(tmp_path / "weights").digest == whole.digest


def test_single_dates_are_learned_from_and_named_and_a_stopped_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patches, scenes = patchset_of_scenes(tmp_path), scenecube(tmp_path / "scenes", *dates())
    given: dict[str, Any] = {**SMALL, "scenes": scenes.path, "batch_size": 32, "epochs": 2}
    pretrain(patches.path, weights=tmp_path / "whole", **given)
    whole = Weights.open(tmp_path / "whole")
    assert whole.pretraining.origin.text == (
        f"pretrained by Geoduct on the PatchSet {patches.digest} and the SceneCube {scenes.digest}"
    )
    pretrain(patches.path, weights=tmp_path / "without", **{**given, "scenes": None})
    assert Weights.open(tmp_path / "without").digest != whole.digest
    (tmp_path / "stop").touch()
    monkeypatch.setenv("GEODUCT_STOP_FILE", str(tmp_path / "stop"))
    count = len(patches.indices("train")) + len(Looks(patches, scenes, stride=None, least=0.75).windows)
    with pytest.raises(Halted, match=f"stopped in epoch 1 of 2, after batch 1 of {-(-count // 32)}"):
        pretrain(patches.path, weights=tmp_path / "stopped", **given)
    monkeypatch.delenv("GEODUCT_STOP_FILE")
    pretrain(patches.path, weights=tmp_path / "stopped", **given)
    assert Weights.open(tmp_path / "stopped").digest == whole.digest


@pytest.mark.slow
def test_two_ranks_share_the_patches(world: PatchSet, tmp_path: Path) -> None:
    pretrain(world.path, weights=tmp_path / "weights", **{**SMALL, "devices": 2, "epochs": 2})
    rows = history(Weights.open(tmp_path / "weights"))
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]


def test_tokens_on_their_own_scale(world: PatchSet, tmp_path: Path) -> None:
    pretrain(world.path, weights=tmp_path / "weights", **{**SMALL, "even_tokens": True, "epochs": 1, "bands": ("RED",)})
    weights = Weights.open(tmp_path / "weights")
    assert weights.pretraining.bands == ("RED",)
    assert (weights.path / "reconstructions.png").is_file()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backbone": "prithvi_v2_tiny_tl"}, "did you mean 'prithvi_eo_v2_tiny_tl'?"),
        ({"backbone": "terramind_v1_tiny"}, "of which there is no masked autoencoder"),
        ({"token": 7}, "--token is 7, which does not divide the patches' 32 pixels"),
        ({"width": 40}, "--width is 40; expected a multiple of 16"),
        ({"heads": 5}, "--heads is 5, which does not divide --width 32"),
        ({"decoder_width": 40}, "cannot be built from"),
        ({"bands": ("B04", "B12")}, "has no band B12"),
        ({"batch_size": 50}, "the batch size is 50, but the train split of"),
    ],
)
def test_bad_input(world: PatchSet, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(GeoductError) as refusal:
        pretrain(world.path, weights=tmp_path / "weights", **{**SMALL, **changes})
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "weights").exists()


def test_weights_of_one_period_are_of_its_bands_not_of_its_time(tmp_path: Path) -> None:
    world = seasons(tmp_path / "p")
    pretrain(world.path, weights=tmp_path / "w", **{**SMALL, "epochs": 1, "bands": STORED[3:]})
    told = Weights.open(tmp_path / "w").pretraining
    assert told.bands == ("RED", "NIR_BROAD", "SWIR_1")
    assert told.statistics is not None and told.statistics["RED"]["mean"] == world.statistics["B04@2"]["mean"]
