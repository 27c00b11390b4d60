"""A network that two ranks divide among them learns as one that each has whole, stops and resumes, and ends plain."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from components.artifacts import Model, PatchSet
from components.learning.predictor import Predictor
from components.learning.sharding import Sharded
from tests.components.finetune import in_turn
from tests.components.finetune.losses import RECORDER
from tests.components.finetune.test_finetune import EMA, EVERYTHING
from tests.components.finetune.yamls import tiny
from tests.components.train.test_stopping import finish, step
from tests.components.train.worlds import land, patchset

STRATEGIES = {
    "ddp": "ddp",
    "fsdp2": "fsdp2",
    "stopped": {"class_path": f"{Sharded.__module__}.{Sharded.__name__}"},  # as terratorch understands it too
}
EXACT = 1e-5
"""The same numbers are added up in another order: DDP adds two batches and then the ranks, FSDP2 the ranks and then the
batches, and the norm for clipping is summed by parts. Each sum in float32 may round by 6e-8 of its size, and AdamW,
which divides a gradient by its own size, hands that on to the steps that follow."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    return patchset(tmp_path_factory.mktemp("world") / "patches", *land(40, 32, 3, seed=0))


@pytest.fixture(scope="module")
def folder(world: PatchSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Model of each strategy; averages, layer-wise decay, accumulation and clipping are all in use."""
    folder = tmp_path_factory.mktemp("runs")
    for name, strategy in STRATEGIES.items():
        recorder = {"class_path": RECORDER, "init_args": {"path": str(folder / f"{name}.losses")}}
        changes = {"trainer.strategy": strategy, "trainer.callbacks": [EMA, recorder]}
        tiny(folder / f"{name}.yaml", EVERYTHING | changes)
    runs = [f"{folder}/ddp.yaml", f"{folder}/fsdp2.yaml", f"{folder}/stopped.yaml:2"]
    codes, said = finish(step(2, sys.executable, "-m", in_turn.__name__, str(world.path), *runs))
    assert codes == [0, 0], said
    assert "stopped in epoch 1 of 2, after batch 2 of 3" in said
    assert "stopped after epoch 1 of 2" in said
    for name in STRATEGIES:
        Model(folder / name).seal({})
    return folder


def losses(folder: Path, name: str) -> list[float]:
    """Of all batches of both ranks, which write in no particular order."""
    return sorted(float(line) for line in (folder / f"{name}.losses").read_text().split())


def history(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / name / "history.csv").open()))


def test_the_losses_are_those_of_whole_networks(folder: Path) -> None:
    assert len(losses(folder, "ddp")) == 12
    assert losses(folder, "fsdp2") == pytest.approx(losses(folder, "ddp"), rel=EXACT)
    for ours, theirs in zip(history(folder, "fsdp2"), history(folder, "ddp"), strict=True):
        for score in ("train_loss", "val_loss", "learning_rate"):
            assert float(ours[score]) == pytest.approx(float(theirs[score]), rel=EXACT)


def test_a_stopped_run_ends_as_if_it_had_never_stopped(folder: Path) -> None:
    assert losses(folder, "stopped") == losses(folder, "fsdp2")
    assert history(folder, "stopped") == history(folder, "fsdp2")
    whole, resumed = (Model.open(folder / name).weights() for name in ("fsdp2", "stopped"))
    assert resumed.keys() == whole.keys()
    for name, tensor in whole.items():
        np.testing.assert_array_equal(resumed[name], tensor, err_msg=name)


def test_the_model_is_a_plain_network(world: PatchSet, folder: Path) -> None:
    models = {name: Model.open(folder / name) for name in ("ddp", "fsdp2")}
    assert models["fsdp2"].architecture == models["ddp"].architecture
    assert models["fsdp2"].weights().keys() == models["ddp"].weights().keys()
    image = world.array("image")[:8]
    np.testing.assert_allclose(*(Predictor(model)(image) for model in models.values()), rtol=1e-2, atol=1e-3)
