"""Choosing scenes by cloud over the area, and by tile, orbit, baseline and day."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.warp import transform_bounds

from components.artifacts.scenelist import SceneList
from components.errors import GeoductError
from components.search import search
from tests.components.acquire.catalogs import EAST, NORTH, Shot, dn, write_catalog
from tests.services.range_server import RangeServer

NAME = "S2{satellite}_MSIL2A_{day}T120000_N{baseline}_R{orbit}_T27WVM_20230101T000000"
LEFT = transform_bounds("EPSG:32627", "EPSG:4326", EAST + 20, NORTH - 700, EAST + 580, NORTH - 20)
"""The western half of what the shots cover."""


def shot(day: str, classes: tuple[int, int], satellite: str = "A", baseline: str = "0301", orbit: str = "123") -> Shot:
    """A scene of 120 x 80 pixels; its halves have one class of the scene classification each."""
    scl = np.repeat(np.array([classes], "uint8"), 60, axis=1).repeat(80, axis=0)
    name = NAME.format(day=day.replace("-", ""), satellite=satellite, baseline=baseline, orbit=orbit)
    cover = 50.0 * sum(c in (8, 9, 10) for c in classes)
    return Shot(
        name, f"{day}T12:00:00", {"blue": dn((80, 120)), "scl": scl}, {"eo:cloud_cover": cover},
        -0.1 if baseline >= "0400" else 0.0,
    )  # fmt: skip


SHOTS = [
    shot("2022-06-01", (4, 9)),
    shot("2022-06-03", (8, 4), "B", orbit="080"),
    shot("2022-06-05", (0, 4), baseline="0400"),
    shot("2022-06-07", (5, 4), "B", baseline="0509"),
]


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return write_catalog(tmp_path / "catalog", SHOTS)


def days(folder: Path, catalog: Path | str, **parameters: Any) -> list[str]:
    search(catalog=str(catalog), scenes_list=str(folder / "list"), **parameters)
    return [f"{item.datetime:%d}" for item in SceneList.open(folder / "list").items]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"bbox": LEFT, "max_cloud_aoi": 99.0}, ["01", "07"]),  # 03 is overcast there, 05 has no pixel there
        ({"bbox": LEFT, "max_cloud": 20.0}, ["05", "07"]),
        ({"tiles": ("T27WVM",)}, ["01", "03", "05", "07"]),
        ({"orbits": (80,)}, ["03"]),
        ({"min_baseline": "4.00"}, ["05", "07"]),
    ],
)
def test_filters(tmp_path: Path, catalog: Path, parameters: dict[str, Any], expected: list[str]) -> None:
    assert days(tmp_path, catalog, **parameters) == expected


def test_the_clearest_of_a_day_over_the_area(tmp_path: Path) -> None:
    both = [shot("2022-06-01", (9, 4)), shot("2022-06-01", (4, 9), "B")]
    catalog = write_catalog(tmp_path / "catalog", both)
    search(catalog=str(catalog), scenes_list=str(tmp_path / "list"), bbox=LEFT, max_cloud_aoi=99.9, one_per_day=True)
    (item,) = SceneList.open(tmp_path / "list").items
    assert item.id.startswith("S2B")
    assert item.properties["geoduct:aoi_cloud_cover"] == 0.0


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"max_cloud_aoi": 10.0}, "--max-cloud-aoi asks for cloud over an area; name it by --bbox or --aoi"),
        ({"tiles": ("27",)}, "--tiles names '27'; expected tiles of the MGRS grid, such as 27WVM"),
        ({"tiles": ("27WWM",)}, "4 items found, 0 of the tiles 27WWM"),
        ({"orbits": (7, 8)}, "0 of the relative orbits 7, 8"),
        ({"orbits": (144,)}, "--orbits is 144; expected .* at most 143"),
        ({"min_baseline": "new"}, "--min-baseline is 'new'; expected a processing baseline, such as 04.00"),
        ({"min_baseline": "09.00"}, "0 of processing baseline 09.00 or later"),
        (
            {"bbox": LEFT, "end": "2022-06-03", "start": "2022-06-02", "max_cloud_aoi": 50.0},
            "1 acquisitions, 0 with at most 50 % cloud over",
        ),
    ],
)
def test_what_leaves_nothing_says_why(
    tmp_path: Path, catalog: Path, parameters: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(GeoductError, match=complaint):
        days(tmp_path, catalog, **parameters)
    assert not (tmp_path / "list").exists()


def test_a_scene_without_classification_is_named(tmp_path: Path) -> None:
    bare = shot("2022-06-01", (4, 4))
    del bare.pixels["scl"]
    with pytest.raises(GeoductError, match=f"item {bare.id} has no scene classification .scl., .* it has blue"):
        days(tmp_path, write_catalog(tmp_path / "catalog", [bare]), bbox=LEFT, max_cloud_aoi=10.0)


def test_looking_for_clouds_reads_no_other_asset(tmp_path: Path, catalog: Path) -> None:
    with RangeServer(catalog) as server:
        found = days(tmp_path, f"{server.url}/catalog.json", bbox=LEFT, max_cloud_aoi=99.0)
    assert found == ["01", "07"]
    rasters = {request.path.rpartition("_")[2] for request in server.requests if request.path.endswith(".tif")}
    assert rasters == {"scl.tif"}


def test_the_page_shows_every_footprint_and_the_area(tmp_path: Path, catalog: Path, browser: Any) -> None:
    days(tmp_path, catalog, bbox=LEFT, max_cloud_aoi=99.0)
    browser.get((tmp_path / "list" / "index.html").as_uri())
    assert not browser.get_log("browser")
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('path')].map(p => [p.getAttribute('class'), p.getBBox().width])"
    )
    assert [name for name, _ in sizes] == ["footprint", "footprint", "area"]
    footprint, _, area = (width for _, width in sizes)
    assert area == pytest.approx(footprint * 560 / 1200, rel=0.02)
    assert len(browser.find_elements("css selector", "tbody tr")) == 2


def test_a_name_from_the_catalog_is_no_part_of_the_page(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "catalog", [shot("2022-06-01", (4, 4))])
    (file,) = catalog.rglob("S2A*.json")
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "id": "<script>alert(1)</script>"}))
    days(tmp_path, catalog)
    assert "<script>" not in (tmp_path / "list" / "index.html").read_text()
