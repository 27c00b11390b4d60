"""The promise: the same inputs and parameters give the same bytes, wherever a component runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from components import artifacts
from components.launch import LAUNCHERS
from components.launch.images import read_lock
from tests.pipelines.projects import Project, copy_project
from tests.pipelines.test_repro import STORES, TINY
from tests.services.cluster import User

pytestmark = [pytest.mark.services, pytest.mark.slow]

Geoduct = Callable[[list[str]], None]


def chain(geoduct: Geoduct, archive: Path, out: Path) -> None:
    """Every component from acquire to predict, on a small archive, with the weights of two epochs."""
    place = {name: f"{out}/{name}" for name in STORES}
    windows = ["--size", "32", "--stride", "32", "--block", "640", "--rare", "ignore"]
    for words in (
        ["acquire", "--catalog", str(archive), "--scenes", place["scenes.zarr"]],
        ["composite", "--scenes", place["scenes.zarr"], "--composite", place["composite.zarr"]],
        ["label", "--composite", place["composite.zarr"], "--source", f"{archive}/corine.tif",
         "--labels", place["labels.zarr"], "--nomenclature", "corine-1"],
        ["patch", "--composite", place["composite.zarr"], "--labels", place["labels.zarr"],
         "--patches", place["patches.zarr"], *windows],
        ["train", "--patches", place["patches.zarr"], "--model", place["model"], "--epochs", "2"],
        ["evaluate", "--model", place["model"], "--patches", place["patches.zarr"], "--report", place["report"],
         "--bootstrap", "50"],
        ["predict", "--model", place["model"], "--composite", place["composite.zarr"], "--map", place["map"]],
    ):  # fmt: skip
        geoduct(words)


def digests(folder: Path) -> dict[str, str]:
    """Of every artifact; of the Report all but its page, which names the images that its inputs were made in."""
    found = {name: getattr(artifacts, kind).open(folder / name) for name, kind in STORES.items()}
    files = found.pop("report").manifest["files"]
    scores = {f"report/{name}": entry["sha256"] for name, entry in files.items() if not name.endswith(".html")}
    assert "report/metrics.json" in scores
    return {**scores, **{name: artifact.digest for name, artifact in found.items()}}


def made_in(folder: Path) -> set[str]:
    return {getattr(artifacts, kind).open(folder / name).provenance["image"] for name, kind in STORES.items()}


def on_this_machine(**variables: str) -> Geoduct:
    def geoduct(words: list[str]) -> None:
        told = subprocess.run(
            [sys.executable, "-m", "components", *words],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
        )
        assert told.returncode == 0, told.stderr

    return geoduct


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, and what the host makes of it."""
    folder = tmp_path_factory.mktemp("host")
    geoduct = on_this_machine(GEODUCT_LAUNCHER="host")
    geoduct(["simulate", "--archive", str(folder / "archive"), "--size", "512", "--dates", "4"])
    chain(geoduct, folder / "archive", folder)
    assert made_in(folder) == {None}
    return folder


def images_of(lock: Path) -> set[str]:
    return {image.reference for image in read_lock(lock).values()}


def test_docker(host: Path, images: Path, tmp_path: Path) -> None:
    chain(on_this_machine(GEODUCT_LAUNCHER="docker", GEODUCT_IMAGES=str(images)), host / "archive", tmp_path)
    assert digests(tmp_path) == digests(host)
    assert made_in(tmp_path) == images_of(images)


def test_apptainer(host: Path, images: Path, sifs: Path, tmp_path: Path) -> None:
    variables = {"GEODUCT_IMAGES": str(images), "GEODUCT_SIF": str(sifs)}
    chain(on_this_machine(GEODUCT_LAUNCHER="apptainer", **variables), host / "archive", tmp_path)
    assert digests(tmp_path) == digests(host)
    assert made_in(tmp_path) == images_of(images)


def test_slurm(host: Path, images: Path, user_images: User) -> None:
    archive, out = user_images.project / "archive", user_images.project / "out"

    def geoduct(words: list[str]) -> None:
        told = user_images.run("geoduct", *words, GEODUCT_LAUNCHER="slurm")
        assert told.returncode == 0, told.stderr

    site = user_images.project / "hpc" / "sites" / "local.yaml"
    profile = yaml.safe_load(site.read_text())
    profile["resources"]["train"]["nodes"] = 1  # as many ranks as the others: what is learned depends on it
    site.write_text(yaml.safe_dump(profile))
    subprocess.run(["cp", "--recursive", str(host / "archive"), str(archive)], check=True)
    user_images.give(archive)
    chain(geoduct, archive, out)
    assert digests(out) == digests(host)
    assert made_in(out) == images_of(images)
    assert user_images.leftovers() == []


def test_one_digest_names_the_same_bytes_everywhere(images: Path, sifs: Path, tmp_path: Path) -> None:
    """In the lock, the compiled pipelines and the labels of the SIFs; the tests above find it in every artifact."""
    subprocess.run([sys.executable, "-m", "pipelines", "compile", "--output", str(tmp_path)],
                   env={**os.environ, "GEODUCT_IMAGES": str(images)}, check=True)  # fmt: skip
    for pipeline in ("training", "inference"):
        compiled = (tmp_path / f"{pipeline}.yaml").read_text()
        assert set(re.findall(r"image: (\S+)", compiled)) == images_of(images)
    for name, image in read_lock(images).items():
        told = subprocess.run(
            ["apptainer", "inspect", "--labels", f"{sifs}/{name}.sif"], capture_output=True, text=True
        )
        assert f"deffile.from: {image.reference}\n" in told.stdout


def test_repro_has_nothing_to_do_under_another_launcher(
    images: Path, sifs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project: Project = copy_project(tmp_path)
    (tmp_path / "experiments" / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.setenv("GEODUCT_IMAGES", str(images))
    monkeypatch.setenv("GEODUCT_SIF", str(sifs))
    project.run("geoduct", "experiment", "tiny")
    monkeypatch.setenv("GEODUCT_LAUNCHER", "apptainer")
    project.run("dvc", "repro", "composite")
    made = artifacts.Composite.open(tmp_path / "data" / "tiny" / "composite.zarr")
    assert made.provenance["image"] in images_of(images)
    monkeypatch.setenv("GEODUCT_LAUNCHER", "host")
    assert "Running stage 'predict'" in project.run("dvc", "repro")
    for launcher in LAUNCHERS:
        monkeypatch.setenv("GEODUCT_LAUNCHER", launcher)
        output = project.run("dvc", "repro")
        assert "Running stage" not in output
        assert "Data and pipelines are up to date." in output
