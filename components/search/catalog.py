"""From a catalog to items: any STAC API, a static catalog link by link, files, or Earth Engine; filtered alike.

An API is asked for collection, ids, area and dates only. Cloud cover is filtered here, so that when nothing is left
the user learns which filter removed how many.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pystac
import shapely

from components import objects
from components.artifacts.base import MANIFEST
from components.artifacts.scenelist import SCENES
from components.artifacts.source import Source
from components.artifacts.stac import MALFORMED
from components.errors import GeoductError, first_line, nearest
from components.progress import track
from components.remote.client import Client, RemoteError, shown
from components.remote.earthengine import EarthEngine
from components.search import earthengine
from components.search.area import Area
from components.search.documents import Documents
from components.search.parquet import is_parquet, rows
from components.search.query import Query
from components.search.safe import COLLECTION, read_safe, safe_folders
from components.search.select import Found, choose, select

DOCUMENTS = ("catalog.json", "collection.json", SCENES)
"""What a folder's first document may be called."""


def find(location: str, query: Query, client: Client) -> Found:
    """What the catalog at `location` (URL, file, folder, or `gee`) holds that matches, in order of time.

    Raises:
        GeoductError: the catalog cannot be read, the collection is unknown or must be named, or nothing matches.
    """
    try:
        found = list(track(_candidates(location, query, client), label="search"))
        matching = select(found, query, shown(location))
    except GeoductError:
        raise
    except Exception as error:
        # pystac raises whatever a malformed document leads it to, bare Exceptions among them
        if type(error) is not Exception and not isinstance(error, (OSError, *MALFORMED)):
            raise
        reason = shown(first_line(error))
        raise GeoductError(f"{shown(location)} cannot be read as a STAC catalog: {reason}") from error
    return choose(matching, query, shown(location), client)


def _candidates(location: str, query: Query, client: Client) -> Iterator[pystac.Item]:
    if location == earthengine.CATALOG:
        yield from earthengine.images(query, EarthEngine(client, os.environ))
        return
    if is_parquet(location):
        yield from rows(location, query, client)
        return
    location = _fetched(location)
    if folders := _safe_folders(location):
        if query.collection not in (None, COLLECTION):
            hint = nearest(query.collection, [COLLECTION])
            raise GeoductError(f"{location} has no collection {query.collection!r}{hint}")
        yield from map(read_safe, folders)
        return
    documents = Documents(client)
    href, document = _document(location, documents)
    match document:
        case {"type": "FeatureCollection"}:
            yield from pystac.ItemCollection.from_dict(document).items
        case {"type": "Feature"}:
            yield pystac.Item.from_file(href, stac_io=documents)
        case {"conformsTo": list()}:
            if query.collection is None:
                raise GeoductError(f"{shown(location)} is an API; name the --collection to search")
            yield from _ask(document, href, query, query.collection, documents)
        case {"type": "Catalog" | "Collection"} | {"stac_version": _, "links": _}:
            yield from _walk_all(pystac.Catalog.from_file(href, stac_io=documents), query)
        case _:
            raise GeoductError(f"{shown(location)} is JSON, but no STAC catalog, collection, item or API landing page")


def _fetched(location: str) -> str:
    """Where an artifact (a SceneList) on object storage lies on this machine; everything else is read where it is."""
    if objects.is_object(location) and not location.endswith(".json") and objects.manifest(location, MANIFEST):
        return str(objects.fetch(location, None, MANIFEST))
    return location


def _safe_folders(location: str) -> list[Path]:
    """Sentinel-2 products on disk, where the location is such a folder, or one that holds them and no STAC."""
    source = Source(location)
    if not source.is_path or not source.path.is_dir() or any((source.path / name).is_file() for name in DOCUMENTS):
        return []
    return safe_folders(source.path)


def _document(location: str, documents: Documents) -> tuple[str, dict[str, Any]]:
    """Where the catalog's first document is, and the document."""
    source = Source(location)
    if not source.is_path:
        text = documents.read_text(location)
    else:
        path = source.path
        if path.is_dir():
            names = [path / name for name in DOCUMENTS]
            path = next((name for name in names if name.is_file()), names[0])
        if not path.is_file():
            raise GeoductError(f"{location} holds no {', '.join(DOCUMENTS)} or *.SAFE folder")
        location, text = str(path.resolve()), path.read_text(encoding="utf-8", errors="replace")
    try:
        document = json.loads(text)
    except ValueError:
        kind = "HTML" if text.lstrip()[:1] == "<" else "no JSON"
        raise GeoductError(f"{shown(source.location)} is {kind}; expected a STAC catalog or API") from None
    return location, document if isinstance(document, dict) else {}


