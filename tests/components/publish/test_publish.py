"""publish from end to end: valid STAC that stands alone, a page that a browser shows whole, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from components.artifacts.map import Map
from components.artifacts.mapcollection import MapCollection
from components.errors import GeoductError
from components.publish import publish
from tests.components.publish.maps import make_map
from tests.makers import labelmap, nomenclature

FILES = ("classes.tif", "classes.tif.aux.xml", "confidence.tif", "quicklook.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two maps at different depths, something else beside them, and a collection of both."""
    folder = tmp_path_factory.mktemp("maps")
    make_map(folder / "in" / "july" / "map", "b" * 64, month=7)
    make_map(folder / "in" / "june" / "deep" / "map", "a" * 64, month=6)
    labelmap(folder / "in" / "labels", np.zeros((4, 4), "uint8"))
    shutil.copytree(folder / "in" / "july" / "map", folder / "in" / ".map.fresh.host-1.partial")
    publish(maps=str(folder / "in"), collection=str(folder / "out.stac"), title="Two <maps>", license="CC-BY-4.0")
    return folder


def test_the_collection_is_valid_stac_and_every_href_is_relative(folder: Path) -> None:
    published = MapCollection.open(folder / "out.stac")
    published.verify()
    validator = JsonSchemaSTACValidator()
    stored = json.loads((published.path / "collection.json").read_text())
    validator.validate_core(stored, pystac.STACObjectType.COLLECTION, "1.1.0")
    assert (stored["id"], stored["title"], stored["license"]) == ("land-cover", "Two <maps>", "CC-BY-4.0")
    assert stored["extent"]["temporal"]["interval"] == [["2023-06-01T00:00:00Z", "2023-07-20T00:00:00Z"]]
    classes = stored["item_assets"]["classes"]["classification:classes"]
    assert [c.get("color_hint") for c in classes[:3]] == [c.colour[1:].upper() for c in nomenclature()]
    files = [file for file in published.path.rglob("*.json") if file.name != "geoduct.json"]
    assert len(files) == 3
    for file in files:
        document = json.loads(file.read_text())
        for entry in (*document["links"], *document.get("assets", {}).values()):
            assert entry["href"].startswith("."), entry
            assert (file.parent / entry["href"]).is_file(), entry
        if document["type"] == "Feature":
            validator.validate_core(document, pystac.STACObjectType.ITEM, "1.1.0")
            assert document["collection"] == "land-cover"


def test_a_moved_collection_still_opens_and_holds_the_maps_own_bytes(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "out.stac", tmp_path / "moved")
    sources = [Map.open(folder / "in" / "june" / "deep" / "map"), Map.open(folder / "in" / "july" / "map")]
    items = MapCollection.open(tmp_path / "moved").items
    assert [item.id for item in items] == [source.item["id"] for source in sources]
    for item, source in zip(items, sources, strict=True):
        for name in FILES:
            assert (tmp_path / "moved" / item.id / name).read_bytes() == (source.path / name).read_bytes()
        assert item.properties["geoduct:model"] == source.item["properties"]["geoduct:model"]


def test_the_same_maps_give_the_same_bytes_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "in" / "july", tmp_path / "a")
    shutil.copytree(folder / "in" / "june", tmp_path / "b")
    publish.run({"maps": tmp_path, "collection": folder / "again", "title": "Two <maps>", "license": "CC-BY-4.0"})
    assert MapCollection.open(folder / "again").digest == MapCollection.open(folder / "out.stac").digest


