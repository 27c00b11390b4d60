"""acquire and search from Earth Engine, against the published shapes of its REST API; the live service is not asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.acquire import acquire
from components.artifacts.scenecube import SceneCube
from components.artifacts.scenelist import SceneList
from components.errors import GeoductError
from components.remote import client
from components.search import search
from tests.components.acquire import earth_engine
from tests.components.acquire.earth_engine import PROJECT, Asked, Image, Service, error, serve, write_key

SIZE = 24
BBOX = (-21.1, 63.9, -20.9, 64.1)
BANDS = ("blue", "B11")
COLLECTION = "COPERNICUS/S2_SR_HARMONIZED"


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("ee", reason="the extra gee (earthengine-api) is not installed")


def image(
    id: str, day: int, seed: int, cloud: float = 5.0, tile: str = "27WVM", east: int = earth_engine.EAST
) -> Image:
    rng = np.random.default_rng(seed)
    blue = np.ma.masked_array(rng.integers(1, 4000, (SIZE, SIZE)).astype("uint16"), mask=False)
    blue[0, 0] = np.ma.masked
    blue[0, 1] = 0  # dark, and valid
    bands = {
        "B2": blue,
        "B11": np.ma.masked_array(rng.integers(1, 4000, (SIZE // 2, SIZE // 2)).astype("uint16"), mask=False),
        "SCL": np.ma.masked_array(rng.integers(1, 12, (SIZE // 2, SIZE // 2)).astype("uint8"), mask=False),
        "QA60": np.ma.masked_array(np.zeros((SIZE // 6, SIZE // 6), "uint16"), mask=False),
    }
    properties = {
        "SPACECRAFT_NAME": "Sentinel-2A",
        "MGRS_TILE": tile,
        "PROCESSING_BASELINE": "05.09",
        "PRODUCT_ID": f"S2A_MSIL2A_2022070{day}T130301_N0509_R038_T{tile}_20220710T182500",
        "SENSING_ORBIT_NUMBER": 38,
        "SENSING_ORBIT_DIRECTION": "DESCENDING",
        "CLOUDY_PIXEL_PERCENTAGE": cloud,
        "GENERATION_TIME": 1657477500000,
        "MEAN_SOLAR_ZENITH_ANGLE": 42.5,
    }
    return Image(id, f"2022-07-0{day}T13:06:21.463123456Z", bands, properties, east)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    images = [
        image("first", 1, 1),
        image("cloudy", 2, 2, cloud=90),
        image("west", 3, 3),
        image("east", 3, 4, tile="28WDS", east=earth_engine.EAST + 10 * SIZE),
    ]
    running = Service(images)
    server = serve(running)
    for name in ("EARTHENGINE_PROJECT", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EARTHENGINE_URL", running.url)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(write_key(tmp_path / "key.json", running.url)))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.0)
    yield running
    server.shutdown()
    server.server_close()


def run(folder: Path, **parameters: Any) -> SceneCube:
    path = folder / "scenes.zarr"
    acquire(**{"catalog": "gee", "scenes": str(path), "bbox": BBOX, "bands": BANDS, "max_cloud": 50.0, **parameters})
    return SceneCube.open(path)


def pixels(cube: SceneCube, array: str = "reflectance") -> np.ndarray[Any, Any]:
    return np.asarray(cube.array(array)[:])


def truth(image: Image, band: str) -> np.ndarray[Any, Any]:
    found = np.ma.maximum(image.bands[band], 1).filled(0) if band != "SCL" else image.bands[band].filled(0)
    repeat = SIZE // found.shape[0]
    return np.asarray(found.repeat(repeat, 0).repeat(repeat, 1))


def test_scenes_are_read_onto_one_grid(service: Service, tmp_path: Path) -> None:
    cube = run(tmp_path)
    first, _, west, east = service.images
    found = pixels(cube)
    assert found.shape == (2, 2, SIZE, 2 * SIZE)
    nothing = np.zeros((SIZE, SIZE), "uint16")
    for n, band in enumerate(("B2", "B11")):
        np.testing.assert_array_equal(found[0, n], np.hstack([truth(first, band), nothing]))
        np.testing.assert_array_equal(found[1, n], np.hstack([truth(west, band), truth(east, band)]))
    np.testing.assert_array_equal(pixels(cube, "scl")[1], np.hstack([truth(west, "SCL"), truth(east, "SCL")]))
    assert found[0, 0, 0, :2].tolist() == [0, 1]  # masked is nodata; 0 that is valid is not


def test_nothing_is_taken_off_again_and_the_cube_says_why(service: Service, tmp_path: Path) -> None:
    record = run(tmp_path).items[0]
    assert (record["offset"], record["processing_baseline"], record["collection"]) == (0, "05.09", COLLECTION)
    assert record["geoduct:boa_offset_applied"] is True
    assert (record["id"], record["cloud_cover"], record["platform"]) == ("first", 5.0, "sentinel-2a")


def test_days_are_asked_for_and_pages_followed(service: Service, tmp_path: Path) -> None:
    assert [r["id"] for r in run(tmp_path, start="2022-07-02", end="2022-07-03", max_cloud=100.0).items] == [
        "cloudy",
        "west",
    ]
    assert len(service.of("list")) == 3  # one image a page


def test_pixels_are_asked_for_as_is_published(service: Service, tmp_path: Path) -> None:
    run(tmp_path, ids=("first",), bands=("B02",), mask="none", resampling="cubic", resolution=20.0)
    [asked] = service.of("pixels")
    assert asked.path == f"/v1/projects/{PROJECT}/image:computePixels"

    def call(name: str, **arguments: Any) -> dict[str, Any]:
        return {"functionInvocationValue": {"functionName": name, "arguments": arguments}}

    def constant(value: Any) -> dict[str, Any]:
        return {"constantValue": value}

    band = call(
        "Image.select",
        input=call("Image.load", id=constant(f"{COLLECTION}/first")),
        bandSelectors=constant(["B2"]),
    )
    smooth = call("Image.resample", image=band, mode=constant("bicubic"))
    valid = call("Image.max", image1=smooth, image2=call("Image.constant", value=constant(1)))
    filled = call(
        "Image.unmask", input=valid, value=call("Image.constant", value=constant(0)), sameFootprint=constant(False)
    )
    assert asked.body == {
        "expression": {"result": "0", "values": {"0": call("Image.toUint16", value=filled)}},
        "fileFormat": "NPY",
        "grid": {
            "crsCode": "EPSG:32627",
            "dimensions": {"width": SIZE // 2, "height": SIZE // 2},
            "affineTransform": {
                "scaleX": 20.0,
                "shearX": 0.0,
                "translateX": earth_engine.EAST,
                "shearY": 0.0,
                "scaleY": -20.0,
                "translateY": earth_engine.NORTH,
            },
        },
    }


def test_a_list_freezes_images_of_earth_engine(service: Service, tmp_path: Path) -> None:
    search(catalog="gee", scenes_list=str(tmp_path / "list"), bbox=BBOX, max_cloud=50.0)
    assert [i.id for i in SceneList.open(tmp_path / "list").items] == ["first", "west", "east"]
    listed = len(service.of("list"))
    frozen = run(tmp_path, catalog=str(tmp_path / "list"))
    assert len(service.of("list")) == listed
    (tmp_path / "new").mkdir()
    np.testing.assert_array_equal(pixels(frozen), pixels(run(tmp_path / "new")))


def test_what_passes_is_asked_again(service: Service, tmp_path: Path) -> None:
    quiet = pixels(run(tmp_path))
    met: set[str] = set()
    held = service.tokens

    def busy(asked: Asked) -> tuple[int, dict[str, Any]] | None:
        key = f"{asked.verb} {asked.image} {asked.band}"
        if asked.verb == "token" or key in met:
            return None
        met.add(key)
        if asked.band == "B11":
            if service.tokens == held:
                service.tokens += 1  # the token that is in use has ended
            return None
        code, status = (429, "RESOURCE_EXHAUSTED") if asked.verb == "pixels" else (503, "UNAVAILABLE")
        return error(code, status, "Too many concurrent aggregations.")

    service.refuse = busy
    (tmp_path / "busy").mkdir()
    np.testing.assert_array_equal(pixels(run(tmp_path / "busy")), quiet)
    assert len(met) > 5


def east_is_gone(asked: Asked) -> tuple[int, dict[str, Any]] | None:
    return error(404, "NOT_FOUND", "Image.load: asset not found.") if asked.image.endswith("east") else None


def test_a_scene_that_cannot_be_read_is_left_out(service: Service, tmp_path: Path) -> None:
    service.refuse = east_is_gone
    cube = run(tmp_path, on_missing="skip")
    assert [one["id"] for one in cube.left_out["failed"]] == ["east"]
    np.testing.assert_array_equal(pixels(cube)[1, 0, :, :SIZE], truth(service.images[2], "B2"))


def test_a_run_that_failed_goes_on_where_it_stopped(service: Service, tmp_path: Path) -> None:
    service.refuse = east_is_gone
    with pytest.raises(GeoductError, match=r"item east: asset .* cannot be read: HTTP 404 .*asset not found"):
        run(tmp_path, workers=1)
    assert len([a for a in service.of("pixels") if a.image.endswith("first")]) == 3
    service.asked.clear()
    service.refuse = lambda asked: None
    assert pixels(run(tmp_path, workers=1)).shape == (2, 2, SIZE, 2 * SIZE)
    assert {a.image.rpartition("/")[2] for a in service.of("pixels")} == {"west", "east"}


def secret_of(key: Path) -> str:
    return key.read_text().split("PRIVATE KEY-----")[1][2:60]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"collection": "COPERNICUS/S2_SR_HARMONISED"}, "none that Geoduct reads"),
        ({"bbox": None}, "say where to look with --bbox, --aoi or --ids"),
        ({"ids": ("first", "third")}, "--ids names 'third', but gee has no such item"),
        ({"max_scenes": 1, "start": "2023-01-01"}, "no item of gee matches"),
    ],
)
def test_bad_input_is_told(service: Service, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(GeoductError, match=words):
        run(tmp_path, **change)


def test_a_refusal_is_told_in_the_words_of_the_service(service: Service, tmp_path: Path) -> None:
    service.refuse = lambda a: error(403, "PERMISSION_DENIED", "not registered") if a.verb == "list" else None
    with pytest.raises(GeoductError, match=r"Earth Engine cannot be searched: HTTP 403 Forbidden \(not registered\)"):
        run(tmp_path)


def test_refused_credentials_are_told_without_them(service: Service, tmp_path: Path) -> None:
    service.refuse = lambda a: (400, {"error": "invalid_grant", "error_description": "private"})
    with pytest.raises(GeoductError, match="Google refuses the credentials for Earth Engine") as told:
        run(tmp_path)
    assert secret_of(tmp_path / "key.json") not in str(told.value) and "private" not in str(told.value)
    assert not service.of("list")


def test_no_credentials(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    with pytest.raises(GeoductError, match="Earth Engine wants credentials; set GOOGLE_APPLICATION_CREDENTIALS"):
        run(tmp_path)


@pytest.mark.parametrize("text", ["no JSON: hush", '{"type": "service_account", "private_key": "hush"}', None])
def test_a_key_file_that_is_none(service: Service, tmp_path: Path, text: str | None) -> None:
    key = tmp_path / "key.json"
    key.unlink() if text is None else key.write_text(text)
    with pytest.raises(GeoductError, match=r"GOOGLE_APPLICATION_CREDENTIALS is .*key\.json, which is no file") as told:
        run(tmp_path)
    assert "hush" not in str(told.value)


def test_a_stored_login_without_a_project(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    stored = tmp_path / ".config" / "earthengine" / "credentials"
    stored.parent.mkdir(parents=True)
    stored.write_text('{"refresh_token": "hush"}')
    with pytest.raises(GeoductError, match="set EARTHENGINE_PROJECT"):
        run(tmp_path)


def test_the_extra_is_named_where_it_is_missing(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ee", None)
    with pytest.raises(GeoductError, match=r"install it with: pip install 'geoduct\[gee\]'"):
        run(tmp_path)


def test_clouds_over_the_area_are_not_looked_at(service: Service, tmp_path: Path) -> None:
    with pytest.raises(GeoductError, match="--max-cloud-aoi cannot look at item first of Earth Engine"):
        search(catalog="gee", scenes_list=str(tmp_path / "list"), bbox=BBOX, max_cloud_aoi=20.0, end="2022-07-01")
