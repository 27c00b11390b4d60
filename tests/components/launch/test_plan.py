"""What a container is shown: exactly what the signature declares, nothing beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from components.errors import GeoductError
from components.launch import preview
from components.launch.docker import connect
from components.launch.images import Image, read_lock, write_entry
from components.launch.plan import Mount, Plan, make_plan
from components.registry import load

DIGEST = "sha256:" + "a" * 64
IMAGE = Image(f"127.0.0.1:5000/geoduct/data@{DIGEST}", "f00", "debian", 7)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A lock of our own, and an environment without credentials."""
    lock = tmp_path / "images.lock.yaml"
    write_entry(lock, "data", IMAGE)
    monkeypatch.setenv("GEODUCT_IMAGES", str(lock))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("CURL_CA_BUNDLE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GEODUCT_LAUNCHER", "GEODUCT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


def plan(component: str, **arguments: object) -> Plan:
    return make_plan(load(component).spec, arguments)


def test_inputs_are_bound_read_only_and_outputs_by_their_folder(tmp_path: Path) -> None:
    (tmp_path / "in" / "composite.zarr").mkdir(parents=True)
    (tmp_path / "corine").mkdir()
    (tmp_path / "corine" / "clc.tif").touch()
    made = plan(
        "label",
        composite=tmp_path / "in" / "composite.zarr",
        source=str(tmp_path / "corine" / "clc.tif"),
        labels=tmp_path / "out" / "labels.zarr",
    )
    assert set(made.mounts) == {
        Mount(tmp_path / "in" / "composite.zarr", False),
        Mount(tmp_path / "corine", False),  # a raster's legend lies beside it
        Mount(tmp_path / "out", True),
    }
    assert not (tmp_path / "out").exists()


def test_an_input_beside_the_output_stays_read_only(tmp_path: Path) -> None:
    (tmp_path / "scenes.zarr").mkdir()
    made = plan("composite", scenes=tmp_path / "scenes.zarr", composite=tmp_path / "composite.zarr")
    assert made.mounts == (Mount(tmp_path, True), Mount(tmp_path / "scenes.zarr", False))


def test_a_file_that_a_parameter_names_is_bound_and_a_name_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    own = tmp_path / "own" / "classes.yaml"
    own.parent.mkdir()
    own.touch()
    paths = {"composite": tmp_path / "a", "source": tmp_path / "a", "labels": tmp_path / "out" / "labels.zarr"}
    assert Mount(own, False) in plan("label", **paths, nomenclature=str(own)).mounts
    assert {m.path for m in plan("label", **paths, nomenclature="corine-1").mounts} == {
        tmp_path / "a",
        tmp_path / "out",
    }


def test_a_file_that_a_parameter_names_by_default_is_found_in_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    Path("corine-2").touch()
    made = plan("label", composite="a", source="a", labels="out/labels.zarr")
    assert Mount(tmp_path / "corine-2", False) in made.mounts
    assert made.command[-2:] == ("--nomenclature", f"{tmp_path}/corine-2")


def test_command_is_the_same_with_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scenes").mkdir()
    made = plan("composite", scenes="scenes", composite="out/composite.zarr", reduction="best")
    assert made.command == (
        *("geoduct", "composite", "--scenes", f"{tmp_path}/scenes"),
        *("--composite", f"{tmp_path}/out/composite.zarr", "--reduction", "best"),
    )


def test_a_catalog_on_the_network_is_no_mount(tmp_path: Path) -> None:
    made = plan("acquire", catalog="https://stac.example/v1", scenes=tmp_path / "scenes.zarr", bands=["B02", "B03"])
    assert made.mounts == (Mount(tmp_path, True),)
    assert made.command[3] == "https://stac.example/v1"
    assert made.command[-3:] == ("--bands", "B02", "B03")


def test_object_storage_needs_the_cache_alone(tmp_path: Path) -> None:
    made = plan("composite", scenes="s3://bucket/scenes.zarr", composite="s3://bucket/composite.zarr")
    assert made.mounts == (Mount(tmp_path / "home" / ".cache" / "geoduct", True),)
    assert made.outputs == ()
    assert made.command[2:] == ("--scenes", "s3://bucket/scenes.zarr", "--composite", "s3://bucket/composite.zarr")


def test_only_credentials_and_proxies_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = tmp_path / "home" / ".aws" / "credentials"
    profile.parent.mkdir(parents=True)
    profile.touch()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    made = plan("simulate", archive=tmp_path / "archive")
    assert made.environment == {
        "AWS_ACCESS_KEY_ID": "key",
        "https_proxy": "http://proxy:3128",
        "AWS_SHARED_CREDENTIALS_FILE": str(profile),
        "GEODUCT_IMAGE": IMAGE.reference,
        "GEODUCT_CACHE": str(tmp_path / "home" / ".cache" / "geoduct"),
    }
    assert Mount(profile, False) in make_plan(load("simulate").spec, {"archive": "/data/archive"}).mounts


def test_an_input_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GeoductError, match=r"nowhere does not exist; composite reads it as --scenes"):
        plan("composite", scenes=tmp_path / "nowhere", composite=tmp_path / "composite.zarr")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "does not exist: make the images first"),
        ("data: [1]", "is no lock of images"),
        (
            "learn: {reference: 'r/learn@" + DIGEST + "', revision: a, base: b, bytes: 1}",
            "has no image 'data', only learn",
        ),
        (
            "data: {reference: 'r/data:latest', revision: a, base: b, bytes: 1}",
            "reference is 'r/data:latest'; expected",
        ),
    ],
)
def test_what_is_wrong_with_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, sentence: str
) -> None:
    lock = tmp_path / "other.yaml"
    if text is not None:
        lock.write_text(text)
    monkeypatch.setenv("GEODUCT_IMAGES", str(lock))
    with pytest.raises(GeoductError, match=sentence):
        plan("simulate", archive=tmp_path / "archive")


def test_the_lock_keeps_its_other_images(tmp_path: Path) -> None:
    lock = tmp_path / "images.lock.yaml"
    other = Image(f"r/learn@{DIGEST}", "f00", "debian", 8)
    write_entry(lock, "learn", other)
    assert read_lock(lock) == {"data": IMAGE, "learn": other}


def test_what_the_launcher_docker_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    with pytest.raises(GeoductError, match=r"Python client; install it with: pip install 'geoduct\[launch\]'"):
        connect()


def test_a_preview_shows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    spec = load("simulate").spec
    shown = {name: preview(name, spec, {"archive": tmp_path / "a"}) for name in ("host", "docker", "apptainer")}
    assert shown["host"] == f"geoduct simulate --archive {tmp_path}/a"
    assert all(text.endswith(shown["host"]) and "hush" not in text for text in shown.values())
    assert f"--volume {tmp_path}:{tmp_path}:rw" in shown["docker"]
    assert f"--bind {tmp_path}:{tmp_path} " in shown["apptainer"]
