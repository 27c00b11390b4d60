"""Scaling studies: which runs they have, what is refused, and what a container is given to see."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from components.errors import GeoductError
from components.hpc.command import main as hpc
from components.launch import apptainer
from components.launch.images import Image, write_entry
from components.scaling.command import contained, main
from components.scaling.study import TIMES, Run, keep, kept, outstanding, place_of, plan
from tests.components.train.worlds import land, patchset

WORDS = ["train", "--patches", "patches.zarr"]


def test_strong_divides_the_batch_and_weak_does_not() -> None:
    study = plan(WORDS, (1, 4, 2), 8, 3)
    assert study.ranks == (1, 2, 4)
    assert study.runs() == [Run(1, 8), Run(2, 4), Run(2, 8), Run(4, 2), Run(4, 8)]


@pytest.mark.parametrize(
    ("words", "numbers", "sentence"),
    [
        (["trian"], ((1,), 8, 1), "no component 'trian' that learns; did you mean 'train'"),
        (["predict"], ((1,), 8, 1), "no component 'predict' that learns"),
        (WORDS, ((2, 4), 8, 1), "--ranks is 2,4; expected numbers of ranks, 1 among them"),
        (WORDS, ((1, 1), 8, 1), "--ranks is 1,1"),
        (WORDS, ((1, 3), 8, 1), "--batch is 8, which 3 ranks cannot share"),
        (WORDS, ((1,), 8, 0), "--steps 0; expected at least 1"),
        ([*WORDS, "--batch-size", "4"], ((1,), 8, 1), "--batch-size is set by the study itself"),
        ([*WORDS, "--model", "model"], ((1,), 8, 1), "--model is set by the study itself"),
        (["train"], ((1,), 8, 1), "train needs --patches"),
        ([*WORDS, "--learning-rate", "-1"], ((1,), 8, 1), "--learning-rate is -1"),
    ],
)
def test_what_does_not_go_together_is_told(
    words: list[str], numbers: tuple[tuple[int, ...], int, int], sentence: str
) -> None:
    with pytest.raises(GeoductError, match=sentence):
        plan(words, *numbers)


def test_a_study_may_be_extended_but_not_changed(tmp_path: Path) -> None:
    keep(plan(WORDS, (1, 2), 8, 3), tmp_path)
    keep(plan(WORDS, (1, 4), 8, 3), tmp_path)
    assert kept(tmp_path).ranks == (1, 2, 4)
    with pytest.raises(GeoductError, match="holds a study with another 'batch'"):
        keep(plan(WORDS, (1, 2), 16, 3), tmp_path)
    with pytest.raises(GeoductError, match="holds no scaling study"):
        kept(tmp_path / "other")


def test_the_list_has_a_line_for_each_run_that_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a study"
    words = ["--list", "--ranks", "1,2", "--batch", "8", "--steps", "3", str(folder)]
    finetune = ["finetune", "--patches", "patches.zarr", "--override", "trainer.precision=32-true"]
    main([*words, *finetune])
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line[0], line[1]) for line in lines] == [("1", "3"), ("2", "3"), ("2", "3")]
    assert lines[1][2] == str(folder / "runs" / "2x4" / TIMES)
    override = lines[1][lines[1].index("--override") + 1 :]
    assert override[0] == "trainer.precision=32-true" and "data.init_args.batch_size=4" in override
    assert Path(lines[1][lines[1].index("--model") + 1]).parent == Path(lines[1][2]).parent
    Path(lines[0][2]).write_text("{}")
    assert outstanding(kept(folder), folder) == [Run(2, 4), Run(2, 8)]


def test_a_run_is_measured_and_leaves_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, label = land(40, 32, 3, seed=1)
    patchset(tmp_path / "patches.zarr", image, label)
    words = ["--ranks", "1", "--batch", "8", "--steps", "2", str(tmp_path / "study"), "train"]
    main([*words, "--patches", str(tmp_path / "patches.zarr"), "--decoder", *"88888"])
    told = json.loads((place_of(tmp_path / "study", Run(1, 8)) / TIMES).read_text())
    assert {kind: len(rows) >= 2 for kind, rows in told["steps"].items()} == {"plain": True, "parted": True}
    for row in told["steps"]["parted"]:
        assert row["samples"] == 8
        parts = [row[part] for part in ("data", "forward", "backward", "optimiser")]
        assert min(parts[1:]) > 0 and sum(parts) <= row["seconds"]
    assert sorted(p.name for p in (tmp_path / "study" / "runs" / "1x8").iterdir()) == ["log", TIMES]
    assert "100%" in capsys.readouterr().out
    assert (tmp_path / "study" / "scaling.png").read_bytes()[1:4] == b"PNG"


def test_a_run_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    words = ["--ranks", "1", str(tmp_path / "study"), "train", "--patches", str(tmp_path / "gone.zarr")]
    with pytest.raises(GeoductError, match=r"the run with 1 rank ended with exit code 2: .*gone\.zarr does not exist"):
        main(words)


def test_a_container_sees_the_folder_alone(tmp_path: Path) -> None:
    told, mounts = contained(["--show", "--ranks", "1,2", str(tmp_path), *WORDS])
    assert told == ["--show", str(tmp_path)]
    assert [(m.path, m.writable) for m in mounts] == [(tmp_path, True)]
    with pytest.raises(GeoductError, match="only --show runs in a container"):
        contained([str(tmp_path), *WORDS])


def test_the_container_of_a_sweep_sees_what_its_trials_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEODUCT_IMAGES", str(tmp_path / "lock.yaml"))
    monkeypatch.setattr(apptainer, "check", lambda plan: None)
    write_entry(tmp_path / "lock.yaml", "learn", Image("r/learn@sha256:" + "a" * 64, "f", "debian", 1))
    patchset(tmp_path / "patches.zarr", np.full((10, 3, 32, 32), 9, np.uint16), np.zeros((10, 32, 32), np.uint8))
    (tmp_path / "plan.yaml").write_text(
        "component: train\ninputs: {patches: patches.zarr}\nspace: {learning_rate: {low: 0.1, high: 0.2}}\n"
    )
    assert hpc(["container", "sweep", "plan.yaml", "study"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("container=("))
    words = shlex.split(line.removeprefix("container=(").removesuffix(")"))
    seen = {words[i + 1] for i, word in enumerate(words) if word == "--bind"}
    assert {f"{tmp_path / name}:{tmp_path / name}:ro" for name in ("patches.zarr", "plan.yaml")} <= seen
    assert f"{tmp_path / 'study'}:{tmp_path / 'study'}" in seen
    assert words[words.index("--pwd") + 1] == str(tmp_path), "paths in the plan may be relative"
    assert words[-4:] == ["geoduct", "sweep", str(tmp_path / "plan.yaml"), str(tmp_path / "study")]
    (tmp_path / "plan.yaml").write_text((tmp_path / "plan.yaml").read_text().replace("patches.zarr", "gone.zarr"))
    with pytest.raises(GeoductError, match=r"gone\.zarr does not exist; train reads it as --patches"):
        hpc(["container", "sweep", "plan.yaml", "study"])
