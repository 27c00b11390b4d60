"""One acquisition delivered as several items: one time step, each pixel once, each item with its own offset."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.warp import transform

from components.acquire import acquire
from components.artifacts.scenecube import SceneCube, create_scenecube
from components.errors import GeoductError
from tests.components.acquire.catalogs import EAST, NORTH, Shot, dn, write_catalog

WEST_ID = "S2A_MSIL2A_20220601T120000_N0301_R123_T27WVM_20220601T150000"
EAST_ID = "S2A_MSIL2A_20220601T120000_N0500_R123_T27WWM_20230101T000000"


def tile(id: str, pixels: np.ndarray, east: float = EAST, offset: int = 0, **more: object) -> Shot:
    """80 x 120 pixels with a scene classification; `pixels` are harmonised, what is stored is not."""
    stored = np.where(pixels == 0, 0, pixels.astype("int32") - offset).astype("uint16")
    bands = {"blue": stored, "scl": np.where(pixels[::2, ::2] == 0, 0, 4).astype("uint8")}
    return Shot(id, "2022-06-01T12:00:00", bands, declared=offset / 10_000, east=east, **more)


def run(folder: Path, shots: list[Shot], **parameters: object) -> SceneCube:
    catalog = write_catalog(folder / "catalog", shots)
    acquire(catalog=str(catalog), scenes=str(folder / "scenes.zarr"), bands=("B02",), **parameters)
    return SceneCube.open(folder / "scenes.zarr")


def blue(cube: SceneCube) -> np.ndarray:
    return np.asarray(cube.array("reflectance")[:, 0])


def test_tiles_beside_each_other_fill_one_time_step(tmp_path: Path) -> None:
    land = dn((80, 200), 5)
    west, east = land[:, :120].copy(), land[:, 80:].copy()  # 40 columns of both
    west[:, 100:] = 0  # the swath ends within the western tile
    cube = run(tmp_path, [tile(WEST_ID, west), tile(EAST_ID, east, EAST + 800, -1000)])
    assert blue(cube).shape == (1, 80, 200)
    assert (blue(cube)[0] == land).all()
    assert (np.asarray(cube.array("scl")[0]) == 4).all()
    (step,) = cube.items
    assert step["parts"] == [{"id": WEST_ID, "offset": 0}, {"id": EAST_ID, "offset": -1000}]


def test_a_neighbour_in_the_next_utm_zone_joins_the_same_grid(tmp_path: Path) -> None:
    x, y = transform("EPSG:32627", "EPSG:32628", [EAST], [NORTH])
    land, other = dn((80, 120), 5), np.full((80, 120), 1234, "uint16")
    neighbour = tile(EAST_ID.replace("27WWM", "28WCU"), other, round(x[0]) + 300, -1000, north=round(y[0]), epsg=32628)
    cube = run(tmp_path, [tile(WEST_ID, land), neighbour])
    assert cube.geobox.crs.epsg == 32627
    assert blue(cube).shape[0] == 1
    west = round((EAST - cube.geobox.transform.c) / 10)
    top = round((cube.geobox.transform.f - NORTH) / 10)
    assert (blue(cube)[0, top : top + 80, west : west + 120] == land).all()  # the first tile keeps its pixels
    beyond = blue(cube)[0, :, west + 121 :]
    assert set(np.unique(beyond)) == {0, 1234}


def test_of_two_processings_the_newer_is_used_once(tmp_path: Path) -> None:
    land = dn((80, 120), 5)
    newer = WEST_ID.replace("N0301", "N0500")
    cube = run(tmp_path, [tile(WEST_ID, land), tile(newer, land, offset=-1000)])
    assert [item["id"] for item in cube.items] == [newer]
    assert (blue(cube)[0] == land).all()
    assert cube.left_out["skipped"] == [
        {"id": WEST_ID, "reason": f"processing baseline 03.01 of what {newer} has in baseline 05.00"}
    ]


def broken_west(folder: Path) -> tuple[Path, np.ndarray]:
    """A catalog of two tiles of one day, the western one cut off, and the land."""
    land = dn((80, 200), 5)
    shots = [tile(WEST_ID, land[:, :120]), tile(EAST_ID, land[:, 80:], EAST + 800, -1000)]
    catalog = write_catalog(folder, shots)
    file = catalog / f"{WEST_ID}_blue.tif"
    file.write_bytes(file.read_bytes()[:3000])
    return catalog, land


def test_a_run_cut_off_after_a_tile_was_left_out_goes_on_with_its_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, land = broken_west(tmp_path / "catalog")
    given: dict[str, Any] = {"catalog": str(catalog), "bands": ("B02",), "on_missing": "skip"}

    laid_out = []

    def lay_out(*given: Any) -> None:
        """The metadata are written before each of the two readings, and when all is read: there the disk is full."""
        laid_out.append(given)
        if len(laid_out) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        create_scenecube(*given)

    with monkeypatch.context() as patched:
        patched.setattr("components.acquire.cube.create_scenecube", lay_out)
        with pytest.raises(GeoductError, match="the disk is full"):
            acquire(scenes=str(tmp_path / "scenes.zarr"), **given)
    acquire(scenes=str(tmp_path / "scenes.zarr"), **given)
    acquire(scenes=str(tmp_path / "clean.zarr"), **given)
    cube = SceneCube.open(tmp_path / "scenes.zarr")
    assert (blue(cube)[0, :, 80:] == land[:, 80:]).all()
    assert cube.digest == SceneCube.open(tmp_path / "clean.zarr").digest


def test_when_a_tile_cannot_be_read_its_neighbour_still_is(tmp_path: Path) -> None:
    catalog, land = broken_west(tmp_path / "catalog")
    with pytest.raises(GeoductError, match=f"item {WEST_ID}: asset 'blue' .* is truncated or damaged"):
        acquire(catalog=str(catalog), scenes=str(tmp_path / "scenes.zarr"), bands=("B02",))
    acquire(catalog=str(catalog), scenes=str(tmp_path / "scenes.zarr"), bands=("B02",), on_missing="skip")
    cube = SceneCube.open(tmp_path / "scenes.zarr")
    assert [item["id"] for item in cube.items] == [EAST_ID]
    assert [one["id"] for one in cube.left_out["failed"]] == [WEST_ID]
    assert (blue(cube)[0, :, 80:] == land[:, 80:]).all()
    assert not blue(cube)[0, :, :80].any()
    cube.verify()
