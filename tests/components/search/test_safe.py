"""SAFE folders as a catalog: what is read from their metadata, and what is said of folders that are none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.acquire.understand import understand
from components.artifacts.scenelist import SceneList
from components.errors import GeoductError
from components.search import search
from components.search.acquisitions import orbit_of, satellite_of, tile_of
from components.search.safe import read_safe
from tests.components.acquire.catalogs import EAST, NORTH
from tests.components.acquire.safes import Safe, write_safe


def test_an_item_holds_what_the_metadata_state(tmp_path: Path) -> None:
    safe = Safe()
    item = read_safe(write_safe(tmp_path, safe))
    assert item.id == safe.id
    assert item.datetime == datetime(2022, 6, 25, 12, 53, 11, 24000, tzinfo=UTC)
    assert item.properties["eo:cloud_cover"] == 12.5
    assert (tile_of(item), orbit_of(item), satellite_of(item)) == ("27WVM", 138, "2B")
    scene = understand(item, ["B01", "B02", "B04", "B8A", "B09", "B11"], "scl")
    keys = [*(asset.key for asset in scene.bands.values()), scene.mask.key]
    assert keys == ["B01_60m", "B02_10m", "B04_10m", "B8A_20m", "B09_60m", "B11_20m", "SCL_20m"]
    assert sorted(item.assets) == sorted(keys)  # of B02 the finest only
    grid = scene.bands["B11"].grid
    assert (grid.shape, str(grid.crs)) == ((60, 60), "EPSG:32627")
    assert (grid.transform.a, grid.transform.e, grid.transform.c, grid.transform.f) == (20, -20, EAST, NORTH)
    west, south, east, north = item.bbox
    assert (west, east) == pytest.approx((-21.0, -20.9746), abs=1e-3)
    assert (south, north) == pytest.approx((64.0166, 64.0274), abs=1e-3)


RECORDED = {
    "S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857": (0, "B01_60m", "07HFE", "Polygon"),
    "S2A_MSIL2A_20230625T234621_N0509_R073_T01WCS_20230626T022157": (-1000, "B01_20m", "01WCS", "MultiPolygon"),
    "S2B_MSIL2A_20220413T150759_N0400_R025_T33XWJ_20220414T082126": (-1000, "B01_20m", "33XWJ", "Polygon"),
    "S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500": (0, "B01_60m", "22HBD", "Polygon"),
}
"""What real products' metadata say: offset, finest coastal band, tile, footprint (two parts over the antimeridian)."""


def test_metadata_of_real_products_are_understood(shared_data: Path) -> None:
    folder = shared_data / "stac_recorded" / "stactools-sentinel2" / "tests" / "data-files"
    found = {}
    for product in folder.glob("*S2?_MSIL2A_*.SAFE"):
        item = read_safe(product)
        scene = understand(item, ["B01", "B02", "B12"], "scl")
        assert scene.bands["B02"].grid.shape == (10980, 10980)
        assert scene.record["processing_baseline"].replace(".", "") == item.id[28:32]
        found[item.id] = scene.offset, scene.bands["B01"].key, tile_of(item), item.geometry["type"]
    assert found == RECORDED


def test_a_folder_of_products_is_searched_like_any_catalog(tmp_path: Path) -> None:
    for day, cloud in (("20220625", 5.0), ("20220702", 80.0), ("20220715", 10.0)):
        write_safe(tmp_path / "products", Safe(day=day, cloud=cloud))
    search(catalog=str(tmp_path / "products"), scenes_list=str(tmp_path / "scenes"), start="2022-07-01", max_cloud=50.0)
    assert [item.id for item in SceneList.open(tmp_path / "scenes").items] == [Safe(day="20220715").id]


def refused(catalog: Path, tmp_path: Path, **parameters: object) -> str:
    with pytest.raises(GeoductError) as error:
        search(catalog=str(catalog), scenes_list=str(tmp_path / "scenes"), **parameters)
    assert not (tmp_path / "scenes").exists()
    return str(error.value)


def test_a_product_without_metadata_is_told(tmp_path: Path) -> None:
    product = write_safe(tmp_path / "in", Safe())
    tile = next(product.glob("GRANULE/*/MTD_TL.xml"))
    tile.unlink()
    assert refused(product, tmp_path) == f"{tile} is missing; expected a Level-2A product as downloaded"
    (product / "MTD_MSIL2A.xml").unlink()
    assert f"{product / 'MTD_MSIL2A.xml'} is missing" in refused(tmp_path / "in", tmp_path)


def test_a_level_1c_product_is_told(tmp_path: Path) -> None:
    product = write_safe(tmp_path, Safe())
    (product / "MTD_MSIL2A.xml").rename(product / "MTD_MSIL1C.xml")
    said = refused(product, tmp_path)
    assert said.startswith(f"{product} is a Level-1C product")
    assert "without a scene classification (SCL)" in said


@pytest.mark.parametrize(
    ("found", "instead", "said"),
    [
        ("</n1:General_Info>", "", "is malformed XML: mismatched tag"),
        ("04.00", "4", "PROCESSING_BASELINE is '4', which is malformed"),
        (">-1000<", ">none<", "is 'none', which is malformed"),
        ('band_id="1"', 'band_id="77"', "states no BOA_ADD_OFFSET[@band_id='1']"),
        (">10000<", ">0<", "BOA_QUANTIFICATION_VALUE is '0', which is malformed"),
        ("PRODUCT_START_TIME", "PRODUCT_STOP_TIME", "states no PRODUCT_START_TIME"),
        ("EXT_POS_LIST>6", "EXT_POS_LIST>6 6", "EXT_POS_LIST is"),
        ("IMAGE_FILE>", "FILE>", "lists the rasters (IMAGE_FILE) of 0 granules; expected one"),
    ],
)
def test_malformed_metadata_are_told(tmp_path: Path, found: str, instead: str, said: str) -> None:
    product = write_safe(tmp_path, Safe())
    file = product / "MTD_MSIL2A.xml"
    assert found in file.read_text()
    file.write_text(file.read_text().replace(found, instead))
    sentence = refused(product, tmp_path)
    assert sentence.startswith(str(file))
    assert said in sentence
    assert "\n" not in sentence


def test_a_grid_that_is_no_utm_is_told(tmp_path: Path) -> None:
    product = write_safe(tmp_path, Safe())
    tile = next(product.glob("GRANULE/*/MTD_TL.xml"))
    tile.write_text(tile.read_text().replace("EPSG:32627", "EPSG:99999"))
    assert refused(product, tmp_path) == f"{tile}: HORIZONTAL_CS_CODE is 'EPSG:99999', which is malformed"


def test_another_collection_is_told(tmp_path: Path) -> None:
    said = refused(write_safe(tmp_path, Safe()), tmp_path, collection="sentinel-2-l1c")
    assert said.endswith("has no collection 'sentinel-2-l1c'; did you mean 'sentinel-2-l2a'?")
