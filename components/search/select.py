"""From what a catalog holds to what is taken: one filter after the other, then acquisitions, spread over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pystac
import shapely

from components.errors import GeoductError
from components.remote.client import Client
from components.search.acquisitions import (
    AOI_CLOUD,
    Acquisition,
    Superseded,
    acquisitions,
    baseline_of,
    moment,
    orbit_of,
    tile_of,
)
from components.search.area import Area
from components.search.query import Query


@dataclass(frozen=True)
class Found:
    """What a search found, in order of time, and the older processings that it leaves out."""

    acquisitions: tuple[Acquisition, ...]
    superseded: tuple[Superseded, ...]

    @property
    def items(self) -> list[pystac.Item]:
        """All items, acquisition by acquisition."""
        return [item for each in self.acquisitions for item in each.items]


def _meets(item: pystac.Item, area: Area) -> bool:
    if item.geometry is None:
        raise GeoductError(f"item {item.id} has no geometry; expected its footprint")
    footprint = shapely.geometry.shape(item.geometry)
    if not footprint.is_valid:
        footprint = shapely.make_valid(footprint)
    return bool(footprint.intersects(area.geometry) and not footprint.touches(area.geometry))


def select(items: Sequence[pystac.Item], query: Query, where: str) -> Found:
    """Filter, and put what belongs together into acquisitions; `where` names the catalog.

    Raises:
        GeoductError: nothing is left (says what each filter left), one of the ids is not, or items of several
            collections are.
    """
    left = [i for i in items if query.collection in (None, i.collection_id)]
    steps = [f"{len(left)} items found" + (f" in collection {query.collection!r}" if query.collection else "")]
    for said, keeps in _filters(query):
        left = [i for i in left if keeps(i)]
        steps.append(f"{len(left)} {said}")
    if not left:
        raise GeoductError(f"no item of {where} matches: {', '.join(steps)}")
    if absent := sorted(set(query.ids or ()) - {i.id for i in left}):
        raise GeoductError(f"--ids names {absent[0]!r}, but {where} has no such item that matches: {', '.join(steps)}")
    collections = sorted({str(i.collection_id) for i in left})
    if len(collections) > 1:
        raise GeoductError(
            f"items of {len(collections)} collections of {where} match; choose one with --collection: "
            + ", ".join(collections)
        )
    found, superseded = acquisitions(left)
    return Found(tuple(found), tuple(superseded))


def choose(found: Found, query: Query, where: str, client: Client) -> Found:
    """Of acquisitions that match, those that are clear over the area, one a day if asked for, spread over time.

    Raises:
        GeoductError: none is clear over the area, or that cannot be told.
    """
    left: Sequence[Acquisition] = found.acquisitions
    if query.max_cloud_aoi < 100 and query.area is not None:
        from components.remote.raster import Remote
        from components.search.cloud import clear_over

        left = clear_over(left, query.area, query.max_cloud_aoi, Remote(client))
        if not left:
            raise GeoductError(
                f"no item of {where} matches: {len(found.acquisitions)} acquisitions, 0 with at most "
                f"{query.max_cloud_aoi:g} % cloud over {query.area.said}"
            )
    if query.one_per_day:
        left = _clearest_of_days(left)
    return Found(tuple(spread(left, query.max_scenes)), found.superseded)


def _filters(query: Query) -> Iterator[tuple[str, Callable[[pystac.Item], bool]]]:
    """What the query asks for, filter by filter: in words, and as a test of an item."""
    ids, area, most = query.ids, query.area, query.max_cloud
    tiles, orbits, oldest = query.tiles, query.orbits, query.min_baseline
    if ids is not None:
        yield f"of the {len(ids)} in --ids", lambda item: item.id in ids
    if area is not None:
        yield f"in {area.said}", lambda item: _meets(item, area)
    if query.interval:
        yield query.period, lambda item: query.covers(moment(item))
    if tiles is not None:
        yield f"of the tiles {', '.join(tiles)}", lambda item: tile_of(item) in tiles
    if orbits is not None:
        yield f"of the relative orbits {', '.join(map(str, orbits))}", lambda item: orbit_of(item) in orbits
    if oldest is not None:
        yield f"of processing baseline {oldest} or later", lambda item: (baseline_of(item) or "") >= oldest
    if most < 100:
        yield f"with at most {most:g} % cloud", lambda item: cloud_cover(item) <= most


def cloud_cover(item: pystac.Item) -> float:
    """Cloud over the whole item in percent; infinite where it does not say."""
    found = item.properties.get("eo:cloud_cover")
    return float("inf") if found is None else float(found)


def _clearest_of_days(found: Sequence[Acquisition]) -> list[Acquisition]:
    """Of each day (UTC) the acquisition with the least cloud, the earlier of two alike."""
    days: dict[object, Acquisition] = {}
    for each in found:
        best = days.setdefault(each.moment.date(), each)
        if _cloud(each) < _cloud(best):
            days[each.moment.date()] = each
    return list(days.values())


def _cloud(acquisition: Acquisition) -> float:
    """Percent of cloud over the area where it was measured, else over the items."""
    measured = acquisition.items[0].properties.get(AOI_CLOUD)
    return sum(map(cloud_cover, acquisition.items)) / len(acquisition.items) if measured is None else float(measured)


def spread(found: Sequence[Acquisition], count: int | None) -> list[Acquisition]:
    """Choose `count` of `found` (in order of time): those nearest to instants evenly spaced from first to last.

    A single one is the nearest to the middle. An acquisition is taken once; of two equally near, the earlier is.
    """
    if count is None or count >= len(found):
        return list(found)
    times = [each.moment.timestamp() for each in found]
    span = times[-1] - times[0]
    left = list(range(len(found)))
    chosen = []
    for n in range(count):
        target = times[0] + span * (n / (count - 1) if count > 1 else 0.5)
        best = min(left, key=lambda index: abs(times[index] - target))
        left.remove(best)
        chosen.append(best)
    return [found[index] for index in sorted(chosen)]
