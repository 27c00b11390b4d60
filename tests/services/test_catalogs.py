"""Catalogs on a real S3 server: a static one, a SceneList and stac-geoparquet are read there as they are from disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pystac
import pytest

from components.acquire import acquire
from components.artifacts.scenecube import SceneCube
from components.artifacts.scenelist import SCENES, SceneList
from components.errors import GeoductError
from components.search import search
from tests.services.archive_services import s3_client, upload
from tests.services.runs import run

rustac = pytest.importorskip("rustac", reason="the extra 'catalogs' is not installed")
pytestmark = pytest.mark.services

BANDS = ("B02", "B11")
PLACE = "s3://geoduct/catalogs"
KINDS = {
    "static": f"{PLACE}/archive/catalog.json",
    "list": f"{PLACE}/list",
    "list-file": f"{PLACE}/list/{SCENES}",
    "geoparquet": f"{PLACE}/items.parquet",
}


@pytest.fixture(autouse=True, scope="module")
def account(s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The owner's credentials, and a cache of our own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "GEODUCT_LAUNCHER"):
            patch.delenv(name, raising=False)
        patch.setenv("GEODUCT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static catalog of three scenes, and what `search` and `acquire` make of it there."""
    folder = tmp_path_factory.mktemp("disk")
    run("simulate", "--archive", folder / "archive", "--size", 256, "--dates", 3, "--no-truth")
    search(catalog=str(folder / "archive"), scenes_list=str(folder / "list"))
    acquire(catalog=str(folder / "archive"), scenes=str(folder / "scenes.zarr"), bands=BANDS)
    return folder


@pytest.fixture(scope="module")
def there(disk: Path, s3: dict[str, str]) -> None:
    """The same catalog in the bucket, in each of its kinds; all hrefs lead into the bucket."""
    upload(disk / "archive", s3["AWS_ENDPOINT_URL"], "catalogs/archive")
    search(catalog=KINDS["static"], scenes_list=KINDS["list"])
    rustac.write_sync(str(disk / "items.parquet"), [item.to_dict() for item in SceneList.open(KINDS["list"]).items])
    s3_client(s3["AWS_ENDPOINT_URL"]).put_object(
        Bucket="geoduct", Key="catalogs/items.parquet", Body=(disk / "items.parquet").read_bytes()
    )


def listed(catalog: str | Path, folder: Path, **parameters: object) -> list[pystac.Item]:
    search(catalog=str(catalog), scenes_list=str(folder), **parameters)
    return SceneList.open(folder).items


@pytest.mark.parametrize("parameters", [{}, {"start": "2020-07-01", "end": "2020-12-31"}, {"max_scenes": 2}])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_scenes_as_from_the_disk(
    there: None, disk: Path, kind: str, parameters: dict[str, object], tmp_path: Path
) -> None:
    here = listed(disk / "archive", tmp_path / "here", **parameters)
    found = listed(KINDS[kind], tmp_path / "there", **parameters)
    assert [item.id for item in found] == [item.id for item in here] != []
    for ours, theirs in zip(found, here, strict=True):
        assert (ours.datetime, ours.collection_id) == (theirs.datetime, theirs.collection_id)
        assert {key: asset.href for key, asset in ours.assets.items()} == {
            key: asset.href.replace(str(disk), PLACE) for key, asset in theirs.assets.items()
        }


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_as_from_the_disk(there: None, disk: Path, kind: str, tmp_path: Path) -> None:
    acquire(catalog=KINDS[kind], scenes=str(tmp_path / "scenes.zarr"), bands=BANDS)
    assert SceneCube.open(tmp_path / "scenes.zarr").digest == SceneCube.open(disk / "scenes.zarr").digest


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("component", ["search", "acquire"])
@pytest.mark.parametrize(
    ("key", "told"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "tell-nobody"}, "the store denies it (the secret key is wrong)"),
        ({"AWS_ACCESS_KEY_ID": "tell-nobody"}, "the store denies it (the access key is unknown)"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "there are no credentials"),
    ],
)
def test_a_wrong_key_is_told(
    there: None,
    key: dict[str, str],
    told: str,
    component: str,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in key.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(GeoductError) as refusal:
        if component == "search":
            search(catalog=KINDS[kind], scenes_list=str(tmp_path / "list"))
        else:
            acquire(catalog=KINDS[kind], scenes=str(tmp_path / "scenes.zarr"), bands=BANDS)
    assert str(refusal.value).startswith(f"{KINDS[kind]} cannot be read: {told}")
    assert "tell-nobody" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("catalog", "told"),
    [
        (f"{PLACE}/none", "as a STAC catalog: HTTP 404 Not Found (NoSuchKey: there is no such object)"),
        (f"{PLACE}/none.parquet", "HTTP 404 Not Found (NoSuchKey: there is no such object)"),
        ("s3://nowhere/list", "as a STAC catalog: HTTP 404 Not Found (NoSuchBucket: there is no such bucket)"),
    ],
)
def test_what_is_not_there_is_told(there: None, catalog: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(GeoductError) as refusal:
        search(catalog=catalog, scenes_list=str(tmp_path / "list"))
    said = str(refusal.value)
    assert said.startswith(f"{catalog} cannot be read") and said.endswith(told)


@pytest.fixture(scope="module")
def open_bucket(there: None, s3: dict[str, str]) -> str:
    """A bucket that everybody may read and nobody may list, as public archives are, with the same catalogs."""
    store = s3_client(s3["AWS_ENDPOINT_URL"])
    store.create_bucket(Bucket="open")
    statement = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::open/*"]}
    store.put_bucket_policy(Bucket="open", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    for entry in store.list_objects_v2(Bucket="geoduct", Prefix="catalogs/")["Contents"]:
        store.copy_object(Bucket="open", Key=entry["Key"], CopySource=f"geoduct/{entry['Key']}")
    return "open"


@pytest.mark.parametrize("kind", KINDS)
def test_a_public_bucket_that_may_not_be_listed(
    open_bucket: str, disk: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It denies what it does not have, such as the manifest beside a file that is no artifact."""
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    found = listed(KINDS[kind].replace("geoduct", open_bucket), tmp_path / "list")
    assert [item.id for item in found] == [item.id for item in SceneList.open(disk / "list").items]
