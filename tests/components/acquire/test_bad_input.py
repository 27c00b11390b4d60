"""Bad input, as the command line tells it: exit code 2, one sentence, nothing half-written, no credential."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from components.__main__ import main
from tests.components.acquire.catalogs import Shot, dn, write_catalog
from tests.services.range_server import Answer, RangeServer

SECRETS = ("secret-word", "SIGNATURE", "AKIDKEY")


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials that no sentence may tell."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "CDSE_", "PC_SDK", "GEODUCT_LAUNCHER")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-word")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("GEODUCT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return write_catalog(tmp_path / "c", [Shot("a", "2021-06-01", {"blue": dn((80, 120)), "scl": _scl()})])


def _scl() -> np.ndarray[Any, Any]:
    return np.full((40, 60), 4, "uint8")


Told = Callable[..., str]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Told]:
    """Runs `geoduct acquire` on a catalog with these words, and returns its one sentence."""

    def acquire(catalog: object, *words: object, target: object = tmp_path / "out" / "scenes.zarr") -> str:
        command = ["geoduct", "acquire", "--catalog", catalog, "--scenes", target, "--bands", "B02", *words]
        monkeypatch.setattr(sys, "argv", [*map(str, command), "--retries", "0"])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        assert ended.value.code == 2, said
        assert "Traceback" not in said
        assert not [secret for secret in SECRETS if secret in said], said
        lines = [line for line in said.splitlines() if line.strip()]
        assert len(lines) == 1, said
        assert lines[0].startswith("geoduct: ")
        assert not Path(str(target)).exists()
        return lines[0].removeprefix("geoduct: ")

    yield acquire


def change(catalog: Path, how: Callable[[dict[str, Any]], object]) -> None:
    """Change the item's document."""
    file = next(catalog.rglob("a.json"))
    document = json.loads(file.read_text())
    how(document)
    file.write_text(json.dumps(document))


def test_a_catalog_that_is_none(catalog: Path, told: Told) -> None:
    (catalog / "page").write_text("<!DOCTYPE html><title>Sign in</title>")
    (catalog / "other").write_text('{"openapi": "3.0.0"}')
    with RangeServer(catalog) as server:
        with_password = server.url.replace("http://", "http://me:secret-word@")
        assert told(f"{with_password}/page?token=SIGNATURE") == (
            f"{server.url}/page is HTML; expected a STAC catalog or API"
        )
        assert "is JSON, but no STAC catalog" in told(f"{server.url}/other")
        assert "HTTP 404" in told(f"{server.url}/nothing")
        url = server.url
    assert told(f"{url}/catalog.json").startswith(f"{url}/catalog.json cannot be read as a STAC catalog: no connection")
    assert told("nowhere/at/all") == "nowhere/at/all does not exist"
    assert "cannot be read as a STAC catalog" in told("ftp://somewhere/catalog.json")


def test_an_unknown_collection(catalog: Path, told: Told) -> None:
    assert told(catalog, "--collection", "made-up").endswith("has no collection 'made-up'; did you mean 'made-up-l2a'?")


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        ([[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]], "is no valid polygon: Self-intersection"),
        ([[[64, -170], [65, -170], [65, -171], [64, -170]]], "spans x 64 to 65 and y -171 to -170; expected degrees"),
        ([[[179, 0], [181, 0], [181, 1], [179, 0]]], "spans x 179 to 181"),
        ([], "is empty"),
        ([[[5e5, 7e6], [6e5, 7e6], [6e5, 7.1e6], [5e5, 7e6]]], "expected degrees of longitude in [-180, 180]"),
    ],
)
def test_an_area_that_is_none(catalog: Path, told: Told, geometry: list[Any], expected: str) -> None:
    (catalog / "aoi.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": geometry}))
    assert expected in told(catalog, "--aoi", catalog / "aoi.geojson")


def test_an_area_of_another_crs(catalog: Path, told: Told) -> None:
    square = [[[50, 60], [51, 60], [51, 61], [50, 60]]]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32627"}}
    (catalog / "aoi.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": square, "crs": crs}))
    assert "states the CRS urn:ogc:def:crs:EPSG::32627" in told(catalog, "--aoi", catalog / "aoi.geojson")


def test_dates_reversed(catalog: Path, told: Told) -> None:
    words = ("--start", "2021-07-01", "--end", "2021-06-01")
    assert told(catalog, *words) == "--end 2021-06-01 lies before --start 2021-07-01"


