"""Experiments: overlays on the signatures' defaults, refused by name when wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from components.errors import GeoductError
from components.registry import COMPONENTS, load
from pipelines.experiments import activate, active, compose, known, render
from tests.conftest import ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project folder with one experiment, `tiny`."""
    (tmp_path / "experiments").mkdir()
    write(tmp_path, "inputs: {catalog: here, labels: there}\nsimulate: {size: 512}\n")
    return tmp_path


def write(root: Path, text: str) -> None:
    (root / "experiments" / "tiny.yaml").write_text(text)


def test_committed_params_are_those_of_the_sample_experiment() -> None:
    assert (ROOT / "params.yaml").read_text() == render(ROOT, "sample")


@pytest.mark.parametrize("name", known(ROOT))
def test_every_experiment_composes(name: str) -> None:
    composed = compose(ROOT, name)
    assert list(composed) == ["experiment", "inputs", *COMPONENTS]
    for component in COMPONENTS:
        load(component).spec.bind({**{s.name: "x" for s in load(component).spec.slots}, **composed[component]})


@pytest.mark.parametrize("name", known(ROOT))
def test_the_sample_archive_is_the_same_in_every_experiment(name: str) -> None:
    assert compose(ROOT, name)["simulate"] == compose(ROOT, "sample")["simulate"]


def test_overlay_lies_over_the_defaults(root: Path) -> None:
    assert compose(root, "tiny")["simulate"]["size"] == 512
    defaults = {p.name: p.default for p in load("simulate").spec.parameters}
    assert compose(root, "tiny")["simulate"]["seed"] == defaults["seed"]


def test_activate_writes_what_compose_says(root: Path) -> None:
    assert "dvc repro" in activate(root, "tiny")
    assert yaml.safe_load((root / "params.yaml").read_text()) == compose(root, "tiny")
    assert "report: not made yet" in active(root)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("inputs: {catalog: a, labels: b}\nsimulat: {}\n", "has no use for 'simulat'; did you mean 'simulate'?"),
        (
            "inputs: {catalog: a, labels: b}\nsimulate: {sizee: 3}\n",
            "simulate has no parameter 'sizee'; did you mean 'size'?",
        ),
        ("inputs: {catalog: a, labels: b}\nsimulate: {size: big}\n", "simulate --size is 'big'; expected an integer"),
        ("inputs: {catalog: a}\n", "expected a mapping with catalog and labels"),
        ("[1, 2]\n", "holds list; expected a mapping"),
        ("a: [1\n", "is not YAML"),
    ],
)
def test_faulty_experiment_is_refused_and_params_kept(root: Path, text: str, sentence: str) -> None:
    activate(root, "tiny")
    before = (root / "params.yaml").read_text()
    write(root, text)
    with pytest.raises(GeoductError, match=sentence.replace("?", r"\?")):
        activate(root, "tiny")
    assert (root / "params.yaml").read_text() == before


def test_unknown_experiment_and_missing_data_are_named(root: Path) -> None:
    with pytest.raises(GeoductError, match=r"there is no experiment 'tin' .*did you mean 'tiny'\?"):
        activate(root, "tin")
    write(root, "inputs: {catalog: a, labels: b}\nneeds: {samples/scenes: link it}\n")
    with pytest.raises(GeoductError, match="experiment 'tiny' needs samples/scenes, which is not here; link it"):
        activate(root, "tiny")


def test_every_shipped_experiment_names_files_that_are_shipped_or_needed() -> None:
    for name in known(ROOT):
        composed = compose(ROOT, name)
        for place in composed["inputs"].values():
            shipped = (ROOT / place).exists() and not place.startswith("samples")
            assert shipped or place.startswith(("samples/", "data/sample/", "data/external/")), place


def test_experiments_survive_a_copy_of_the_folder(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    activate(tmp_path, "sample")
    assert (tmp_path / "params.yaml").read_text() == (ROOT / "params.yaml").read_text()
