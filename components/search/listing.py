"""What a search found, told to a person: a short table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pystac

from components.search.acquisitions import AOI_CLOUD, moment
from components.search.select import cloud_cover

MOST = 20
"""Rows of the table. Of more scenes the first and the last are shown."""


def table(items: Sequence[pystac.Item]) -> str:
    """One line a scene, in the order given: time in UTC, cloud cover, id; above them how many there are."""
    rows = [_row(item) for item in items]
    if len(rows) > MOST:
        rows = [*rows[: MOST // 2], f"  … {len(rows) - MOST} more …", *rows[-(MOST // 2) :]]
    scenes = "1 scene" if len(items) == 1 else f"{len(items)} scenes"
    return "\n".join([f"{scenes} of {items[0].collection_id or 'no collection'}", *rows])


def _row(item: pystac.Item) -> str:
    cloud = cloud_cover(item)
    shown = "cloud ?" if math.isinf(cloud) else f"cloud {cloud:.0f} %"
    aoi = item.properties.get(AOI_CLOUD)
    there = "" if aoi is None else f"there {aoi:.0f} %".ljust(13)
    return f"  {moment(item):%Y-%m-%d %H:%M}  {shown:<11}  {there}{item.id}"
