"""Searching: filters and what they say when nothing is left, static catalogs and a STAC API on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pystac
import pytest
from shapely.geometry import box, mapping

from components.errors import GeoductError
from components.remote.client import Client
from components.search.acquisitions import Acquisition
from components.search.area import area_of
from components.search.catalog import find
from components.search.query import Query
from components.search.select import spread


def item(id: str, day: str, west: float = 0.0, cloud: float | None = 10.0) -> pystac.Item:
    """An item of one degree by one degree, from `west` at the equator."""
    outline = box(west, 0, west + 1, 1)
    properties = {} if cloud is None else {"eo:cloud_cover": cloud}
    when = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return pystac.Item(id, mapping(outline), list(outline.bounds), when, properties)


ITEMS = [
    item("a", "2021-06-01T10:00:00", cloud=80),
    item("b", "2021-06-11T10:00:00", cloud=30),
    item("c", "2021-06-21T23:59:59", cloud=5),
    item("d", "2021-07-01T10:00:00", west=5, cloud=0),
    item("e", "2021-07-11T10:00:00", cloud=None),
]


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    root = pystac.Catalog("root", "of a test")
    for name, items in (("here", ITEMS), ("away", [item("z", "2021-06-01", west=100)])):
        copies = [i.clone() for i in items]
        collection = pystac.Collection(name, "of a test", pystac.Extent.from_items(copies))
        collection.add_items(copies)
        root.add_child(collection)
    root.normalize_hrefs(str(tmp_path))
    root.save(pystac.CatalogType.SELF_CONTAINED)
    return tmp_path


def query(bbox: Any = None, collection: str | None = None, **more: Any) -> Query:
    defaults: dict[str, Any] = {"start": None, "end": None, "max_cloud": 100.0, "max_scenes": None}
    return Query.parse(collection, area_of(bbox, None), **{**defaults, **more})


def search(location: str, wanted: Query) -> list[pystac.Item]:
    """Find without patience: what fails here fails for good."""
    return find(location, wanted, Client(retries=0)).items


def ids(found: list[pystac.Item]) -> str:
    return "".join(i.id for i in found)


HERE = (0.2, 0.2, 0.8, 0.8)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"bbox": HERE}, "abce"),
        ({"collection": "here"}, "abcde"),
        ({"bbox": HERE, "start": "2021-06-11", "end": "2021-06-21"}, "bc"),  # both days whole
        ({"bbox": HERE, "end": "2021-06-10"}, "a"),
        ({"bbox": HERE, "max_cloud": 30.0}, "bc"),  # what does not say its cloud is left out
        ({"collection": "here", "max_scenes": 3}, "ace"),
    ],
)
def test_filters(catalog: Path, parameters: dict[str, Any], expected: str) -> None:
    assert ids(search(str(catalog), query(**parameters))) == expected


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        (
            {"bbox": HERE, "max_cloud": 4.0},
            r"no item .* matches: 5 items found, 4 in --bbox .*, 0 with at most 4 %",
        ),
        (
            {"bbox": HERE, "start": "2020-01-01", "end": "2021-05-31"},
            r"no item of .* matches: 0 items found, 0 in .*, 0 between 2020-01-01 and 2021-05-31",
        ),
        ({"bbox": (50, 50, 51, 51)}, r"--bbox 50 50 51 51 lies outside the catalog, which covers 0 0 101 1"),
        ({"bbox": (1.0, 0.2, 5.0, 0.8)}, "5 items found, 0 in --bbox"),  # shares edges with items, no pixel
        ({}, "items of 2 collections of .* match; choose one with --collection: away, here"),
        ({"collection": "her"}, "has no collection 'her'; did you mean 'here'"),
    ],
)
def test_nothing_found_says_why(catalog: Path, parameters: dict[str, Any], complaint: str) -> None:
    with pytest.raises(GeoductError, match=complaint):
        search(str(catalog), query(**parameters))


def test_collections_ruled_out_by_their_extent_are_not_opened(catalog: Path) -> None:
    for file in (catalog / "away").rglob("z.json"):
        file.write_text("no JSON")
    assert ids(search(str(catalog), query(HERE))) == "abce"
    with pytest.raises(GeoductError, match=r"cannot be read as a STAC catalog"):
        search(str(catalog), query())


def test_spread_is_even_in_time_not_in_number() -> None:
    crowded = [item(f"{n}", f"2021-06-0{n}") for n in range(1, 6)] + [item("x", "2021-06-30"), item("y", "2021-07-30")]
    acquired = [Acquisition((each,)) for each in crowded]
    for count, expected in ((3, "1xy"), (1, "x"), (9, "12345xy")):
        assert ids([each.items[0] for each in spread(acquired, count)]) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<html><body>Sign in</body></html>", "is HTML; expected a STAC catalog or API"),
        ("not JSON", "is no JSON; expected a STAC catalog or API"),
        ('{"hello": 1}', "is JSON, but no STAC catalog, collection, item or API landing page"),
        ('{"type": "Catalog", "id": "x"}', "cannot be read as a STAC catalog"),
    ],
)
def test_what_is_no_catalog(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(GeoductError, match=complaint):
        search(str(tmp_path / "x.json"), query())


def test_a_folder_without_catalog(tmp_path: Path) -> None:
    with pytest.raises(
        GeoductError, match=r"holds no catalog\.json, collection\.json, scenes\.json or \*\.SAFE folder"
    ):
        search(str(tmp_path), query())


def test_an_item_collection_file(tmp_path: Path) -> None:
    pystac.ItemCollection(ITEMS[:2]).save_object(str(tmp_path / "scenes.json"))
    assert ids(search(str(tmp_path / "scenes.json"), query())) == "ab"


@pytest.mark.parametrize(
    ("dates", "complaint"),
    [
        (("2021-07-01", "2021-06-01"), "--end 2021-06-01 lies before --start 2021-07-01"),
        (("June", None), "--start is 'June'; expected a day as YYYY-MM-DD"),
        ((None, "2021-02-30"), "--end is '2021-02-30'"),
    ],
)
def test_dates(dates: tuple[str | None, str | None], complaint: str) -> None:
    with pytest.raises(GeoductError, match=complaint):
        query(start=dates[0], end=dates[1])


@pytest.fixture
def api() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A STAC API on loopback that serves ITEMS two a page and keeps what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(landing(base)) if self.path == "/" else self.answer("<html>gone</html>", 404)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            first = int(body.get("token", 0))
            features = [{**i.to_dict(include_self_link=False), "collection": "here"} for i in ITEMS[first : first + 2]]
            page: dict[str, Any] = {"type": "FeatureCollection", "features": features, "links": []}
            if first + 2 < len(ITEMS):
                href = {"rel": "next", "href": f"{base}/search", "method": "POST"}
                page["links"].append({**href, "body": {**body, "token": first + 2}})
            self.answer(page)

        def answer(self, content: Any, status: int = 200) -> None:
            data = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    base = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield base, asked
    server.shutdown()
    thread.join()
    server.server_close()


def landing(base: str) -> dict[str, Any]:
    conforms = ["core", "item-search"]
    return {
        "type": "Catalog", "id": "api", "description": "of a test", "stac_version": "1.0.0",
        "conformsTo": [f"https://api.stacspec.org/v1.0.0/{name}" for name in conforms],
        "links": [
            {"rel": "root", "href": f"{base}/not-asked-for"},
            {"rel": "search", "href": f"{base}/not-asked-for", "method": "GET"},
            {"rel": "search", "href": f"{base}/search", "method": "POST"},
        ],
    }  # fmt: skip


def test_an_api_is_not_searched_through_all_its_collections(api: tuple[str, list[dict[str, Any]]]) -> None:
    with pytest.raises(GeoductError, match="is an API; name the --collection to search"):
        search(f"{api[0]}/", query(HERE))
    assert not api[1]


@pytest.mark.parametrize("kept", [False, True])
def test_an_api_by_its_address_or_by_its_landing_page_in_a_file(
    api: tuple[str, list[dict[str, Any]]], tmp_path: Path, kept: bool
) -> None:
    base, asked = api
    location = f"{base}/"
    if kept:
        location = str(tmp_path / "api.json")
        Path(location).write_text(json.dumps(landing(base)))
    found = search(location, query(HERE, "here", start="2021-06-05", end="2021-06-30", max_cloud=20.0))
    assert ids(found) == "c"
    assert len(asked) == 3
    assert asked[0]["collections"] == ["here"]
    assert asked[0]["datetime"] == "2021-06-05T00:00:00Z/2021-06-30T23:59:59.999999Z"
    assert asked[0]["intersects"]["type"] == "Polygon"


def test_a_server_that_does_not_answer_is_named_without_its_credentials(api: tuple[str, list[dict[str, Any]]]) -> None:
    answers_404 = api[0].removeprefix("http://"), "HTTP 404 Not Found"
    nobody_listens = "127.0.0.1:9", "no connection: Connection refused"
    for server, reason in (answers_404, nobody_listens):
        expected = f"^http://{server}/nothing cannot be read as a STAC catalog: {reason}$"
        with pytest.raises(GeoductError, match=expected) as caught:
            search(f"http://user:secret@{server}/nothing?token=secret", query())
        assert "secret" not in str(caught.value)
