"""acquire from SAFE folders: every pixel is the product's own, harmonised as its metadata say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rasterio.warp import transform_bounds

from components.acquire import acquire
from components.artifacts.scenecube import SceneCube
from components.errors import GeoductError
from components.search import search
from components.search.safe import read_safe
from tests.components.acquire.catalogs import EAST, NORTH, Shot, write_catalog
from tests.components.acquire.safes import Safe, rasters, write_safe

BANDS = ["B02", "B04", "B11"]


def run(folder: Path, catalog: Path, **parameters: object) -> SceneCube:
    acquire(catalog=str(catalog), scenes=str(folder / "scenes.zarr"), **{"bands": BANDS, **parameters})
    return SceneCube.open(folder / "scenes.zarr")


def truth(name: str, offset: int, times: int) -> np.ndarray:
    """A raster's pixels at 10 m with its offset applied: 0 stays nodata."""
    pixels = rasters()[name].astype(int)
    harmonised = np.where(pixels == 0, 0, np.maximum(pixels + offset, 1))
    return np.kron(harmonised, np.ones((times, times), int))


def test_offsets_are_those_of_the_metadata_in_both_layouts(tmp_path: Path) -> None:
    # the older baseline has the later date, as reprocessed archives do: a date decides nothing
    write_safe(tmp_path / "in", Safe(day="20200625", baseline="05.00", offset=-1000))
    write_safe(tmp_path / "in", Safe(day="20220702", baseline="03.01", offset=None))
    cube = run(tmp_path, tmp_path / "in")
    assert [item["processing_baseline"] for item in cube.items] == ["05.00", "03.01"]
    assert [item["offset"] for item in cube.items] == [-1000, 0]
    pixels = np.asarray(cube.array("reflectance")[...])
    for step, offset in enumerate((-1000, 0)):
        for band, (name, times) in enumerate((("B02_10m", 1), ("B04_10m", 1), ("B11_20m", 2))):
            assert (pixels[step, band] == truth(name, offset, times)).all()
        scl = np.asarray(cube.array("scl")[step])
        assert (scl == np.kron(rasters()["SCL_20m"], np.ones((2, 2), "uint8"))).all()


def test_a_cube_is_the_same_as_from_geotiffs_of_the_same_pixels(tmp_path: Path) -> None:
    safe = Safe()
    product = write_safe(tmp_path / "in", safe)
    names = {"B02": "B02_10m", "B04": "B04_10m", "B11": "B11_20m", "scl": "SCL_20m"}
    pixels = {name: safe.pixels[raster] for name, raster in names.items()}
    properties = read_safe(product).properties
    shot = Shot(safe.id, safe.time, pixels, properties, declared=-0.1, collection="sentinel-2-l2a")
    served = write_catalog(tmp_path / "stac", [shot])
    window = transform_bounds("EPSG:32627", "EPSG:4326", EAST + 233, NORTH - 577, EAST + 614, NORTH - 205)
    for name, parameters in (("all", {}), ("window", {"bbox": window, "resampling": "bilinear", "resolution": 15.0})):
        cubes = [run(tmp_path / name / kind, each, **parameters) for kind, each in (("a", product), ("b", served))]
        assert cubes[0].digest == cubes[1].digest


def test_a_list_of_products_is_read_like_a_catalog(tmp_path: Path) -> None:
    write_safe(tmp_path / "in", Safe())
    window = transform_bounds("EPSG:32627", "EPSG:4326", EAST + 233, NORTH - 577, EAST + 614, NORTH - 205)
    search(catalog=str(tmp_path / "in"), scenes_list=str(tmp_path / "list"), bbox=window, max_cloud_aoi=99.0)
    cube = run(tmp_path, tmp_path / "list")
    assert (np.asarray(cube.array("reflectance")[0, 0]) == truth("B02_10m", -1000, 1)).all()


@pytest.mark.parametrize(
    ("safe", "said"),
    [
        (Safe(offset=None), "processing baseline 04.00 means an offset of -1000 DN, but its assets declare 0 DN"),
        (Safe(unlike={3: 0}), "declares different offsets for its bands: [-1000, 0] DN"),
        (Safe(quantification=1000), "declares the scale 0.001; expected 0.0001"),
    ],
)
def test_radiometry_that_cannot_be_right_is_refused(tmp_path: Path, safe: Safe, said: str) -> None:
    product = write_safe(tmp_path, safe)
    with pytest.raises(GeoductError, match=f"^item {safe.id} ") as error:
        run(tmp_path, product)
    assert said in str(error.value)


def test_a_missing_raster_is_told_and_no_coarser_one_is_taken(tmp_path: Path) -> None:
    product = write_safe(tmp_path, Safe())
    file = next(product.glob("GRANULE/*/IMG_DATA/R10m/*_B02_10m.jp2"))
    file.unlink()
    with pytest.raises(GeoductError, match="does not exist") as error:
        run(tmp_path, product)
    assert str(error.value) == f"item {Safe().id}: asset 'B02_10m' ({file}) does not exist"
    assert run(tmp_path / "others", product, bands=["B04"]).bands == ["B04"]


def test_a_truncated_raster_is_told(tmp_path: Path) -> None:
    product = write_safe(tmp_path, Safe())
    file = next(product.glob("GRANULE/*/IMG_DATA/R10m/*_B02_10m.jp2"))
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(GeoductError, match=r"asset 'B02_10m' .* (is truncated or damaged|is no raster)"):
        run(tmp_path, product)
