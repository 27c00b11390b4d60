"""Trials as experiments of DVC, in real repositories whose `train` writes down what it was given."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState

from components.errors import GeoductError
from components.sweep.command import main
from components.sweep.plan import Value, read
from components.sweep.study import open_study, suggest
from tests.conftest import ROOT
from tests.pipelines.projects import Project

PIPELINE: dict[str, Any] = {
    "stages": {
        "train": {
            "cmd": "mkdir -p data/${experiment}/model && echo ${train} > data/${experiment}/model/flags",
            "deps": ["data/${experiment}/patches.zarr"],
            "outs": ["data/${experiment}/model"],
        },
        "evaluate": {
            "cmd": "cd data/${experiment} && mkdir -p report && echo '{\"macro_f1\": 0.75}' > report/metrics.json",
            "deps": ["data/${experiment}/model"],
            "outs": ["data/${experiment}/report"],
        },
    },
    "metrics": ["data/${experiment}/report/metrics.json"],
}
PLAN: dict[str, Any] = {
    "component": "train",
    "inputs": {"patches": "data/sample/patches.zarr"},
    "parameters": {"epochs": 7},
    "space": {
        "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "schedule": {"choices": ["cosine", "constant"]},
    },
    "trials": 20,
}
FIRST: dict[str, Value] = {"learning_rate": 0.0123456789, "schedule": "cosine"}
SECOND: dict[str, Value] = {"learning_rate": 0.05, "schedule": "constant"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a pipeline that was run once, `dvc.lock` committed."""
    project = Project(tmp_path_factory.mktemp("made"))
    (project.path / "data" / "sample" / "patches.zarr").mkdir(parents=True)
    (project.path / "data" / "sample" / "patches.zarr" / "zarr.json").write_text("{}")
    (project.path / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE, sort_keys=False))
    (project.path / ".gitignore").write_text("/data/\n/.site/\n")
    shutil.copy(ROOT / "params.yaml", project.path)
    project.run("git", "init", "--quiet")
    project.run("git", "config", "user.name", "A Tester")
    project.run("git", "config", "user.email", "tester@example.org")
    project.run("dvc", "init", "--quiet")
    project.run("dvc", "repro", "--quiet")
    commit(project)
    return project.path


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of that repository, which is the working folder of the test."""
    shutil.copytree(made, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "project" / ".site"))
    return Project(tmp_path / "project")


def commit(project: Project) -> None:
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "as it is")


def tried(values: dict[str, Value], scores: list[float], state: TrialState, folder: str = "study", **plan: Any) -> None:
    """Add a trial of these values, whose epochs had these scores, to the sweep in `folder`."""
    Path("data/plan.yaml").write_text(yaml.safe_dump({**PLAN, **plan}))
    made = read(Path("data/plan.yaml"))
    study = open_study(Path("data") / folder, made, 0)
    study.enqueue_trial(values)
    trial = study.ask()
    assert suggest(trial, made) == values
    for step, score in enumerate(scores):
        trial.report(score, step)
    if state is not TrialState.RUNNING:
        study.tell(trial, max(scores) if state is TrialState.COMPLETE else None, state)


def record(folder: str = "study") -> None:
    main(["data/plan.yaml", f"data/{folder}", "--record"])


def shown(project: Project, *options: str) -> dict[str, dict[str, str]]:
    """The rows of `dvc exp show` by the experiment's name."""
    rows = csv.DictReader(io.StringIO(project.run("dvc", "exp", "show", "--csv", *options)))
    return {row["Experiment"] or row["rev"]: row for row in rows}


def refs(project: Project) -> list[str]:
    return project.run("git", "for-each-ref", "refs/exps").splitlines()


