"""From items to acquisitions: what a satellite saw in one pass, which an archive delivers as tiles and processings.

Items of one satellite within ten minutes are one acquisition. Of one tile in several processing baselines the newest is
taken; the same baseline twice is kept twice, for it may be two parts of one tile. An item that names no satellite or no
tile is an acquisition of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pystac

from components.errors import GeoductError

PASS = timedelta(minutes=10)
"""A pass over an area takes less; the same satellite comes back after 100 minutes at the earliest."""

AOI_CLOUD = "geoduct:aoi_cloud_cover"
"""Property of an item: percent of the valid pixels in the area that are cloud, over all tiles of its acquisition."""

BASELINES = ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline")
_BASELINE_IN_NAME = re.compile(r"_N(\d{2})(\d{2})_")
_NUMBER = re.compile(r"^(\d{1,2})\.(\d{2})$")
_TILE = re.compile(r"(?:^|[-_]T?)(\d{1,2}[C-X][A-Z]{2})(?:_|$)")
_ORBIT = re.compile(r"_R(\d{3})_")
_SATELLITE = re.compile(r"^(?:sentinel-?|s)(2[a-d])(?:_|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Acquisition:
    """Items of one pass, in the order in which their pixels are taken."""

    items: tuple[pystac.Item, ...]

    @property
    def moment(self) -> datetime:
        """When its first item was acquired."""
        return min(map(moment, self.items))


@dataclass(frozen=True)
class Superseded:
    """An item that is left out for a newer processing of the same acquisition of the same tile."""

    id: str
    by: str
    baseline: str
    newer: str

    @property
    def reason(self) -> str:
        """Why it is left out, in words."""
        return f"processing baseline {self.baseline} of what {self.by} has in baseline {self.newer}"


def moment(item: pystac.Item) -> datetime:
    """When an item was acquired: its datetime, else the start of its interval."""
    found = item.datetime or item.common_metadata.start_datetime
    if found is None:
        raise GeoductError(f"item {item.id} has no datetime")
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _names(item: pystac.Item) -> tuple[str, str]:
    return str(item.properties.get("s2:product_uri", "")), item.id + "_"


def baseline_of(item: pystac.Item) -> str | None:
    """Processing baseline, `"05.11"`, from a property or the product's name; None where it is not known."""
    for name in BASELINES:
        if found := _NUMBER.match(str(item.properties.get(name, ""))):
            return f"{int(found[1]):02d}.{found[2]}"
    for name in _names(item):
        if found := _BASELINE_IN_NAME.search(name):
            return f"{found[1]}.{found[2]}"
    return None


def tile_of(item: pystac.Item) -> str | None:
    """The MGRS tile, `"27WVM"`, from a property or the product's name; None where it is not known."""
    stated = (str(item.properties.get(name, "")) for name in ("s2:mgrs_tile", "grid:code"))
    found = next((match for text in (*stated, *_names(item)) if (match := _TILE.search(text))), None)
    return found[1].zfill(5) if found else None


def orbit_of(item: pystac.Item) -> int | None:
    """The relative orbit, 1 to 143, from a property or the product's name; None where it is not known."""
    stated = item.properties.get("sat:relative_orbit")
    if stated is not None:
        return int(stated)
    found = next((match for name in _names(item) if (match := _ORBIT.search(name))), None)
    return int(found[1]) if found else None


def satellite_of(item: pystac.Item) -> str | None:
    """Which Sentinel-2 it was, `"2A"`; None where it is not known."""
    stated = str(item.properties.get("platform", ""))
    found = next((match for name in (stated, *_names(item)) if (match := _SATELLITE.match(name))), None)
    return found[1].upper() if found else None


def acquisitions(items: Sequence[pystac.Item]) -> tuple[list[Acquisition], list[Superseded]]:
    """The acquisitions of `items` in order of time, and the items that are left out of them."""
    groups: list[list[pystac.Item]] = []
    passing: dict[str, list[pystac.Item]] = {}
    for item in sorted(items, key=lambda i: (moment(i), i.id)):
        satellite = satellite_of(item)
        group = passing.get(satellite) if satellite and tile_of(item) else None
        if group is not None and moment(item) - moment(group[0]) <= PASS:
            group.append(item)
            continue
        groups.append([item])
        if satellite and tile_of(item):
            passing[satellite] = groups[-1]
    found, left_out = [], []
    for group in groups:
        kept, superseded = _newest(group)
        found.append(Acquisition(kept))
        left_out += superseded
    return found, left_out


def _age(item: pystac.Item) -> tuple[str, str, str]:
    """What sorts a newer processing behind an older one."""
    properties = item.properties
    made = str(properties.get("s2:generation_time") or properties.get("created") or "")
    return baseline_of(item) or "", made, item.id


def _newest(group: Sequence[pystac.Item]) -> tuple[tuple[pystac.Item, ...], list[Superseded]]:
    """The items of the newest baseline of each tile, newest first, tile by tile; and the others."""
    tiles: dict[str | None, list[pystac.Item]] = {}
    for item in sorted(group, key=_age, reverse=True):
        tiles.setdefault(tile_of(item), []).append(item)
    kept: list[pystac.Item] = []
    left_out: list[Superseded] = []
    for tile in sorted(tiles, key=str):
        newest = tiles[tile][0]
        for item in tiles[tile]:
            old, new = baseline_of(item), baseline_of(newest)
            if old is None or new is None or old == new:
                kept.append(item)
            else:
                left_out.append(Superseded(item.id, newest.id, old, new))
    return tuple(kept), left_out
