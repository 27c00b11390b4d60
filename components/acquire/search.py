"""From a catalog to items: any STAC API, or a static catalog walked link by link; what both give is filtered alike.

An API is asked for collection, area and dates only. Cloud cover is filtered here, so that when nothing is left the
user learns which filter removed how many.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any
from urllib.parse import urljoin

import pystac
import shapely

from components.acquire.area import Area
from components.artifacts.source import Source
from components.errors import GeoductError, nearest
from components.progress import track

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@|\?\S*")
"""What a URL in a message may hold that nobody else should read: user, password, query."""

_CAUSE = re.compile(r"Max retries exceeded .*\(Caused by \w+\(.*?\): (.+?)[\"']?\)\)$")
"""What lies behind urllib3's account of a failed connection."""


@dataclass(frozen=True)
class Query:
    """What to look for. Days are inclusive; cloud is in percent."""

    collection: str | None = None
    area: Area | None = None
    start: date | None = None
    end: date | None = None
    max_cloud: float = 100.0
    max_scenes: int | None = None

    @classmethod
    def parse(
        cls,
        collection: str | None,
        area: Area | None,
        start: str | None,
        end: str | None,
        max_cloud: float,
        max_scenes: int | None,
    ) -> Query:
        """Read the dates, YYYY-MM-DD.

        Raises:
            GeoductError: a date is no date, or the last day lies before the first.
        """
        first, last = _day("--start", start), _day("--end", end)
        if first and last and last < first:
            raise GeoductError(f"--end {last} lies before --start {first}")
        return cls(collection, area, first, last, max_cloud, max_scenes)

    @property
    def period(self) -> str:
        """The dates in words."""
        return f"between {self.start or 'the beginning'} and {self.end or 'today'}"

    @property
    def interval(self) -> str | None:
        """The dates as an API takes them, or None for all."""
        if self.start is None and self.end is None:
            return None
        first = f"{self.start}T00:00:00Z" if self.start else ".."
        return f"{first}/{self.end}T23:59:59.999999Z" if self.end else f"{first}/.."

    def covers(self, moment: datetime) -> bool:
        """Whether an instant lies on one of the days."""
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        after = self.start is None or moment >= datetime.combine(self.start, time.min, UTC)
        return after and (self.end is None or moment <= datetime.combine(self.end, time.max, UTC))


def shown(text: str) -> str:
    """A place or a message without the credentials that URLs in it may hold."""
    return _CREDENTIALS.sub("", text)


