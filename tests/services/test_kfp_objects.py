"""Tasks of Kubeflow with their root on a real S3 server: the same bytes, and nothing of the work left on the node."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from components import artifacts, objects
from components.artifacts.base import MANIFEST
from components.errors import GeoductError
from components.registry import load
from components.simulate import simulate
from tests.components.publish.maps import make_map
from tests.pipelines.test_kfp_adapter import Task

pytestmark = pytest.mark.services


@pytest.fixture
def root(s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A root of its own in the bucket, the owner's credentials, and a cache that is this test's."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GEODUCT_CACHE", str(tmp_path / "cache"))
    return f"s3://geoduct/{uuid.uuid4().hex}"


def test_a_chain_of_tasks_over_a_bucket_gives_the_bytes_of_the_disk(root: str, tmp_path: Path) -> None:
    simulate(archive=tmp_path / "archive", size=128, dates=2, seed=0)
    found = Task(tmp_path / "1", "search", root, catalog=str(tmp_path / "archive")).run()
    given = {"catalog": found["scenes_list_location"], "catalog_digest": found["scenes_list_digest"]}
    acquired = Task(tmp_path / "2", "acquire", root, **given, ids=found["scenes_list_ids"][0]).run()
    given = {"scenes": acquired["scenes_location"], "scenes_digest": acquired["scenes_digest"]}
    made = Task(tmp_path / "3", "composite", root, **given).run()
    assert made["composite_location"] == f"{root}/composite-{made['composite_digest'][7:19]}"

    ids = tuple(found["scenes_list_ids"][:1])
    load("acquire").run({"catalog": tmp_path / "archive", "scenes": tmp_path / "scenes", "ids": ids})
    load("composite").run({"scenes": tmp_path / "scenes", "composite": tmp_path / "composite"})
    assert artifacts.Composite.open(made["composite_location"]).digest == made["composite_digest"]
    assert artifacts.Composite.open(tmp_path / "composite").digest == made["composite_digest"]
    assert not list((tmp_path / "cache" / ".work").iterdir())


def test_maps_of_a_bucket_are_published_and_contents_are_checked(root: str, tmp_path: Path) -> None:
    maps = [make_map(tmp_path / name, name * 64, month) for month, name in enumerate("ab", 5)]
    places = [f"{root}/{m.path.name}" for m in maps]
    for one, place in zip(maps, places, strict=True):
        objects.put(one.path, place, MANIFEST)
    digests = [m.digest for m in maps]
    values = Task(tmp_path / "1", "publish", root, maps=places, maps_digest=digests).run()
    collection = artifacts.MapCollection.open(values["collection_location"])
    assert [item.id for item in collection.items] == ["map-mmmmmmmm-aaaaaaaa", "map-mmmmmmmm-bbbbbbbb"]
    with pytest.raises(GeoductError, match="no longer holds what this run was to read"):
        Task(tmp_path / "2", "publish", root, maps=places, maps_digest=digests[::-1]).run()


def test_identify_says_the_digest_that_the_manifest_in_the_bucket_says(root: str, tmp_path: Path) -> None:
    made = make_map(tmp_path / "map", "a" * 64)
    objects.put(made.path, f"{root}/map", MANIFEST)
    assert artifacts.Source.open(f"{root}/map").digest == made.digest
    assert artifacts.Source.open(f"{root}/none").digest == f"{root}/none"
