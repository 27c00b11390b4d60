"""Search and acquire on a real STAC API and a real S3 server, straight and through a network that fails."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from components.acquire import acquire
from components.artifacts.scenecube import SceneCube
from components.errors import GeoductError
from components.remote import client
from components.remote.client import Client
from components.search.area import area_of
from components.search.catalog import find
from components.search.query import Query
from components.simulate import simulate
from tests.services.archive_services import COLLECTION, publish, upload
from tests.services.faulty_proxy import WAYS, Asked, Fault, FaultyProxy, share

pytestmark = pytest.mark.services

BANDS = ("B02", "B04", "B11")
KILLS = 10
SEED = int(os.environ.get("GEODUCT_KILLS_SEED", "4"))
"""Draws the moments of the kills; another value of the variable draws others."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four dates of 256 x 256 pixels."""
    path = tmp_path_factory.mktemp("archive") / "archive"
    simulate(archive=str(path), size=256, dates=4, truth=False)
    return path


@pytest.fixture(scope="module")
def near(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> SceneCube:
    """Read from the disk."""
    path = tmp_path_factory.mktemp("near") / "scenes.zarr"
    acquire(catalog=str(archive), scenes=str(path), bands=BANDS)
    return SceneCube.open(path)


@pytest.fixture(scope="module")
def api(stac: str, s3: dict[str, str], archive: Path) -> str:
    """The STAC API, loaded; its items' files are in the bucket."""
    publish(archive, stac, upload(archive, s3["AWS_ENDPOINT_URL"], "archive"))
    return stac


@pytest.fixture(autouse=True)
def account(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.0)


def run(api: str, folder: Path, **parameters: object) -> SceneCube:
    path = folder / "scenes.zarr"
    acquire(catalog=f"{api}/", scenes=str(path), collection=COLLECTION, bands=BANDS, **parameters)
    return SceneCube.open(path)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"start": "2020-07-01", "end": "2023-07-31"},
        {"max_cloud": 50.0},
        {"max_scenes": 2},
        {"bbox": (-180.0, 0.0, 180.0, 90.0)},
    ],
)
def test_the_api_finds_what_the_static_catalog_holds(api: str, archive: Path, parameters: dict[str, object]) -> None:
    def found(location: str) -> list[str]:
        area = area_of(parameters.get("bbox"), None)
        start, end, cloud, count = (parameters.get(n) for n in ("start", "end", "max_cloud", "max_scenes"))
        query = Query.parse(COLLECTION, area, start, end, cloud or 100.0, count)
        return [item.id for item in find(location, query, Client()).items]

    assert found(f"{api}/") == found(str(archive)) != []


def test_the_same_bytes_through_api_and_bucket_as_from_the_disk(api: str, near: SceneCube, tmp_path: Path) -> None:
    assert run(api, tmp_path).digest == near.digest


@pytest.mark.parametrize("way", [*WAYS, "all"])
def test_the_same_bytes_through_a_network_that_fails(
    api: str, s3: dict[str, str], near: SceneCube, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = share(0.4, list(WAYS.values()) if way == "all" else [WAYS[way]])
    with FaultyProxy(api, script) as before_api, FaultyProxy(s3["AWS_ENDPOINT_URL"], script) as before_s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL", before_s3.url)
        assert run(before_api.url, tmp_path, timeout=1.0).digest == near.digest
    spoilt = sum(before_api.spoilt.values()) + sum(before_s3.spoilt.values())
    assert spoilt >= 0.2 * (len(before_api.log) + len(before_s3.log))


@contextmanager
def between(api: str, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FaultyProxy, FaultyProxy]]:
    """Proxies before the API and before the bucket, which spoil nothing yet."""
    with FaultyProxy(api, lambda asked: None) as catalog, FaultyProxy(s3["AWS_ENDPOINT_URL"], catalog.script) as bucket:
        monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.url)
        yield catalog, bucket