def test_each_finished_trial_is_shown_with_its_parameters_and_its_score(project: Project) -> None:
    tried(FIRST, [0.5, 0.8125], TrialState.COMPLETE)
    tried(SECOND, [0.25, 0.125], TrialState.PRUNED)
    tried(SECOND, [], TrialState.FAIL)
    tried(SECOND, [0.5], TrialState.RUNNING)
    tried(SECOND, [0.9375, 0.75, 0.5], TrialState.COMPLETE)
    record()
    found = shown(project, "--sort-by", "val_macro_f1", "--sort-order", "desc")
    assert [name for name in found if name.startswith("study-")] == ["study-00004", "study-00000", "study-00001"]
    columns = (
        "state",
        "val_macro_f1",
        "epochs",
        "train.learning_rate",
        "train.schedule",
        "train.epochs",
        "train.batch_size",
    )
    assert [tuple(row[c] for c in columns) for name, row in sorted(found.items()) if name.startswith("study-")] == [
        ("complete", "0.8125", "2", "0.0123456789", "cosine", "7", "16"),
        ("pruned", "0.25", "2", "0.05", "constant", "7", "16"),
        ("complete", "0.9375", "3", "0.05", "constant", "7", "16"),
    ]
    assert found["workspace"]["macro_f1"] == "0.75", "what the pipeline gave with other parameters"
    assert found["study-00000"]["macro_f1"] == "!", "is no score of a trial"
    changed = shown(project, "--only-changed")
    assert changed["study-00000"]["train.epochs"] == "7" and "train.batch_size" not in changed["study-00000"]


@pytest.mark.parametrize(("folder", "name"), [("étude", "tude"), ("-", "sweep")])
def test_names_are_such_that_dvc_takes_them(project: Project, folder: str, name: str) -> None:
    tried(FIRST, [0.5], TrialState.COMPLETE)
    (project.path / "data" / "study").rename(project.path / "data" / folder)
    record(folder)
    assert f"{name}-00000" in shown(project)
    project.run("dvc", "exp", "rename", f"{name}-00000", "kept")


def test_a_second_call_adds_only_what_has_ended_since(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    tried(FIRST, [0.5], TrialState.COMPLETE)
    record()
    before = refs(project)
    assert len(before) == 1 and ": 1 new, 0 of before" in capsys.readouterr().out
    record()
    assert refs(project) == before and ": 0 new, 1 of before" in capsys.readouterr().out
    tried(SECOND, [0.5], TrialState.COMPLETE)
    (project.path / "notes").write_text("a commit between")
    commit(project)
    record()
    assert len(refs(project)) == 2 and set(before) < set(refs(project))
    project.run("dvc", "exp", "rename", "study-00000", "mine")
    project.run("dvc", "exp", "remove", "study-00001")
    assert len(refs(project)) == 1
    record()
    found = {line.rsplit("/", 1)[1] for line in refs(project)}
    assert found == {"study-00001", "mine"}, "a trial is known by another name as well"


def test_nothing_of_the_users_is_touched(project: Project) -> None:
    def state() -> dict[Path, str]:
        files = [p for p in project.path.rglob("*") if p.is_file() and not p.is_relative_to(project.path / ".git")]
        files = [p for p in files if not {".site", "tmp", "study"} & set(p.parts[len(project.path.parts) :])]
        return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in (*files, project.path / ".git" / "index")}

    (project.path / "params.yaml").write_text((ROOT / "params.yaml").read_text().replace("0.003", "0.004  # mine"))
    (project.path / "dvc.lock").write_text("half written")
    (project.path / "staged").write_text("staged")
    project.run("git", "add", "staged")
    (project.path / "untracked").write_text("untracked")
    tried(FIRST, [0.5], TrialState.COMPLETE)
    status = project.run("git", "status", "--porcelain")
    before = state()
    record()
    assert state() == before
    assert project.run("git", "status", "--porcelain") == status and "M params.yaml" in status
    assert len(refs(project)) == 1 and "# mine" not in project.run(
        "git", "show", f"{refs(project)[0].split()[0]}:params.yaml"
    )


