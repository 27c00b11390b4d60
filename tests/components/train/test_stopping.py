"""A run that is stopped, killed or fails goes on from its last batch; several ranks end alike and together."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.artifacts import Model, PatchSet
from components.errors import STOPPED, GeoductError, Halted
from components.learning.fitting import fit
from components.train import train
from tests import halting
from tests.components.train.worlds import LEARNER, land, patchset
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
SMALL: dict[str, Any] = {**LEARNER, "epochs": 4, "batch_size": 4}
"""Six batches an epoch for one rank, three for each of two."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    return patchset(tmp_path_factory.mktemp("world") / "patches", *land(40, 32, 3, seed=0))


@pytest.fixture(scope="module")
def whole(world: PatchSet, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """What one rank learns if nothing stops it."""
    path = tmp_path_factory.mktemp("whole") / "model"
    train(world.path, path, **SMALL)
    return Model.open(path)


@pytest.fixture(scope="module")
def pair(world: PatchSet, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """What two ranks learn if nothing stops them."""
    path = tmp_path_factory.mktemp("pair") / "model"
    train(world.path, path, **SMALL, devices=2)
    return Model.open(path)


@pytest.fixture
def stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stop file that is there already: every run ends after its first batch."""
    file = tmp_path / "stop" / "now"
    file.parent.mkdir()
    file.touch()
    monkeypatch.setenv("GEODUCT_STOP_FILE", str(file))
    return file


def start(
    world: PatchSet, model: Path, *, ranks: int = 1, halt: str | None = None, **settings: Any
) -> list[subprocess.Popen[str]]:
    """The processes of a run of `train`; each stands still once it has said `halt`."""
    words = ["train", "--patches", str(world.path), "--model", str(model)]
    for name, value in {**SMALL, **settings}.items():
        words += [f"--{name}", *map(str, np.atleast_1d(value))]
    return step(ranks, *([sys.executable, "-m", "components"] if halt is None else [*halting.COMMAND, halt]), *words)


def step(ranks: int, *command: str) -> list[subprocess.Popen[str]]:
    """So many processes of a command, each started on its own as srun would."""
    job = {"SLURM_STEP_NUM_TASKS": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **job, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]


def finish(processes: list[subprocess.Popen[str]]) -> tuple[list[int], str]:
    """Exit codes, and all that was said."""
    said = "".join(process.communicate(timeout=300)[1] for process in processes)
    return [process.returncode for process in processes], said


def same(one: Model, other: Model) -> None:
    assert list(csv.reader(one.history.open())) == list(csv.reader(other.history.open()))
    for name, tensor in one.weights().items():
        np.testing.assert_array_equal(other.weights()[name], tensor, err_msg=name)
    assert one.digest == other.digest


def checkpoints(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f".{path.name}.*.partial/checkpoints/*.ckpt"))


def halted(words: str, world: PatchSet, path: Path, code: int, **settings: Any) -> None:
    with pytest.raises(Halted, match=words) as caught:
        train(world.path, path, **{**SMALL, **settings})
    assert caught.value.code == code


def test_a_stopped_run_ends_as_if_it_had_never_stopped(
    world: PatchSet, whole: Model, tmp_path: Path, stop: Path
) -> None:
    for batch in (1, 2, 3, 4, 5):
        halted(f"stopped in epoch 1 of 4, after batch {batch} of 6; the same command", world, tmp_path / "m", STOPPED)
    halted("stopped after epoch 1 of 4; the same command goes on from there", world, tmp_path / "m", STOPPED)
    halted("stopped in epoch 2 of 4, after batch 1 of 6", world, tmp_path / "m", STOPPED)
    stop.unlink()
    train(world.path, tmp_path / "m", **SMALL)
    same(Model.open(tmp_path / "m"), whole)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "stop"]


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_checkpoint_is_passed_over(
    world: PatchSet, whole: Model, tmp_path: Path, stop: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    for _ in range(2):
        halted("stopped", world, tmp_path / "m", STOPPED)
    _, newest = checkpoints(tmp_path / "m")
    content = bytearray(newest.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    newest.write_bytes(content if damage == "flipped" else content[:-100])
    stop.unlink()
    train(world.path, tmp_path / "m", **SMALL)
    said = capsys.readouterr().err
    assert f"passing over {newest}, which is damaged" in said
    assert "going on in epoch 1 of 4, after batch 1" in said
    same(Model.open(tmp_path / "m"), whole)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, STOPPED)])
def test_a_signal_stops_a_run_with_a_checkpoint(
    world: PatchSet, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    [process] = start(world, tmp_path / "m", epochs=1000, patience=0)
    assert process.stderr is not None
    assert next(line for line in process.stderr if "epoch 1/1000" in line)
    process.send_signal(number)
    codes, said = finish([process])
    assert codes == [code]
    assert re.search(r"geoduct: train: stopped (in|after) epoch \d+ of 1000.*; the same command goes on", said)
    assert checkpoints(tmp_path / "m")


def test_a_failing_run_keeps_its_last_good_state(
    world: PatchSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fit.__kwdefaults__, "interval", 0.0)  # a checkpoint after each batch
    words = r"the loss became \w+ in epoch 1, batch 2 .* the state in epoch 1 of 4, after batch 1( of 6)? is kept"
    for _ in range(2):  # the second run goes on from the checkpoint, and fails alike
        halted(words, world, tmp_path / "m", 2, learning_rate=1e30)
        assert len(checkpoints(tmp_path / "m")) == 1


def test_weights_that_are_no_numbers_are_not_kept(world: PatchSet, tmp_path: Path, stop: Path) -> None:
    with pytest.raises(GeoductError, match="the weights overflowed in epoch 1, after batch 1; choose a smaller"):
        train(world.path, tmp_path / "m", **{**SMALL, "learning_rate": 1e300})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["stop"]


def test_a_machine_without_gpu_does_not_cost_the_checkpoint(world: PatchSet, tmp_path: Path, stop: Path) -> None:
    halted("stopped", world, tmp_path / "m", STOPPED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.learning.fitting._gpu", lambda *_: (_ for _ in ()).throw(GeoductError("no GPU")))
        with pytest.raises(GeoductError, match="no GPU"):
            train(world.path, tmp_path / "m", **SMALL)
    assert len(checkpoints(tmp_path / "m")) == 1


def test_two_ranks_learn_what_one_does_from_batches_of_twice_the_size(world: PatchSet, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.components.train.plain", str(world.path)]
    for ranks, size in ((1, 24), (2, 12)):
        codes, said = finish(step(ranks, *command, str(tmp_path / str(ranks)), str(size)))
        assert codes == [0] * ranks, said
    found = (torch.load(tmp_path / name) for name in ("1/rank-0.pt", "2/rank-0.pt", "2/rank-1.pt"))
    (one, *two), (scores, *theirs) = zip(*found, strict=True)
    for name, tensor in one.items():
        assert torch.equal(two[0][name], two[1][name])
        torch.testing.assert_close(two[0][name], tensor, rtol=1e-4, atol=1e-5)
    assert theirs[0] == theirs[1]
    assert theirs[0] == [pytest.approx(row, abs=1e-3) for row in scores]


def test_ranks_stop_after_the_same_batch_and_go_on(world: PatchSet, pair: Model, tmp_path: Path, stop: Path) -> None:
    codes, said = finish(start(world, tmp_path / "m", ranks=2, devices=2))
    assert codes == [STOPPED, STOPPED]
    assert said == (
        "geoduct: train: stopped in epoch 1 of 4, after batch 1 of 3; the same command goes on from there\n"
    )
    stop.unlink()
    train(world.path, tmp_path / "m", **SMALL, devices=2)
    same(Model.open(tmp_path / "m"), pair)
    assert pair.provenance["ranks"] == 2


def test_a_run_is_not_resumed_by_another_number_of_ranks(world: PatchSet, tmp_path: Path, stop: Path) -> None:
    finish(start(world, tmp_path / "m", ranks=1))
    codes, said = finish(start(world, tmp_path / "m", ranks=2))
    assert codes == [2, 2]
    assert said.count("geoduct: ") == 1
    assert "was begun with 1 ranks, now there are 2, and their batches differ" in said
    assert len(checkpoints(tmp_path / "m")) == 1


def test_the_death_of_a_rank_ends_the_run_which_then_goes_on(world: PatchSet, pair: Model, tmp_path: Path) -> None:
    first, second = start(world, tmp_path / "m", ranks=2, devices=2, halt="epoch 1/4")
    halting.wait(first)  # rank 0, which alone speaks
    second.send_signal(signal.SIGKILL)
    first.send_signal(signal.SIGCONT)
    codes, said = finish([first, second])
    assert codes == [1, -signal.SIGKILL]
    assert "geoduct: rank 1 of 2 has died; the same command goes on" in said
    assert not (tmp_path / "m").exists()
    train(world.path, tmp_path / "m", **SMALL, devices=2)
    same(Model.open(tmp_path / "m"), pair)


def test_what_all_ranks_refuse_is_said_once(world: PatchSet, tmp_path: Path) -> None:
    codes, said = finish(start(world, tmp_path / "m", ranks=2, batch_size=13))
    assert codes == [2, 2]
    assert said == (
        f"geoduct: the batch size is 13, but the train split of {world.path} has 24 labelled patches, 12 for each of 2 "
        "ranks; expected 1 to 12\n"
    )
    assert list(tmp_path.iterdir()) == []