@pytest.fixture(scope="module")
def moments(api: str, s3: dict[str, str], near: SceneCube, tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """Ten requests of a run, search and pixels together, drawn by chance: the numbers that they come as."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.items():
            patch.setenv(name, value)
        with between(api, s3, patch) as proxies:
            assert run(proxies[0].url, tmp_path_factory.mktemp("whole"), workers=1).digest == near.digest
            total = sum(proxy.passed for proxy in proxies)
    return random.Random(SEED).sample(range(1, total + 1), KILLS)


@pytest.mark.parametrize("kill", range(KILLS), ids=[f"seed-{SEED}-kill-{kill}" for kill in range(KILLS)])
def test_ten_kills(
    api: str,
    s3: dict[str, str],
    near: SceneCube,
    tmp_path: Path,
    moments: list[int],
    kill: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer to the n-th request is held back; the run is killed then, and started again."""
    told = f"seed {SEED}: killed at request {moments[kill]}, one of {moments}"

    def hold(asked: Asked) -> Fault | None:
        return Fault("stalled") if len(catalog.log) + len(bucket.log) + 1 >= moments[kill] else None

    with between(api, s3, monkeypatch) as (catalog, bucket):
        catalog.script = bucket.script = hold
        words = ["acquire", "--catalog", f"{catalog.url}/", "--collection", COLLECTION, "--bands", *BANDS]
        words += ["--scenes", str(tmp_path / "scenes.zarr"), "--workers", "1"]
        process = subprocess.Popen([sys.executable, "-m", "components", *words], env={**os.environ})
        while not catalog.spoilt and not bucket.spoilt:
            assert process.poll() is None, told
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = [scene_and_file(asked) for asked, _ in bucket.log]
        catalog.script = bucket.script = lambda asked: None
        catalog.log, bucket.log = [], []
        assert run(catalog.url, tmp_path, workers=1).digest == near.digest, told
        again = {scene_and_file(asked) for asked, _ in bucket.log}
    # What was under way is read again. Of the scenes before it nothing is, but for one file, read and not yet written.
    assert set(before[-1:]) <= again, told
    done = {scene for scene, _ in before} - {scene for scene, _ in before[-1:]}
    assert len([file for scene, file in again if scene in done]) <= 1, told


def scene_and_file(asked: Asked) -> tuple[str, str]:
    """What a request to the bucket is for: `/geoduct/archive/<collection>/<scene>/<file>`."""
    scene, file = asked.path.partition("?")[0].split("/")[4:]
    return scene, file


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret", r"HTTP 403 Forbidden \(SignatureDoesNotMatch: the secret key is not"),
        ("AWS_ACCESS_KEY_ID", "nobody", r"HTTP 403 Forbidden \(InvalidAccessKeyId: the server does not know the acc"),
        ("AWS_NO_SIGN_REQUEST", "YES", r"HTTP 403 Forbidden \(AccessDenied: the credentials in use, or none, do not"),
    ],
)
def test_wrong_credentials_are_told_and_hidden(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(
        GeoductError, match=rf"asset '\w+' \(s3://geoduct/archive/.*\) cannot be read: {expected}"
    ) as got:
        run(api, tmp_path, retries=0)
    assert "secret" not in str(got.value).replace("secret key", "")


def test_a_bucket_that_is_not_there(stac: str, archive: Path, tmp_path: Path) -> None:
    publish(archive, stac, "s3://nowhere/archive", "elsewhere")
    with pytest.raises(GeoductError, match=r"HTTP 404 Not Found \(NoSuchBucket: there is no such bucket\)$"):
        acquire(catalog=f"{stac}/", scenes=str(tmp_path / "s.zarr"), collection="elsewhere", bands=BANDS)


def test_a_collection_that_the_api_does_not_have(api: str, tmp_path: Path) -> None:
    with pytest.raises(GeoductError, match=r"has no collection 'sentinel-2'; did you mean 'sentinel-2-l2a'"):
        acquire(catalog=f"{api}/", scenes=str(tmp_path / "s.zarr"), collection="sentinel-2", bands=BANDS)