def test_dvc_repro_trains_with_the_parameters_of_an_applied_trial(project: Project) -> None:
    tried(FIRST, [0.5], TrialState.COMPLETE)
    record()
    project.run("dvc", "exp", "apply", "study-00000", status=255)  # what it has no model of, it says
    written = (ROOT / "params.yaml").read_text()
    for before, after in {"0.003": "0.0123456789", "epochs: 20\n": "epochs: 7\n", "onecycle": "cosine"}.items():
        written = written.replace(before, after)
    assert (project.path / "params.yaml").read_text() == written
    project.run("dvc", "repro")
    flags = (project.path / "data" / "sample" / "model" / "flags").read_text()
    assert "--learning_rate 0.0123456789 --" in flags and "--epochs 7 --" in flags
    project.run("dvc", "exp", "branch", "study-00000", "tried")
    assert json.loads(project.run("git", "show", "tried:trial/metrics.json"))["val_macro_f1"] == 0.5


def test_keys_of_a_yaml_are_parameters_of_their_own_beside_the_list(project: Project) -> None:
    (project.path / "hpc").mkdir()
    for file in ("dvc.yaml", "hpc/dvc.yaml"):
        shutil.copy(ROOT / file, project.path / file)
    commit(project)
    plan = {
        "component": "finetune",
        "inputs": {"patches": "data/sample/patches.zarr", "weights": "data/weights/prithvi_eo_v2_tiny_tl"},
        "parameters": {"override": ["trainer.max_epochs=2"]},
        "space": {"model.init_args.lr": {"low": 0.1, "high": 0.2}},
    }
    tried({"model.init_args.lr": 0.125}, [0.5], TrialState.COMPLETE, **plan)
    record()
    row = shown(project)["study-00000"]
    assert row["finetune.override"] == "['trainer.max_epochs=2', 'model.init_args.lr=0.125']"
    assert row["model.init_args.lr"] == "0.125" and row["val_macro_f1"] == "0.5"


@pytest.mark.parametrize("name", ["train", "finetune"])
def test_the_sweeps_that_come_along_are_of_the_pipeline_that_comes_along(project: Project, name: str) -> None:
    (project.path / "hpc").mkdir()
    for file in ("dvc.yaml", "hpc/dvc.yaml"):
        shutil.copy(ROOT / file, project.path / file)
    commit(project)
    plan = yaml.safe_load((ROOT / "hpc" / "sweeps" / f"{name}.yaml").read_text())
    values = {key: span["choices"][0] if "choices" in span else span["low"] for key, span in plan["space"].items()}
    tried(values, [0.5], TrialState.COMPLETE, **{"parameters": {}, **plan})
    record()
    assert len(refs(project)) == 1


def test_a_pipeline_that_reads_something_else_is_refused(project: Project) -> None:
    tried(FIRST, [0.5], TrialState.COMPLETE, inputs={"patches": "data/iceland/patches.zarr"})
    said = r"patches data/iceland/patches.zarr, but stage 'train' at HEAD reads data/sample/patches.zarr; .*"
    with pytest.raises(GeoductError, match=said):
        record()
    assert refs(project) == []


def test_another_sweep_of_the_same_name_is_refused(project: Project) -> None:
    tried(FIRST, [0.5], TrialState.COMPLETE, folder="a/study")
    record("a/study")
    before = refs(project)
    tried(FIRST, [0.5], TrialState.COMPLETE, folder="b/study")
    with pytest.raises(GeoductError, match=r"study-00000 is an experiment .*dvc exp remove study-00000"):
        record("b/study")
    assert refs(project) == before


@pytest.mark.parametrize("missing", ["git", "dvc", "repository", "commit", "sweep"])
def test_what_is_missing_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    Path("data").mkdir()
    tried(FIRST, [0.5], TrialState.COMPLETE)
    if missing == "git":
        monkeypatch.setenv("PATH", str(tmp_path))
    elif missing == "dvc":
        monkeypatch.setitem(sys.modules, "dvc.repo", None)
    elif missing == "commit":
        Project(tmp_path).run("git", "init", "--quiet")
        Project(tmp_path).run("dvc", "init", "--quiet")
    said = {
        "git": "git is not installed here",
        "dvc": "DVC is not installed here",
        "repository": "is in none: you are not inside of a DVC repository",
        "commit": "has no commit of git",
        "sweep": "data/typo holds no sweep",
    }
    with pytest.raises(GeoductError, match=said[missing]):
        record("typo" if missing == "sweep" else "study")
