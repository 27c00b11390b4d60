"""Artifacts on a real S3 server: all or nothing, fetched once, and what is wrong told in one sentence."""

from __future__ import annotations

import json
import signal
import uuid
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from components import artifacts
from components.artifacts import Composite, LabelMap, SceneCube
from components.composite import composite
from components.errors import GeoductError
from components.label import label
from tests.services.faulty_proxy import Asked, Fault, FaultyProxy
from tests.services.runs import run, start

pytestmark = pytest.mark.services


@pytest.fixture(autouse=True)
def environment(s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner's credentials, and a cache of our own."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "GEODUCT_LAUNCHER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GEODUCT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive and its scenes, on disk."""
    folder = tmp_path_factory.mktemp("local")
    run("simulate", "--archive", folder / "archive", "--size", "512", GEODUCT_LAUNCHER="host")
    run("acquire", "--catalog", folder / "archive", "--scenes", folder / "scenes.zarr", GEODUCT_LAUNCHER="host")
    return folder


@pytest.fixture
def store(environment: None) -> S3FileSystem:
    return S3FileSystem(skip_instance_cache=True, use_listings_cache=False)


@pytest.fixture
def place() -> str:
    """A place of its own in the bucket."""
    return f"s3://geoduct/{uuid.uuid4().hex}"


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_same_bytes_as_on_disk(local: Path, tmp_path: Path, place: str, store: S3FileSystem) -> None:
    composite(local / "scenes.zarr", f"{place}/composite.zarr")
    label(f"{place}/composite.zarr", local / "archive" / "corine.tif", f"{place}/labels.zarr", nomenclature="corine-1")
    composite(local / "scenes.zarr", tmp_path / "composite.zarr")
    label(
        tmp_path / "composite.zarr", local / "archive" / "corine.tif", tmp_path / "labels.zarr", nomenclature="corine-1"
    )
    assert Composite.open(f"{place}/composite.zarr").digest == Composite.open(tmp_path / "composite.zarr").digest
    assert LabelMap.open(f"{place}/labels.zarr").digest == LabelMap.open(tmp_path / "labels.zarr").digest
    there = sorted(name.partition("composite.zarr/")[2] for name in store.find(f"{place}/composite.zarr"))
    assert there == files(tmp_path / "composite.zarr")
    assert list((tmp_path / "cache" / "results").iterdir()) == []


def test_what_is_there_is_fetched_once(local: Path, place: str, store: S3FileSystem, tmp_path: Path) -> None:
    composite(local / "scenes.zarr", f"{place}/c")
    first = Composite.open(f"{place}/c")
    for name in store.find(f"{place}/c"):
        if not name.endswith("geoduct.json"):
            store.rm_file(name)
    assert Composite.open(f"{place}/c").path == first.path
    first.verify()


def test_a_new_result_replaces_the_old_whole(local: Path, place: str, store: S3FileSystem) -> None:
    composite(local / "scenes.zarr", f"{place}/c")
    store.pipe_file(f"{place}/c/stray", b"left by somebody")
    composite(local / "scenes.zarr", f"{place}/c", reduction="best")
    found = Composite.open(f"{place}/c")
    assert found.provenance["parameters"]["reduction"] == "best"
    assert sorted(n.rpartition("/c/")[2] for n in store.find(f"{place}/c")) != []
    assert not store.exists(f"{place}/c/stray")
    run("verify", f"{place}/c")


def test_damage_on_the_way_is_noticed(local: Path, place: str, store: S3FileSystem) -> None:
    composite(local / "scenes.zarr", f"{place}/c")
    name = next(n for n in store.find(f"{place}/c") if "reflectance/c/" in n)
    whole = store.cat_file(name)
    store.pipe_file(name, whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(GeoductError, match=r"s3://geoduct/.*/c is damaged: reflectance/c/.* differs from its manifest"):
        Composite.open(f"{place}/c")


def test_a_killed_upload_leaves_nothing_that_opens(
    local: Path, place: str, store: S3FileSystem, s3: dict[str, str]
) -> None:
    """The server holds back its answers from the third file on; the run is killed then."""
    words = ("acquire", "--catalog", local / "archive", "--scenes", f"{place}/s")
    with FaultyProxy(s3["AWS_ENDPOINT_URL"], lambda asked: None) as proxy:

        def held(asked: Asked) -> Fault | None:
            stored = {past.path for past, _ in proxy.log if past.method == "PUT"}
            return Fault("stalled") if asked.method == "PUT" and len(stored) >= 2 else None

        proxy.script = held
        process = start(*words, AWS_ENDPOINT_URL=proxy.url)
        while not proxy.spoilt:
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert store.find(f"{place}/s") != []
    with pytest.raises(GeoductError, match=r"is no finished SceneCube: it has no geoduct\.json"):
        SceneCube.open(f"{place}/s")
    run(*words)
    assert SceneCube.open(f"{place}/s").digest == SceneCube.open(local / "scenes.zarr").digest


def refusal(local: Path, target: str, **variables: str) -> str:
    said = run("composite", "--scenes", local / "scenes.zarr", "--composite", target, status=2, **variables)
    assert "Traceback" not in said
    assert "secret" not in said.replace("the secret key is wrong", "")
    return said


def test_what_is_wrong_with_the_store(local: Path, tmp_path: Path, place: str, store: S3FileSystem) -> None:
    denied = f"geoduct: {place} cannot be written: the store denies it"
    reader = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reader-secret"}
    small = {"AWS_ACCESS_KEY_ID": "small", "AWS_SECRET_ACCESS_KEY": "small-secret"}
    assert refusal(local, place, **reader) == f"{denied} (AccessDenied)\n"
    assert refusal(local, place, AWS_SECRET_ACCESS_KEY="wrong") == f"{denied} (the secret key is wrong)\n"
    assert refusal(local, place, AWS_ACCESS_KEY_ID="nobody") == f"{denied} (the access key is unknown)\n"
    assert refusal(local, "s3://absent/c").endswith("there is no bucket 'absent' at this endpoint\n")
    assert "Could not connect to the endpoint URL" in refusal(local, place, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert "there are no credentials" in refusal(local, place, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    full = refusal(local, "s3://small/scenes/c", **small)
    assert full.endswith("cannot be written: the bucket is full (QuotaExceeded)\n")
    owner = S3FileSystem(key="small", secret="small-secret", skip_instance_cache=True)
    assert not [name for name in owner.find("small") if name.startswith("small/scenes/")]


def test_foreign_objects_are_not_replaced(local: Path, place: str, store: S3FileSystem) -> None:
    store.pipe_file(f"{place}/thesis.txt", b"two years of work")
    assert "exists and is no Geoduct artifact" in refusal(local, place)
    assert store.cat_file(f"{place}/thesis.txt") == b"two years of work"


def test_what_is_no_artifact_is_not_read(local: Path, place: str, store: S3FileSystem) -> None:
    with pytest.raises(GeoductError, match=r"is no finished SceneCube: it has no geoduct\.json"):
        SceneCube.open(f"{place}/absent")
    composite(local / "scenes.zarr", f"{place}/c")
    with pytest.raises(GeoductError, match="is a Composite, but a SceneCube is expected here"):
        SceneCube.open(f"{place}/c")
    manifest = json.loads(store.cat_file(f"{place}/c/geoduct.json"))
    manifest["files"]["../../escape"] = {"sha256": "0", "size": 0}
    store.pipe_file(f"{place}/c/geoduct.json", json.dumps(manifest).encode())
    with pytest.raises(GeoductError, match="which lies outside the artifact"):
        artifacts.Composite.open(f"{place}/c")


@pytest.mark.parametrize("launcher", ["docker", "apptainer"])
def test_a_container_reads_and_writes_there_too(
    launcher: str, images: Path, sifs: Path, local: Path, place: str, tmp_path: Path
) -> None:
    composite(local / "scenes.zarr", f"{place}/c")
    variables = {"GEODUCT_LAUNCHER": launcher, "GEODUCT_IMAGES": str(images), "GEODUCT_SIF": str(sifs)}
    words = ("--source", local / "archive" / "corine.tif", "--labels", f"{place}/l", "--nomenclature", "corine-1")
    run("label", "--composite", f"{place}/c", *words, **variables)
    label(f"{place}/c", local / "archive" / "corine.tif", tmp_path / "l", nomenclature="corine-1")
    assert LabelMap.open(f"{place}/l").digest == LabelMap.open(tmp_path / "l").digest