def on_server(server: RangeServer, name: str) -> Callable[[dict[str, Any]], object]:
    """Lets the item's asset lie there."""
    return lambda item: item["assets"]["blue"].update(href=f"{server.url}/{name}?X-Amz-Signature=SIGNATURE")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "SignatureDoesNotMatch", "the secret key is not the access key's"),
        (403, "InvalidAccessKeyId", "the server does not know the access key"),
        (403, "AccessDenied", "the credentials in use, or none, do not allow it"),
        (400, "ExpiredToken", "the session of the AWS credentials has expired; get new ones"),
        (403, "RequestTimeTooSkewed", "this machine's clock differs from the server's; set it right"),
        (
            403,
            "AuthenticationFailed",
            "the signature is not valid now; if it is new, this machine's clock may be wrong",
        ),
        (404, "NoSuchBucket", "there is no such bucket"),
    ],
)
@pytest.mark.parametrize("scheme", ["s3", "http"])
def test_what_an_object_store_refuses(
    catalog: Path, told: Told, monkeypatch: pytest.MonkeyPatch, status: int, code: str, expected: str, scheme: str
) -> None:
    refusal = Answer(status, f"<Error><Code>{code}</Code><AWSAccessKeyId>AKIDKEY</AWSAccessKeyId></Error>")
    with RangeServer(catalog, gate=lambda *_: refusal) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        if scheme == "s3":
            change(catalog, lambda item: item["assets"]["blue"].update(href="s3://bucket/b.tif"))
        else:
            change(catalog, on_server(server, "b.tif"))
        assert f"({code}: {expected}" in told(catalog)


def test_credentials_missing(catalog: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    change(catalog, lambda item: item["assets"]["blue"].update(href="s3://eodata/b.jp2"))
    assert "s3://eodata wants keys of the Copernicus Data Space" in told(catalog)
    change(
        catalog,
        lambda item: item["assets"]["blue"].update(href="https://download.dataspace.copernicus.eu/odata/b.jp2"),
    )
    assert "set CDSE_USERNAME and CDSE_PASSWORD" in told(catalog)


def test_an_item_without_geometry(catalog: Path, told: Told) -> None:
    change(catalog, lambda item: item.update(geometry=None, bbox=None))
    assert "item a has no geometry" in told(catalog, "--bbox", -21, 64, -20, 65)


def test_an_item_without_bands(catalog: Path, told: Told) -> None:
    change(catalog, lambda item: item.update(assets={"thumbnail": {"href": "a.png"}}))
    assert told(catalog, "--mask", "none") == "item a has no band B02; its assets are thumbnail"


def test_an_item_without_projection(catalog: Path, told: Told) -> None:
    file = catalog / "a_blue.tif"
    with rasterio.open(file) as source:
        pixels, profile = source.read(1), {**source.profile, "crs": None}
    with rasterio.open(file, "w", **profile) as out:
        out.write(pixels, 1)
    change(catalog, lambda item: item["properties"].pop("proj:code"))
    assert told(catalog).endswith("a_blue.tif) has no coordinate reference system")


def test_an_asset_shorter_than_its_header_says(catalog: Path, told: Told) -> None:
    file = catalog / "a_blue.tif"
    file.write_bytes(file.read_bytes()[:-2000])
    assert "a_blue.tif) is truncated or damaged" in told(catalog)
    with RangeServer(catalog) as server:
        change(catalog, on_server(server, "a_blue.tif"))
        assert "its header points to byte" in told(catalog)


def test_an_item_that_contradicts_itself(catalog: Path, told: Told) -> None:
    change(catalog, lambda item: item["properties"].update({"s2:processing_baseline": "05.11"}))
    assert "item a contradicts itself: processing baseline 05.11 means an offset of -1000 DN" in told(catalog)


def test_a_disk_that_is_full(catalog: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("components.artifacts.shards.Shards.write", full)
    assert told(catalog).startswith("the disk is full: ")


def test_no_credential_is_written(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = tmp_path / "scenes.zarr"
    with RangeServer(catalog) as server:
        location = server.url.replace("http://", "http://me:secret-word@") + "/catalog.json?token=SIGNATURE"
        monkeypatch.setattr(
            sys, "argv", ["geoduct", "acquire", "--catalog", location, "--scenes", str(scenes), "--bands", "B02"]
        )
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    said = "".join(capsys.readouterr())
    files = [path for path in scenes.rglob("*") if path.is_file()]
    assert scenes / "geoduct.json" in files
    for secret in SECRETS:
        assert secret not in said
        assert not [path for path in files if secret.encode() in path.read_bytes()]
