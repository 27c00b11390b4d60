"""Docker and Apptainer on real engines: the same bytes and words as on the host, and nothing left behind."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
from pathlib import Path

import docker
import pytest

from components import artifacts
from components.launch.images import locked
from components.launch.plan import make_plan
from components.registry import load
from tests.services.dask_cluster import cluster
from tests.services.runs import half_way, run, start

pytestmark = pytest.mark.services


@pytest.fixture(params=["docker", "apptainer"])
def launcher(request: pytest.FixtureRequest, images: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run `geoduct` in the images of the lock, by each launcher that needs no cluster."""
    if request.param == "apptainer":
        monkeypatch.setenv("GEODUCT_SIF", str(request.getfixturevalue("sifs")))
    monkeypatch.setenv("GEODUCT_IMAGES", str(images))
    monkeypatch.setenv("GEODUCT_LAUNCHER", request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sample archive, made on the host."""
    path = tmp_path_factory.mktemp("archive") / "archive"
    run("simulate", "--archive", path, "--size", "512", GEODUCT_LAUNCHER="host")
    return path


def containers() -> list[str]:
    """Names of all containers that launchers made."""
    engine = docker.from_env()
    found = engine.containers.list(all=True, filters={"label": "org.geoduct.launcher"}, ignore_removed=True)
    return [str(container.name) for container in found]


def test_same_bytes_as_the_host_and_the_image_in_the_provenance(launcher: str, archive: Path, tmp_path: Path) -> None:
    run("acquire", "--catalog", archive, "--scenes", tmp_path / "there.zarr")
    run("acquire", "--catalog", archive, "--scenes", tmp_path / "here.zarr", GEODUCT_LAUNCHER="host")
    here, there = (artifacts.SceneCube.open(tmp_path / name) for name in ("here.zarr", "there.zarr"))
    assert there.digest == here.digest
    assert there.provenance["image"] == locked("data").reference
    assert here.provenance["image"] is None
    assert (tmp_path / "there.zarr").stat().st_uid == os.getuid()


def test_a_dask_cluster_works_for_a_container(launcher: str, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    with cluster(tmp_path / "cluster") as workers:
        run("acquire", "--catalog", archive, "--scenes", tmp_path / "there.zarr", "--scheduler", workers.address)
    run("acquire", "--catalog", archive, "--scenes", tmp_path / "here.zarr", GEODUCT_LAUNCHER="host")
    here, there = (artifacts.SceneCube.open(tmp_path / name) for name in ("here.zarr", "there.zarr"))
    assert there.digest == here.digest
    assert there.provenance["image"] == locked("data").reference


def test_refusal_and_exit_code_are_those_of_the_component(launcher: str, archive: Path, tmp_path: Path) -> None:
    said = run("composite", "--scenes", archive, "--composite", tmp_path / "composite.zarr", status=2)
    assert said == f"geoduct: {archive} is an Archive, but a SceneCube is expected here\n"
    assert list(tmp_path.iterdir()) == []


def test_inputs_cannot_be_written_and_nothing_else_is_seen(launcher: str, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    plan = make_plan(load("acquire").spec, {"catalog": archive, "scenes": tmp_path / "out" / "scenes.zarr"})
    (tmp_path / "out").mkdir()
    words = importlib.import_module(f"components.launch.{launcher}").command(plan)[: -len(plan.command)]
    told = subprocess.run([*words, "touch", str(archive / "new")], capture_output=True, text=True, check=False)
    assert "Read-only file system" in told.stderr
    listed = subprocess.run([*words, "ls", str(tmp_path)], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == ["out"]
    assert not (archive / "new").exists()


@pytest.mark.parametrize(("number", "status", "word"), [(2, 130, "interrupted"), (15, 143, "ended by SIGTERM")])
def test_a_signal_leaves_no_process_and_no_half_artifact(
    launcher: str, tmp_path: Path, number: int, status: int, word: str
) -> None:
    process = start("simulate", "--archive", tmp_path / "archive", "--size", "2048")
    half_way(process, tmp_path)
    process.send_signal(number)
    _, said = process.communicate()  # returns once nobody holds the pipe any more
    assert (process.returncode, said) == (status, f"geoduct: {word}\n")
    assert list(tmp_path.iterdir()) == []
    assert containers() == []


def test_a_killed_launcher_does_not_hinder_the_next(images: Path, tmp_path: Path) -> None:
    docker_run = {"GEODUCT_LAUNCHER": "docker", "GEODUCT_IMAGES": str(images)}
    process = start("simulate", "--archive", tmp_path / "archive", "--size", "2048", **docker_run)
    half_way(process, tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run("simulate", "--archive", tmp_path / "archive", "--size", "256", **docker_run)
    assert containers() == []
    assert [p.name for p in tmp_path.iterdir()] == ["archive"]


def test_out_of_memory_is_said_so(images: Path, archive: Path, tmp_path: Path) -> None:
    variables = {"GEODUCT_LAUNCHER": "docker", "GEODUCT_IMAGES": str(images), "GEODUCT_MEMORY": "48m"}
    said = run("acquire", "--catalog", archive, "--scenes", tmp_path / "s.zarr", status=2, **variables)
    assert said.endswith("geoduct: acquire ran out of memory in its container, which GEODUCT_MEMORY limits to 48m\n")
    assert list(tmp_path.iterdir()) == []
    assert containers() == []


def test_what_is_wrong_with_docker_or_the_image(
    images: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEODUCT_IMAGES", str(images))
    monkeypatch.setenv("GEODUCT_LAUNCHER", "docker")
    words = ("acquire", "--catalog", archive, "--scenes", tmp_path / "out" / "s.zarr")
    said = run(*words, status=2, DOCKER_HOST="unix:///nowhere.sock")
    assert said.startswith("geoduct: no Docker engine answers at unix:///nowhere.sock: ")
    other = tmp_path / "lock.yaml"
    other.write_text(images.read_text().replace(locked("data").digest, "sha256:" + "0" * 64))
    said = run(*words, status=2, GEODUCT_IMAGES=str(other))
    assert "of the lock is neither here nor to be had from its registry" in said
    assert run(*words, status=2, GEODUCT_MEMORY="1x").startswith("geoduct: GEODUCT_MEMORY is '1x'; expected ")
    assert containers() == []


def test_what_is_wrong_with_apptainer_or_its_image(
    images: Path, sifs: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEODUCT_IMAGES", str(images))
    monkeypatch.setenv("GEODUCT_LAUNCHER", "apptainer")
    words = ("acquire", "--catalog", archive, "--scenes", tmp_path / "out" / "s.zarr")
    assert run(*words, status=2, GEODUCT_SIF=str(tmp_path)).endswith(
        "data.sif does not exist: make it from the image (make sif)\n"
    )
    with (tmp_path / "data.sif").open("wb") as cut, (sifs / "data.sif").open("rb") as whole:
        cut.write(whole.read(100_000))
    said = run(*words, status=2, GEODUCT_SIF=str(tmp_path))
    assert said.startswith(f"geoduct: {tmp_path}/data.sif is truncated: it has 100000 of ")
    (tmp_path / "data.sif").write_text("something else")
    assert "data.sif is no Apptainer image" in run(*words, status=2, GEODUCT_SIF=str(tmp_path))
    other = tmp_path / "lock.yaml"
    other.write_text(images.read_text().replace(locked("data").digest, "sha256:" + "0" * 64))
    said = run(*words, status=2, GEODUCT_SIF=str(sifs), GEODUCT_IMAGES=str(other))
    assert f"{locked('data').reference}, but the lock names sha256:{'0' * 64}: make it again (make sif)\n" in said
    empty = tmp_path / "bin"
    empty.mkdir()
    assert "there is no apptainer on PATH" in run(*words, status=2, GEODUCT_SIF=str(sifs), PATH=str(empty))
