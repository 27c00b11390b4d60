"""`dvc repro` from search to map on a small sample archive: whole, repeated, killed, switched between experiments."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
import yaml

from components import artifacts
from tests.pipelines.projects import Project, copy_project

pytestmark = pytest.mark.slow

STORES = {
    "scenes.zarr": "SceneCube",
    "composite.zarr": "Composite",
    "labels.zarr": "LabelMap",
    "patches.zarr": "PatchSet",
    "model": "Model",
    "report": "Report",
    "map": "Map",
}
TINY = {
    "inputs": {"catalog": "data/sample/archive", "labels": "data/sample/archive/corine.tif"},
    "simulate": {"size": 512, "dates": 4},
    "label": {"nomenclature": "corine-1"},
    "patch": {"size": 32, "stride": 32, "block": 640.0, "rare": "ignore"},
    "train": {"epochs": 2},
    "evaluate": {"bootstrap": 50},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which the experiment `tiny` has been run once."""
    made = copy_project(tmp_path_factory.mktemp("project"))
    (made.path / "experiments" / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    made.run("geoduct", "experiment", "tiny")
    made.run("dvc", "repro")
    return made


def digests(project: Project, experiment: str = "tiny") -> dict[str, str]:
    folder = project.path / "data" / experiment
    return {store: getattr(artifacts, kind).open(folder / store).digest for store, kind in STORES.items()}


def test_every_artifact_is_whole_and_knows_its_inputs(project: Project) -> None:
    folder = project.path / "data" / "tiny"
    for store, kind in STORES.items():
        getattr(artifacts, kind).open(folder / store).verify()
    found = digests(project)
    provenance = artifacts.Report.open(folder / "report").provenance
    assert provenance["inputs"]["model"]["digest"] == found["model"]
    assert provenance["inputs"]["patches"]["digest"] == found["patches.zarr"]


def test_second_repro_runs_nothing(project: Project) -> None:
    output = project.run("dvc", "repro")
    assert "Running stage" not in output
    assert output.count("didn't change, skipping") == 8


def test_dvc_shows_graph_metrics_and_plots(project: Project) -> None:
    graph = project.run("dvc", "dag", "--dot")
    for edge in ('"acquire" -> "composite"', '"patch" -> "train"', '"train" -> "evaluate"', '"train" -> "predict"'):
        assert edge in graph
    shown = json.loads(project.run("dvc", "metrics", "show", "--json"))
    (metrics,) = shown[""]["data"].values()
    scores = artifacts.Report.open(project.path / "data" / "tiny" / "report").metrics
    told = metrics["data"]
    assert told["macro_f1"] == scores["model"]["macro_f1"]
    assert {"low": told["macro_f1_low"], "high": told["macro_f1_high"]} == scores["interval"]["macro_f1"]
    assert told["gain_over_logistic"] == scores["gain"]["logistic"]["macro_f1"]["value"]
    assert len(told) < 10  # a table that fits on a terminal
    project.run("dvc", "plots", "show", "--out", "plots")
    page = (project.path / "plots" / "index.html").read_text()
    for curve in ("train_loss", "val_macro_f1", "predicted", "confidence"):
        assert curve in page


KILL = """
import os, signal, sys

def hear(event, given):
    if event == "open" and ".partial/" in str(given[0]):
        os.killpg(0, signal.SIGKILL)

sys.addaudithook(hear)
"""
"""Python imports this before anything else: DVC and the stage are killed as the stage begins to write."""


@pytest.mark.parametrize("stage", ["acquire", "patch", "train", "predict"])
def test_killed_stage_leaves_the_next_repro_able_to_finish(project: Project, stage: str) -> None:
    before = digests(project)
    folder = project.path / "data" / "tiny"
    hook = project.path / "sitecustomize.py"
    hook.write_text(KILL)
    process = project.start("dvc", "repro", "--force", "--single-item", stage)
    output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, output
    hook.unlink()
    assert [p for p in folder.iterdir() if p.name.endswith(".partial")]
    project.run("dvc", "repro")
    assert digests(project) == before
    project.run("dvc", "repro", "--force", "--single-item", stage)
    assert digests(project) == before
    assert not [p.name for p in folder.iterdir() if ".partial" in p.name]


def test_going_back_to_an_experiment_recomputes_nothing(project: Project) -> None:
    before = digests(project)
    other = {**TINY, "composite": {"reduction": "best"}, "train": {"epochs": 1}}
    (project.path / "experiments" / "other.yaml").write_text(yaml.safe_dump(other))
    project.run("geoduct", "experiment", "other")
    assert "Running stage 'train'" in project.run("dvc", "repro")
    assert digests(project, "other")["composite.zarr"] != before["composite.zarr"]
    project.run("geoduct", "experiment", "tiny")
    assert "Running stage" not in project.run("dvc", "repro")
    assert digests(project) == before


def test_refused_input_ends_a_stage_with_one_sentence(project: Project) -> None:
    output = project.run(
        "geoduct", "patch", "--composite", "data/tiny/composite.zarr", "--labels", "data/tiny/labels.zarr",
        "--patches", "data/tiny/huge.zarr", "--size", "4096", status=2,
    )  # fmt: skip
    assert output.startswith("geoduct: ")
    assert len(output.strip().splitlines()) == 1
    assert not (project.path / "data" / "tiny" / "huge.zarr").exists()


@pytest.mark.parametrize("name", ["bolzano", "slovenia"])
def test_real_scenes_run_whole(project: Project, shared_data: Path, name: str) -> None:
    link = project.path / "samples"
    if not link.exists():
        link.symlink_to(shared_data)
    project.run("geoduct", "experiment", name)
    project.run("dvc", "repro", "predict", "evaluate")
    folder = project.path / "data" / name
    metrics = json.loads((folder / "report" / "metrics.json").read_text())
    assert metrics["model"]["macro_f1"] > metrics["baselines"]["majority"]["macro_f1"]
    assert re.search(r"weak|small|official|ESA|scene classification", (folder / "report" / "report.html").read_text())
    assert (folder / "map" / "quicklook.png").stat().st_size > 10_000


def test_sample_experiment_beats_both_baselines(project: Project) -> None:
    project.run("geoduct", "experiment", "sample")
    project.run("dvc", "repro")
    metrics = json.loads((project.path / "data" / "sample" / "report" / "metrics.json").read_text())
    assert metrics["model"]["macro_f1"] >= 0.80
    for gain in metrics["gain"].values():
        assert gain["macro_f1"]["low"] > 0, "the interval of the gain over a baseline holds zero"
