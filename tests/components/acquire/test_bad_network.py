"""acquire over a network that fails: the same bytes as from the disk, and nothing read twice after a kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from components.acquire import acquire
from components.artifacts.scenecube import SceneCube
from components.errors import GeoductError
from components.remote import client
from tests.components.acquire.catalogs import Shot, dn, write_catalog
from tests.services.faulty_proxy import WAYS, Asked, Fault, FaultyProxy, Script, always, share
from tests.services.range_server import RangeServer

BANDS = ("blue", "red", "swir16")
IDS = ("a", "b", "c", "d")


def shot(id: str, seed: int, **more: object) -> Shot:
    pixels = {"blue": dn((160, 192), seed), "red": dn((160, 192), seed + 1), "swir16": dn((80, 96), seed + 2)}
    pixels["scl"] = np.random.default_rng(seed).integers(0, 12, (80, 96)).astype("uint8")
    return Shot(id, f"2021-06-0{IDS.index(id) + 1}", pixels, **more)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalog(tmp_path_factory.mktemp("catalog"), [shot(id, 10 * n) for n, id in enumerate(IDS)])


@pytest.fixture(scope="module")
def near(catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> SceneCube:
    """Read from the disk."""
    path = tmp_path_factory.mktemp("near") / "scenes.zarr"
    acquire(catalog=str(catalog), scenes=str(path), bands=BANDS)
    return SceneCube.open(path)


@pytest.fixture
def proxy(catalog: Path) -> Iterator[FaultyProxy]:
    """In front of a server of the catalog; it lets everything pass until it is given another script."""
    with RangeServer(catalog) as server, FaultyProxy(server.url, lambda asked: None) as running:
        yield running


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.0)


def run(proxy: FaultyProxy, folder: Path, **parameters: object) -> SceneCube:
    path = folder / "scenes.zarr"
    acquire(catalog=f"{proxy.url}/catalog.json", scenes=str(path), bands=BANDS, **parameters)
    return SceneCube.open(path)


def scenes_read(proxy: FaultyProxy) -> set[str]:
    """Ids of the scenes whose pixels were asked for."""
    return {asked.path[1] for asked, _ in proxy.log if asked.path.endswith(".tif")}


@pytest.mark.parametrize("way", [*WAYS, "all"])
def test_whatever_fails_the_bytes_are_those_of_the_disk(
    proxy: FaultyProxy, near: SceneCube, tmp_path: Path, way: str
) -> None:
    proxy.script = share(0.4, list(WAYS.values()) if way == "all" else [WAYS[way]])
    patience = {"timeout": 0.5} if way in ("stalled", "all") else {}  # others may be answered as late as it takes
    assert run(proxy, tmp_path, **patience).digest == near.digest
    assert sum(proxy.spoilt.values()) >= 0.2 * len(proxy.log)


def test_connections_are_few_and_used_again_however_many_workers(
    catalog: Path, near: SceneCube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CONNECTIONS", 3)
    with RangeServer(catalog) as server:
        acquire(catalog=f"{server.url}/catalog.json", scenes=str(tmp_path / "s.zarr"), bands=BANDS, workers=16)
        assert server.most_connections <= 3
        assert len({request.connection for request in server.requests}) <= 3
        assert len(server.requests) > 16
    assert SceneCube.open(tmp_path / "s.zarr").digest == near.digest


def down_from(scene: str) -> Script:
    """The network is gone as soon as pixels of that scene are asked for."""
    gone = False

    def script(asked: Asked) -> Fault | None:
        nonlocal gone
        gone = gone or (asked.path.startswith(f"/{scene}_") and asked.path.endswith(".tif"))
        return Fault("reset") if gone else None

    return script


def test_a_run_that_the_network_ended_goes_on_where_it_stopped(
    proxy: FaultyProxy, near: SceneCube, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy.script = down_from("c")
    with pytest.raises(GeoductError, match=r"item c: asset '\w+' \(http.*c_\w+.tif\) cannot be read: no connection"):
        run(proxy, tmp_path, workers=1, retries=1)
    assert not (tmp_path / "scenes.zarr").exists()
    proxy.script, proxy.log = (lambda asked: None), []
    assert run(proxy, tmp_path, workers=1, retries=1).digest == near.digest
    assert scenes_read(proxy) == {"c", "d"}
    assert "going on where an earlier run stopped; 4 shards are there" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["scenes.zarr"]


@pytest.mark.parametrize("moment", range(1, 25, 3))
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    proxy: FaultyProxy, near: SceneCube, tmp_path: Path, moment: int
) -> None:
    """The server holds back its answer to the n-th request for pixels; then the run is killed."""

    def held(asked: Asked) -> Fault | None:
        pixels = [past for past, _ in proxy.log if past.path.endswith(".tif")]
        return Fault("stalled") if len(pixels) >= moment and asked.path.endswith(".tif") else None

    proxy.script = held
    words = ["acquire", "--catalog", f"{proxy.url}/catalog.json", "--scenes", str(tmp_path / "scenes.zarr")]
    words += ["--bands", *BANDS, "--timeout", "60", "--workers", "1"]
    process = subprocess.Popen([sys.executable, "-m", "components", *words], env={**os.environ})
    while not proxy.spoilt:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    before, under_way = scenes_read(proxy), proxy.log[-1][0].path[1]
    proxy.script, proxy.log = (lambda asked: None), []
    acquire(catalog=words[2], scenes=words[4], bands=BANDS, timeout=60.0, workers=1)
    assert SceneCube.open(tmp_path / "scenes.zarr").digest == near.digest
    # Of the scenes before the one under way nothing is read again, but for one file, read and not yet written.
    again = {asked.path for asked, _ in proxy.log if asked.path.endswith(".tif")}
    assert under_way in scenes_read(proxy)
    assert len([path for path in again if path[1] in before - {under_way}]) <= 1


def test_a_run_killed_while_it_is_sealed_reads_nothing_again(
    proxy: FaultyProxy, near: SceneCube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(cube: SceneCube, provenance: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(SceneCube, "seal", interrupted)
        run(proxy, tmp_path)
    proxy.log = []
    assert run(proxy, tmp_path).digest == near.digest
    assert scenes_read(proxy) == set()


def test_a_ledger_is_of_no_use_to_other_scenes(tmp_path: Path) -> None:
    """The catalog's address is the same, its items are others."""
    catalog = write_catalog(tmp_path / "c", [shot("a", 0), shot("b", 10)])
    (catalog / "b_swir16.tif").unlink()
    with RangeServer(catalog) as server:
        location, path = f"{server.url}/catalog.json", tmp_path / "scenes.zarr"
        with pytest.raises(GeoductError, match=r"item b: asset 'swir16' .* HTTP 404"):
            acquire(catalog=location, scenes=str(path), bands=BANDS, workers=1)
        write_catalog(tmp_path / "c", [shot("c", 30), shot("d", 40)])
        acquire(catalog=location, scenes=str(path), bands=BANDS, workers=1)
    cube = SceneCube.open(path)
    assert [item["id"] for item in cube.items] == ["c", "d"]
    assert (np.asarray(cube.array("reflectance")[0, 0]) == shot("c", 30).pixels["blue"]).all()
    cube.verify()