def _day(flag: str, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise GeoductError(f"{flag} is {text!r}; expected a day as YYYY-MM-DD") from None


def search(location: str, query: Query) -> list[pystac.Item]:
    """Items of the catalog at `location` (URL, file or folder) that match, in order of time.

    Raises:
        GeoductError: the catalog cannot be read, the collection is unknown or must be named, or nothing matches.
    """
    try:
        return select(list(track(_candidates(location, query), label="search")), query, shown(location))
    except GeoductError:
        raise
    except Exception as error:
        if not _is_reading_error(error):
            raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if cause := _CAUSE.search(reason):
            reason = f"no connection: {cause[1]}"
        raise GeoductError(f"{shown(location)} cannot be read as a STAC catalog: {shown(reason)}") from error


def _is_reading_error(error: Exception) -> bool:
    """Whether the catalog, not Geoduct, is to blame: pystac raises whatever a malformed document leads it to."""
    import pystac_client.exceptions
    import requests

    malformed = (ValueError, KeyError, TypeError, AttributeError, pystac.STACError, pystac.STACTypeError)
    answers = (OSError, requests.RequestException, pystac_client.exceptions.APIError)
    return isinstance(error, (*malformed, *answers)) or type(error) is Exception


def _candidates(location: str, query: Query) -> Iterator[pystac.Item]:
    href, document = _document(location)
    match document:
        case {"type": "FeatureCollection"}:
            yield from pystac.ItemCollection.from_dict(document).items
        case {"type": "Feature"}:
            yield pystac.Item.from_file(href)
        case {"conformsTo": list()}:
            if query.collection is None:
                raise GeoductError(f"{shown(location)} is an API; name the --collection to search")
            yield from _ask(document, href, query, query.collection)
        case {"type": "Catalog" | "Collection"} | {"stac_version": _, "links": _}:
            yield from _walk_all(pystac.Catalog.from_file(href), query)
        case _:
            raise GeoductError(f"{shown(location)} is JSON, but no STAC catalog, collection, item or API landing page")


def _document(location: str) -> tuple[str, dict[str, Any]]:
    """Where the catalog's first document is, and the document."""
    from pystac_client.stac_api_io import StacApiIO

    source = Source(location)
    if not source.is_path:
        text = StacApiIO().read_text(location)
    else:
        path = source.path
        if path.is_dir():
            names = [path / "catalog.json", path / "collection.json"]
            path = next((name for name in names if name.is_file()), names[0])
        if not path.is_file():
            raise GeoductError(f"{location} holds no catalog.json or collection.json")
        location, text = str(path.resolve()), path.read_text(errors="replace")
    try:
        document = json.loads(text)
    except ValueError:
        kind = "HTML" if text.lstrip()[:1] == "<" else "no JSON"
        raise GeoductError(f"{shown(source.location)} is {kind}; expected a STAC catalog or API") from None
    return location, document if isinstance(document, dict) else {}


def _ask(landing: dict[str, Any], base: str, query: Query, collection: str) -> Iterator[pystac.Item]:
    """Search an API, by POST where it takes it.

    The landing page is at hand, so the search is made from its link; pystac-client's Client would fetch the page's
    own `root` again before it uses the link.
    """
    from pystac_client import ItemSearch

    links = [link for link in landing.get("links", []) if link.get("rel") == "search"]
    if not links:
        raise GeoductError(f"{shown(base)} is an API without a search link; expected one of STAC API - Item Search")
    link = next((link for link in links if link.get("method") == "POST"), links[0])
    yield from ItemSearch(
        url=urljoin(base, link["href"]),
        method=link.get("method", "GET"),
        collections=[collection],
        datetime=query.interval,
        intersects=shapely.geometry.mapping(query.area.geometry) if query.area else None,
        limit=100,
    ).items()


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


def _meets(item: pystac.Item, area: Area) -> bool:
    if item.geometry is None:
        raise GeoductError(f"item {item.id} has no geometry; expected its footprint")
    footprint = shapely.geometry.shape(item.geometry)
    if not footprint.is_valid:
        footprint = shapely.make_valid(footprint)
    return bool(footprint.intersects(area.geometry) and not footprint.touches(area.geometry))


def moment(item: pystac.Item) -> datetime:
    """When an item was acquired: its datetime, else the start of its interval."""
    found = item.datetime or item.common_metadata.start_datetime
    if found is None:
        raise GeoductError(f"item {item.id} has no datetime")
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def select(items: Sequence[pystac.Item], query: Query, where: str) -> list[pystac.Item]:
    """Filter by area, days and cloud, in that order, and spread over time; `where` names the catalog.

    Raises:
        GeoductError: nothing is left (says what each filter left), or items of several collections are.
    """
    near = [i for i in items if query.area is None or _meets(i, query.area)]
    on_time = [i for i in near if query.covers(moment(i))]
    clear = [i for i in on_time if query.max_cloud >= 100 or _cloud(i) <= query.max_cloud]
    if not clear:
        steps = [f"{len(items)} items found"]
        if query.area:
            steps.append(f"{len(near)} in {query.area.said}")
        if query.interval:
            steps.append(f"{len(on_time)} {query.period}")
        if query.max_cloud < 100:
            steps.append(f"{len(clear)} with at most {query.max_cloud:g} % cloud")
        raise GeoductError(f"no item of {where} matches: {', '.join(steps)}")
    collections = sorted({str(i.collection_id) for i in clear})
    if len(collections) > 1:
        raise GeoductError(
            f"items of {len(collections)} collections of {where} match; choose one with --collection: "
            + ", ".join(collections)
        )
    clear.sort(key=lambda i: (moment(i), i.id))
    return spread(clear, query.max_scenes)


def _cloud(item: pystac.Item) -> float:
    found = item.properties.get("eo:cloud_cover")
    return float("inf") if found is None else float(found)


def spread(items: Sequence[pystac.Item], count: int | None) -> list[pystac.Item]:
    """Choose `count` of `items` (in order of time): those nearest to instants evenly spaced from first to last.

    A single one is the nearest to the middle. An item is taken once; of two equally near, the earlier is.
    """
    if count is None or count >= len(items):
        return list(items)
    times = [moment(i).timestamp() for i in items]
    span = times[-1] - times[0]
    left = list(range(len(items)))
    chosen = []
    for n in range(count):
        target = times[0] + span * (n / (count - 1) if count > 1 else 0.5)
        best = min(left, key=lambda index: abs(times[index] - target))
        left.remove(best)
        chosen.append(best)
    return [items[index] for index in sorted(chosen)]
