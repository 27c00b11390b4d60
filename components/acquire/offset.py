"""The offset of Sentinel-2's digital numbers: what each item says of it, and what to believe.

Reflectance is (DN + offset) / 10000; processing baseline 04.00 brought an offset of -1000 (Sentinel-2 Products
Specification Document, BOA_ADD_OFFSET and RADIO_ADD_OFFSET). Some archives take it off before they publish, and
their metadata do not always agree with themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pystac

from components.errors import GeoductError
from components.search.acquisitions import baseline_of

OFFSET = -1000
"""DN that baseline 04.00 and later ask to be added."""
BASELINE = (4, 0)
SCALE = 1e-4
"""Reflectance of one DN (QUANTIFICATION_VALUE 10000); a SceneCube holds no other."""

BOA_OFFSET_APPLIED = "geoduct:boa_offset_applied"
"""Our own flag, for items that we make ourselves of an archive that has taken the offset off."""
APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied", BOA_OFFSET_APPLIED)


def _raster(asset: pystac.Asset) -> dict[str, Any]:
    """Scale and offset an asset declares: `raster:bands` of STAC 1.0, or `bands` and the asset itself of STAC 1.1."""
    fields = asset.extra_fields
    found: dict[str, Any] = {}
    for level in (fields, *fields.get("bands", [])[:1]):
        found.update({k: level[f"raster:{k}"] for k in ("scale", "offset") if level.get(f"raster:{k}") is not None})
    for level in fields.get("raster:bands", [])[:1]:
        found.update({k: level[k] for k in ("scale", "offset") if level.get(k) is not None})
    return found


def declared_of(item: pystac.Item, assets: Sequence[pystac.Asset]) -> int | None:
    """The offset in DN that the assets' raster metadata declare; None where they declare none.

    Raises:
        GeoductError: the scale is not 1e-4, or the assets differ.
    """
    offsets = set()
    for asset in assets:
        raster = _raster(asset)
        scale = float(raster.get("scale", SCALE))
        if abs(scale / SCALE - 1) > 1e-6:
            raise GeoductError(f"item {item.id} declares the scale {scale:g}; expected {SCALE:g}, as of Sentinel-2")
        if "offset" in raster:
            offsets.add(round(float(raster["offset"]) / scale))
    if len(offsets) > 1:
        raise GeoductError(f"item {item.id} declares different offsets for its bands: {sorted(offsets)} DN")
    return offsets.pop() if offsets else None


def offset_of(item: pystac.Item, assets: Sequence[pystac.Asset]) -> int:
    """DN to add to the pixels of `assets`: 0 or -1000.

    A flag that says the offset was taken off already is believed before all else: Earth Search goes on declaring
    -0.1 for such items, and its maintainers say that the flag is right (earth-search #9). Otherwise the declared
    offset and the baseline must agree; where only one is stated, it decides.

    Raises:
        GeoductError: two statements contradict each other, or there is none.
    """
    flag = next((bool(item.properties[name]) for name in APPLIED if item.properties.get(name) is not None), None)
    declared = declared_of(item, assets)
    baseline = baseline_of(item)
    if declared not in (None, 0, OFFSET):
        raise GeoductError(f"item {item.id} declares an offset of {declared} DN; expected 0 or {OFFSET}")
    if flag:
        return 0
    expected = None
    if baseline is not None:
        expected = OFFSET if tuple(map(int, baseline.split("."))) >= BASELINE else 0
    elif item.collection_id == "sentinel-s2-l2a-cogs":
        # Earth Search v0 states the baseline of every item made since just before 04.00 came (cirrus-earth-search #21).
        expected = 0
    if expected is None:
        if declared is None:
            raise GeoductError(
                f"item {item.id} states neither a processing baseline nor an offset, so its pixels cannot be harmonised"
            )
        return declared
    if declared is None:
        return expected
    if flag is False and expected == 0:
        # Nothing was there to take off: Earth Search declares -0.1 for some of these as well (earth-search #66).
        return 0
    if expected != declared:
        raise GeoductError(
            f"item {item.id} contradicts itself: processing baseline {baseline} means an offset of {expected} DN, "
            f"but its assets declare {declared} DN"
        )
    return declared