def test_nothing_is_left_of_scenes_that_are_no_longer_there(tmp_path: Path) -> None:
    """The first run has read two scenes and a part of a third; the second one finds only the first."""
    catalog = write_catalog(tmp_path / "c", [shot("a", 0), shot("b", 10), shot("c", 20)])
    (catalog / "c_swir16.tif").unlink()
    with RangeServer(catalog) as server:
        location, path = f"{server.url}/catalog.json", tmp_path / "scenes.zarr"
        with pytest.raises(GeoductError, match=r"item c: asset 'swir16' .* HTTP 404"):
            acquire(catalog=location, scenes=str(path), bands=BANDS, workers=1)
        shutil.rmtree(catalog)
        write_catalog(catalog, [shot("a", 0)])
        for scenes in (path, tmp_path / "clean.zarr"):
            acquire(catalog=location, scenes=str(scenes), bands=BANDS, workers=1)
    cube = SceneCube.open(path)
    cube.verify()
    assert cube.digest == SceneCube.open(tmp_path / "clean.zarr").digest
    assert [folder.name for folder in (path / "reflectance" / "c").iterdir()] == ["0"]


def test_a_scene_that_fails_for_good_does_not_take_the_others_with_it(
    proxy: FaultyProxy, near: SceneCube, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy.script = always(Fault("status", 404), "b_red")
    with pytest.raises(GeoductError, match=r"item b: asset 'red' \(.*\) cannot be read: HTTP 404 Not Found$"):
        run(proxy, tmp_path)
    cube = run(proxy, tmp_path, on_missing="skip")
    assert [item["id"] for item in cube.items] == ["a", "c", "d"]
    for step, index in enumerate((0, 2, 3)):
        assert (np.asarray(cube.array("reflectance")[step]) == np.asarray(near.array("reflectance")[index])).all()
        assert (np.asarray(cube.array("scl")[step]) == np.asarray(near.array("scl")[index])).all()
    (failed,) = cube.left_out["failed"]
    assert failed["id"] == "b"
    said = capfd.readouterr().err
    assert "acquire: 3 scenes used, 0 skipped, 1 failed" in said
    assert f"acquire: failed b: {failed['reason']}" in said
    cube.verify()


def test_when_every_scene_fails_there_is_no_cube(proxy: FaultyProxy, tmp_path: Path) -> None:
    proxy.script = always(Fault("status", 403), ".tif")
    with pytest.raises(GeoductError, match=r"^no scene can be read; the first: item a: .*: HTTP 403 Forbidden$"):
        run(proxy, tmp_path, on_missing="skip")
    assert not (tmp_path / "scenes.zarr").exists()


def test_items_that_cannot_be_understood_are_left_out_too(tmp_path: Path) -> None:
    liar = shot("b", 10, properties={"s2:processing_baseline": "05.11"})  # and its assets declare no offset
    catalog = write_catalog(tmp_path / "c", [shot("a", 0), liar])
    acquire(catalog=str(catalog), scenes=str(tmp_path / "scenes.zarr"), bands=BANDS, on_missing="skip")
    cube = SceneCube.open(tmp_path / "scenes.zarr")
    assert [item["id"] for item in cube.items] == ["a"]
    assert "item b contradicts itself" in cube.left_out["failed"][0]["reason"]


def test_a_scene_without_a_valid_pixel_is_skipped_and_told(tmp_path: Path) -> None:
    empty = shot("b", 10)
    for band in BANDS:
        empty.pixels[band][:] = 0
    catalog = write_catalog(tmp_path / "c", [shot("a", 0), empty, shot("c", 20)])
    acquire(catalog=str(catalog), scenes=str(tmp_path / "scenes.zarr"), bands=BANDS)
    cube = SceneCube.open(tmp_path / "scenes.zarr")
    assert [item["id"] for item in cube.items] == ["a", "c"]
    assert cube.left_out == {"skipped": [{"id": "b", "reason": "no valid pixel in the window"}], "failed": []}


def test_a_catalog_that_is_not_there(proxy: FaultyProxy, tmp_path: Path) -> None:
    proxy.script = always(Fault("status", 404), "catalog.json")
    with pytest.raises(GeoductError, match=r"catalog.json cannot be read as a STAC catalog: HTTP 404 Not Found$"):
        run(proxy, tmp_path)
    assert not list(tmp_path.iterdir())