@pytest.mark.parametrize("width", [1300, 420])
def test_a_browser_shows_the_page_whole(folder: Path, browser: Any, width: int) -> None:
    browser.set_window_size(width, 900)
    browser.get(MapCollection.open(folder / "out.stac").page.as_uri())
    assert browser.title == "Two <maps> – Geoduct"
    browser.execute_script("for (const image of document.images) image.loading = 'eager'")
    browser.execute_async_script("Promise.all([...document.images].map(i => i.decode())).then(arguments[0])")
    assert browser.get_log("browser") == []
    images = browser.execute_script("return [...document.images].map(i => [i.naturalWidth, i.alt])")
    assert len(images) == 2 and min(wide for wide, _ in images) > 0
    dates = [heading.text for heading in browser.find_elements("css selector", ".map h2")]
    assert dates == ["2023-06-01 to 2023-06-20", "2023-07-01 to 2023-07-20"]
    swatches = "return [...document.querySelectorAll('.swatch')].map(s => getComputedStyle(s).backgroundColor)"
    assert browser.execute_script(swatches) == [f"rgb{c.rgb}" for c in nomenclature()]
    overflow = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0, "the page scrolls sideways"


def test_every_link_of_the_page_is_a_file_in_the_collection(folder: Path) -> None:
    page = (folder / "out.stac" / "index.html").read_text()
    links = set(re.findall(r'(?:href|src)="([^"]+)"', page))
    assert len(links) == 1 + 2 * 4
    assert all((folder / "out.stac" / link).is_file() for link in links)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"maps": "none"}, "none does not exist"),
        ({"maps": "empty"}, "empty holds no Map; expected what predict wrote, at any depth"),
        ({"maps": "https://example.org/maps"}, "is a URL, but a local file is expected here"),
        ({"maps": "file"}, "file is no folder; expected one in which maps lie"),
        ({"maps": "in", "id": "land cover"}, "--id is 'land cover'; expected a letter or digit"),
    ],
)
def test_what_cannot_be_published_is_said(
    folder: Path, tmp_path: Path, arguments: dict[str, str], complaint: str
) -> None:
    (tmp_path / "empty" / "folder").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "in").symlink_to(folder / "in")
    place = arguments["maps"] if "://" in arguments["maps"] else tmp_path / arguments["maps"]
    with pytest.raises(GeoductError, match=complaint):
        publish.run({**arguments, "maps": place, "collection": tmp_path / "out"})
    assert not (tmp_path / "out").exists()


def test_maps_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    make_map(tmp_path / "a" / "map", "a" * 64)
    make_map(tmp_path / "b" / "map", "a" * 64)
    with pytest.raises(GeoductError, match=r"a/map and .*b/map are both 'map-mmmmmmmm-aaaaaaaa': the same model made"):
        publish.run({"maps": tmp_path, "collection": tmp_path.parent / "out"})
    shutil.rmtree(tmp_path / "b")
    other = dataclasses.replace(nomenclature(), name="other")
    make_map(tmp_path / "c" / "map", "c" * 64, classes=other)
    with pytest.raises(GeoductError, match=r"a/map has the classes of 'test' and .*c/map other ones, 'other'"):
        publish.run({"maps": tmp_path, "collection": tmp_path.parent / "out"})


def test_a_damaged_map_is_named(tmp_path: Path) -> None:
    made = make_map(tmp_path / "in" / "map", "a" * 64)
    made.classes.write_bytes(made.classes.read_bytes()[:-1])
    with pytest.raises(GeoductError, match=r"in/map is damaged: classes\.tif has"):
        publish.run({"maps": tmp_path / "in", "collection": tmp_path / "out"})


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (lambda path: (path / "index.html").unlink(), "has no index.html"),
        (lambda path: (path / "collection.json").write_text("{}"), "is missing or no STAC collection"),
        (lambda path: next(path.glob("*/classes.tif")).unlink(), r"asset 'classes': '\./classes\.tif' is no file"),
        (lambda path: next(path.glob("map-*/map-*.json")).unlink(), "an item of collection.json cannot be read"),
    ],
)
def test_a_collection_with_a_broken_part_does_not_open(
    folder: Path, tmp_path: Path, broken: Any, complaint: str
) -> None:
    shutil.copytree(folder / "out.stac", tmp_path / "out")
    broken(tmp_path / "out")
    with pytest.raises(GeoductError, match=complaint):
        MapCollection(tmp_path / "out").validate()
