"""Profiles of sites: what a wrong one is told, and which one holds here."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from components.errors import GeoductError
from components.hpc import site
from components.hpc.environment import exports
from components.registry import COMPONENTS
from tests.components.hpc.conftest import FOLDER


def changed(tmp_path: Path, **keys: object) -> Path:
    """A copy of the local profile with some keys replaced; None takes a key away."""
    profile = {**yaml.safe_load((FOLDER / "sites" / "local.yaml").read_text()), **keys}
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in profile.items() if v is not ...}))
    return file


@pytest.mark.parametrize("name", ["jureca", "local"])
@pytest.mark.parametrize("component", COMPONENTS)
def test_every_profile_serves_every_component(name: str, component: str) -> None:
    assert exports(site.find(name), component).startswith(("export SBATCH_ACCOUNT=", "unset SBATCH_ACCOUNT"))


def test_components_inherit_the_default(tmp_path: Path) -> None:
    default = {"partition": "p", "nodes": 1, "tasks": 1, "cpus": 2, "gpus": 0, "memory": None, "time": "01:00:00"}
    found = site.read(changed(tmp_path, resources={"default": default, "train": {"nodes": 4, "gpus": 1}}))
    assert found.of("train") == site.Resources(**{**default, "nodes": 4, "gpus": 1})
    assert found.of("patch") == site.Resources(**default)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"acount": "x"}, r"own\.yaml: acount is unknown; did you mean 'account'\?"),
        ({"internet": ...}, r"own\.yaml: internet is missing"),
        ({"internet": "yes"}, r"own\.yaml: internet is 'yes'; expected input should be a valid boolean"),
        ({"resources": {"train": {}}}, r"own\.yaml: resources\.default is missing"),
        ({"resources": {"default": {"cpu": 1}}}, r"own\.yaml: resources\.default: "),
    ],
)
def test_a_wrong_profile_is_told_where(tmp_path: Path, keys: dict[str, object], sentence: str) -> None:
    with pytest.raises(GeoductError, match=sentence):
        site.read(changed(tmp_path, **keys))


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("cpu", 4, r"resources\.train: cpu is unknown; did you mean 'cpus'\?"),
        ("nodes", 0, r"resources\.train: nodes is 0; expected input should be greater than or equal to 1"),
        ("time", 7200, r"resources\.train: time is 7200; expected a walltime in quotes"),
        ("memory", "lots", r"resources\.train: memory is 'lots'; expected an amount for each node"),
    ],
)
def test_a_wrong_request_is_told_where(tmp_path: Path, key: str, value: object, sentence: str) -> None:
    resources = yaml.safe_load((FOLDER / "sites" / "local.yaml").read_text())["resources"]
    with pytest.raises(GeoductError, match=sentence):
        site.read(changed(tmp_path, resources={**resources, "train": {key: value}}))


def test_a_misspelt_component_is_told(tmp_path: Path) -> None:
    resources = yaml.safe_load((FOLDER / "sites" / "local.yaml").read_text())["resources"]
    with pytest.raises(GeoductError, match=r"resources\.trian is no component; did you mean 'train'\?"):
        site.read(changed(tmp_path, resources={**resources, "trian": {}}))


def test_which_site(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        GeoductError, match=r"which site is this\? Set GEODUCT_SITE, or give --site; known: jureca, local"
    ):
        site.find()
    monkeypatch.setenv("SYSTEMNAME", "jurecadc")
    assert site.find().name == "jureca"
    monkeypatch.setenv("GEODUCT_SITE", "local")
    assert site.find().name == "local"
    with pytest.raises(GeoductError, match=r"there is no site 'jurca' in .*; did you mean 'jureca'\?"):
        site.find("jurca")


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROJECT")
    with pytest.raises(GeoductError, match=r"sif is \$PROJECT/\S+, but \$PROJECT is not set: choose the project first"):
        exports(site.find("jureca"), "train")