def _ask(
    landing: dict[str, Any], base: str, query: Query, collection: str, documents: Documents
) -> Iterator[pystac.Item]:
    """Search an API, by POST where it takes it.

    The landing page is at hand, so the search is made from its link; pystac-client's Client would fetch the page's
    own `root` again before it uses the link.
    """
    from pystac_client import ItemSearch

    links = [link for link in landing.get("links", []) if link.get("rel") == "search"]
    if not links:
        raise GeoductError(f"{shown(base)} is an API without a search link; expected one of STAC API - Item Search")
    link = next((link for link in links if link.get("method") == "POST"), links[0])
    items = ItemSearch(
        url=urljoin(base, link["href"]),
        method=link.get("method", "GET"),
        stac_io=documents,
        collections=[collection],
        ids=list(query.ids) if query.ids else None,
        datetime=query.interval,
        intersects=shapely.geometry.mapping(query.area.geometry) if query.area else None,
        limit=100,
    ).items()
    if (first := next(items, None)) is None:
        _refuse_unknown(landing, base, collection, documents)
    else:
        yield first
        yield from items


def _refuse_unknown(landing: dict[str, Any], base: str, collection: str, documents: Documents) -> None:
    """Tell a collection that the API does not have; an API answers a search in one with no items, not with an error."""
    link = next((link for link in landing.get("links", []) if link.get("rel") == "data"), None)
    if link is None:
        return
    href = urljoin(base, link["href"])
    try:
        documents.request(f"{href}/{collection}")
    except RemoteError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        known = [str(each["id"]) for each in json.loads(documents.request(href)).get("collections", [])]
        hint = nearest(collection, known) if known else "; it has no collections"
        raise GeoductError(f"{shown(base)} has no collection {collection!r}{hint}") from None


def _walk_all(catalog: pystac.Catalog, query: Query) -> Iterator[pystac.Item]:
    known: set[str] = set()
    extents: list[Sequence[float]] = []
    yield from _walk(catalog, query, known, extents)
    if query.collection and query.collection not in known:
        hint = nearest(query.collection, known) if known else "; it has no collections"
        raise GeoductError(f"{shown(str(catalog.get_self_href()))} has no collection {query.collection!r}{hint}")
    if query.area and extents and not _near(extents, query.area):
        raise GeoductError(f"{query.area.said} lies outside the catalog, which covers {_cover(extents)}")


def _walk(
    catalog: pystac.Catalog, query: Query, known: set[str], extents: list[Sequence[float]]
) -> Iterator[pystac.Item]:
    """Items below a catalog; a collection whose extent rules it out is not opened further."""
    if isinstance(catalog, pystac.Collection):
        known.add(catalog.id)
        extents.extend(catalog.extent.spatial.bboxes)
        if not _may_hold(catalog.extent, query):
            return
    for item in catalog.get_items():
        if query.collection in (None, item.collection_id):
            known.update({item.collection_id} if item.collection_id else ())
            yield item
    for child in catalog.get_children():
        yield from _walk(child, query, known, extents)


def _flat(box: Sequence[float]) -> tuple[float, float, float, float]:
    """West, south, east, north of a STAC bbox, which may hold heights too."""
    half = len(box) // 2
    return box[0], box[1], box[half], box[half + 1]


def _cover(boxes: Iterable[Sequence[float]]) -> str:
    west, south, east, north = zip(*(_flat(box) for box in boxes), strict=True)
    return f"{min(west):.4g} {min(south):.4g} {max(east):.4g} {max(north):.4g} (west south east north)"


def _near(boxes: Iterable[Sequence[float]], area: Area) -> bool:
    return any(shapely.box(*_flat(box)).intersects(area.geometry) for box in boxes)


def _may_hold(extent: pystac.Extent, query: Query) -> bool:
    boxes = extent.spatial.bboxes
    near = query.area is None or not boxes or _near(boxes, query.area)
    spans = [(a.date() if a else date.min, b.date() if b else date.max) for a, b in extent.temporal.intervals]
    start, end = query.start or date.min, query.end or date.max
    return near and (not spans or any(first <= end and last >= start for first, last in spans))
