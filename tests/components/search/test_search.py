"""search from end to end: what it lists is valid STAC, is found from anywhere, and is what acquire then reads."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from components.acquire import acquire
from components.artifacts.scenecube import SceneCube
from components.artifacts.scenelist import SCENES, SceneList
from components.errors import GeoductError
from components.search import search
from tests.components.acquire.catalogs import Shot, dn, write_catalog

SHOTS = [
    Shot(id, day, {"blue": dn((40, 60), seed)}, {"eo:cloud_cover": cloud})
    for seed, (id, day, cloud) in enumerate(
        [
            ("first", "2021-06-01T12:00:00", 80.0),
            ("second", "2021-06-11T12:00:00", 30.0),
            ("third", "2021-07-01T12:00:00", 4.6),
        ]
    )
]


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return write_catalog(tmp_path / "catalog", SHOTS)


def listed(folder: Path, catalog: Path, **parameters: object) -> SceneList:
    search(catalog=str(catalog), scenes_list=str(folder / "list"), **parameters)
    return SceneList.open(folder / "list")


def read(folder: Path, catalog: Path, **parameters: object) -> SceneCube:
    arguments = {"catalog": str(catalog), "scenes": str(folder / "scenes.zarr"), "mask": "none", "bands": ["blue"]}
    acquire.run({**arguments, **parameters})
    return SceneCube.open(folder / "scenes.zarr")


def test_the_list_is_valid_stac_and_holds_what_matches(catalog: Path, tmp_path: Path) -> None:
    found = listed(tmp_path, catalog, max_cloud=50)
    document = json.loads(found.scenes.read_text())
    assert pystac.ItemCollection.is_item_collection(document)
    assert [item["id"] for item in document["features"]] == ["second", "third"]
    for item in document["features"]:
        JsonSchemaSTACValidator().validate_core(item, pystac.STACObjectType.ITEM, item["stac_version"])
        assert {link["rel"] for link in item["links"]} == {"self", "collection"}
        assert all(Path(link["href"]).is_file() for link in item["links"])
        assert all(Path(asset["href"]).is_file() for asset in item["assets"].values())


def test_what_was_found_is_told(catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed(tmp_path, catalog)
    assert capsys.readouterr().out.splitlines() == [
        "3 scenes of made-up-l2a",
        "  2021-06-01 12:00  cloud 80 %   first",
        "  2021-06-11 12:00  cloud 30 %   second",
        "  2021-07-01 12:00  cloud 5 %    third",
    ]


def test_a_long_list_is_told_by_its_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = [Shot(f"n{day:02}", f"2021-06-{day:02}T00:00:00", {"blue": dn((4, 4))}) for day in range(1, 31)]
    listed(tmp_path, write_catalog(tmp_path / "catalog", items))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "30 scenes of made-up-l2a" and len(lines) == 22
    assert lines[10].endswith("cloud ?      n10") and lines[11] == "  … 10 more …" and lines[12].endswith("n21")


def test_acquire_reads_the_same_scenes_from_a_list_that_was_moved(catalog: Path, tmp_path: Path) -> None:
    found = listed(tmp_path, catalog, max_cloud=50)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(found.path, tmp_path / "elsewhere" / "list")
    direct = read(tmp_path / "a", catalog, max_cloud=50)
    for place in (moved, Path(moved) / SCENES):
        again = read(tmp_path / "b", place)
        assert again.digest == direct.digest
    assert direct.array("reflectance").shape[0] == 2


def test_ids_choose_scenes_of_a_list_and_of_a_catalog_alike(catalog: Path, tmp_path: Path) -> None:
    found = listed(tmp_path, catalog)
    for place in (found.path, catalog):
        cube = read(tmp_path, place, ids=["third", "first", "third"])
        assert [item["id"] for item in cube.items] == ["first", "third"]
        assert (np.asarray(cube.array("reflectance")[1, 0]) == SHOTS[2].pixels["blue"]).all()


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        (
            {"ids": ["third", "fourth"]},
            "--ids names 'fourth', but .* has no such item that matches: 3 items found, 1 of",
        ),
        (
            {"ids": ["first", "third"], "max_cloud": 50},
            "--ids names 'first', .* 2 of the 2 in --ids, 1 with at most 50 %",
        ),
        ({"ids": ["fourth"]}, "no item of .* matches: 3 items found, 0 of the 1 in --ids"),
        ({"ids": []}, "--ids is empty; expected at least one item's id"),
        ({"collection": "other"}, "no item of .* matches: 0 items found in collection 'other'"),
    ],
)
def test_a_list_that_lacks_what_is_asked_for_says_so(
    catalog: Path, tmp_path: Path, parameters: dict[str, object], complaint: str
) -> None:
    found = listed(tmp_path, catalog)
    with pytest.raises(GeoductError, match=complaint):
        read(tmp_path, found.path, **parameters)
    assert not (tmp_path / "scenes.zarr").exists()


def test_the_filters_are_those_of_acquire() -> None:
    other = {p.name: p for p in acquire.spec.parameters}
    for parameter in search.spec.parameters:
        if parameter.name not in other:
            continue  # acquire has these from the list that search writes
        same = other[parameter.name]
        assert (parameter.expected, parameter.default) == (same.expected, same.default)
        assert parameter.name == "bbox" or parameter.help == same.help


def test_a_list_of_items_whose_assets_nobody_can_find_is_refused(tmp_path: Path) -> None:
    item = pystac.Item("a", None, None, datetime(2021, 6, 1, tzinfo=UTC), {})
    item.add_asset("blue", pystac.Asset("./blue.tif"))
    pystac.ItemCollection([item]).save_object(str(tmp_path / "items.json"))
    with pytest.raises(GeoductError, match=r"item a, asset 'blue': href is '\./blue\.tif'"):
        listed(tmp_path, tmp_path / "items.json")
    assert not (tmp_path / "list").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda d: d["features"].clear(), "holds no item"),
        (lambda d: d["features"].append(d["features"][0]), "holds item 'first' twice"),
        (lambda d: d["features"][0]["assets"].clear(), "item first has no assets"),
        (
            lambda d: d["features"][0]["assets"]["blue"].update(href="./b.tif"),
            r"item first, asset 'blue': href is '\./b",
        ),
        (lambda d: d.update(type="Feature"), "is no STAC ItemCollection"),
        (lambda d: d["features"][0].pop("properties"), "is no STAC ItemCollection"),
    ],
)
def test_a_list_that_was_tampered_with_does_not_open(
    catalog: Path, tmp_path: Path, change: object, complaint: str
) -> None:
    found = listed(tmp_path, catalog)
    document = json.loads(found.scenes.read_text())
    change(document)
    found.scenes.write_text(json.dumps(document))
    found.seal({})
    with pytest.raises(GeoductError, match=complaint):
        SceneList.open(found.path)
