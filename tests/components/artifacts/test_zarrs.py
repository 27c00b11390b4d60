"""The gridded artifacts as other software sees them: xarray and rioxarray, without Geoduct."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401 (registers .rio)
import xarray
import zarr

from components.artifacts import Composite, LabelMap, SceneCube
from components.artifacts.composite import create_composite
from components.artifacts.scenecube import create_scenecube
from components.errors import GeoductError
from tests.makers import geobox, labelmap

RNG = np.random.default_rng(0)
DATES = ("2023-06-01T00:00:00Z", "2023-08-31T00:00:00Z")


def test_composite_opens_in_xarray_and_rioxarray(tmp_path: Path) -> None:
    dn = RNG.integers(1, 10_000, (2, 300, 260)).astype("uint16")
    reflectance, observations = create_composite(tmp_path / "c.zarr", geobox(300, 260), ["B02", "B8A"], *DATES)
    reflectance[...] = dn
    observations[...] = 4
    Composite(tmp_path / "c.zarr").seal({})
    found = xarray.open_zarr(tmp_path / "c.zarr", decode_coords="all")
    np.testing.assert_allclose(found.reflectance.sel(band="B8A"), dn[1] * 1e-4, rtol=1e-6)
    assert found.rio.crs.to_epsg() == 32627
    assert found.rio.transform().to_gdal() == geobox(300, 260).transform.to_gdal()
    assert found.x.values[0] == 500_005.0
    assert found.y.values[0] == 7_099_995.0
    assert Composite.open(tmp_path / "c.zarr").geobox == geobox(300, 260)
    assert Composite.open(tmp_path / "c.zarr").dates == DATES


def test_scenecube_has_times_and_items(tmp_path: Path) -> None:
    items = [{"id": "a", "datetime": "2021-06-01T12:30:00Z"}, {"id": "b", "datetime": "2021-06-11T12:30:01.024Z"}]
    create_scenecube(tmp_path / "s.zarr", geobox(8, 8), ["B02"], items, "scl")
    SceneCube(tmp_path / "s.zarr").seal({})
    times = xarray.open_zarr(tmp_path / "s.zarr").time.values
    assert (
        times.astype("datetime64[s]").tolist()
        == np.array(["2021-06-01T12:30:00", "2021-06-11T12:30:01"], dtype="datetime64[s]").tolist()
    )
    assert [i["id"] for i in SceneCube.open(tmp_path / "s.zarr").items] == ["a", "b"]


def test_chunks_are_small_and_shards_few(tmp_path: Path) -> None:
    reflectance, _ = create_composite(tmp_path / "c.zarr", geobox(4096, 4096), ["B02", "B03"], *DATES)
    assert reflectance.chunks == (1, 256, 256)
    assert reflectance.shards == (2, 2048, 2048)
    small, _ = create_composite(tmp_path / "d.zarr", geobox(300, 100), ["B02", "B03"], *DATES)
    assert small.shards == (2, 512, 100)


def test_geographic_grid_keeps_its_crs(tmp_path: Path) -> None:
    grid = geobox(5, 6, 0.5, "EPSG:4326").translate_pix(0, 0)
    from components.artifacts.zarrs import create_group, read_grid, write_grid

    group = create_group(tmp_path / "g.zarr", {})
    write_grid(group, grid)
    assert read_grid(group, "g") == grid


def test_wrong_layout_is_named(tmp_path: Path) -> None:
    made = labelmap(tmp_path / "l.zarr", np.zeros((4, 4), "uint8"))
    metadata = made.path / "zarr.json"
    stored = json.loads(metadata.read_text())
    del stored["consolidated_metadata"]["metadata"]["label"]
    metadata.write_text(json.dumps(stored))
    LabelMap(made.path).seal({})
    with pytest.raises(GeoductError, match=r"l\.zarr has no array 'label'; a LabelMap holds label"):
        LabelMap.open(made.path)


def test_not_zarr_is_named(tmp_path: Path) -> None:
    made = labelmap(tmp_path / "l.zarr", np.zeros((4, 4), "uint8"))
    for content, sentence in (("{}", "has no attribute 'nomenclature'"), ("{", "holds no readable Zarr v3 group")):
        (made.path / "zarr.json").write_text(content)
        LabelMap(made.path).seal({})
        with pytest.raises(GeoductError, match=sentence):
            LabelMap.open(made.path)


def test_flipped_bit_is_an_error_for_zarr_itself(tmp_path: Path) -> None:
    made = labelmap(tmp_path / "l.zarr", RNG.integers(0, 3, (64, 64)).astype("uint8"))
    chunk = made.path / "label" / "c" / "0" / "0"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_group(made.path, mode="r")["label"][...]
