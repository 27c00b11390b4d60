"""From a STAC item to a scene: which asset is which band, which is the mask, what the offset and the grid are.

Archives name the same band differently: Earth Search v1 `blue`, v0 and Planetary Computer `B02`, the Copernicus
Data Space `B02_10m` (and the coarser `B02_20m`). Bands are known here by Sentinel-2's own names, B01 to B12.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pystac
from affine import Affine
from odc.geo.geobox import GeoBox

from components.acquire.offset import offset_of
from components.errors import GeoductError, nearest
from components.search.acquisitions import baseline_of, moment

COMMON_NAMES = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge1": "B05",
    "rededge071": "B05",
    "rededge2": "B06",
    "rededge075": "B06",
    "rededge3": "B07",
    "rededge078": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "nir09": "B09",
    "cirrus": "B10",
    "swir16": "B11",
    "swir22": "B12",
}
"""Common name → band of Sentinel-2: Earth Search's asset keys, and the names of the STAC eo extension."""

BANDS = tuple(sorted(set(COMMON_NAMES.values())))

_KEY = re.compile(r"^(?P<name>[a-z]+[a-z0-9-]*?)(?:_(?P<metres>10|20|60)m)?(?P<jp2>-jp2)?$", re.IGNORECASE)
_CLOUD_MASKS = ("clm", "cloud_mask", "cloud-mask")
_KEPT = re.compile(
    r"^(platform|constellation|grid:code|mgrs:.*|s2:(mgrs_tile|product_uri|datatake_id|generation_time)|"
    r"sat:(relative_orbit|orbit_state)|view:sun_(azimuth|elevation)|"
    r"(earthsearch|sentinel|geoduct):boa_offset_applied|processing:level)$"
)


@dataclass(frozen=True)
class Asset:
    """One raster of an item: its key, where it lies, and the grid its metadata state (None where they do not)."""

    key: str
    href: str
    grid: GeoBox | None


@dataclass(frozen=True)
class Scene:
    """What was understood of an item. `offset` is the DN to add; `record` is what a SceneCube keeps of it."""

    id: str
    bands: dict[str, Asset]
    mask: Asset | None
    offset: int
    record: dict[str, Any]


def band_name(name: str) -> str | None:
    """The Sentinel-2 name of a band given by name or common name, or None."""
    if name.upper() in BANDS:
        return name.upper()
    return COMMON_NAMES.get(name.lower())


def band_names(names: Sequence[str]) -> list[str]:
    """The Sentinel-2 names of bands that a user named.

    Raises:
        GeoductError: there are none, one is unknown, or one is named twice.
    """
    found: list[str] = []
    for name in names:
        band = band_name(name)
        if band is None:
            raise GeoductError(f"--bands: {name!r} is no band of Sentinel-2{nearest(name, [*BANDS, *COMMON_NAMES])}")
        if band in found:
            raise GeoductError(f"--bands names {band} twice")
        found.append(band)
    if not found:
        raise GeoductError("--bands is empty; expected at least one band")
    return found


def _described(asset: pystac.Asset) -> str | None:
    """The band that a single-band asset's metadata name, by name or by an unambiguous common name."""
    bands = asset.extra_fields.get("eo:bands") or asset.extra_fields.get("bands") or []
    if len(bands) != 1:
        return None
    for field in ("name", "common_name", "eo:common_name"):
        if band := band_name(str(bands[0].get(field, ""))):
            return band
    return None


def _metres(key: re.Match[str] | None, asset: pystac.Asset) -> float:
    """Ground sampling distance that the key or the metadata state; infinite where neither does."""
    if key and key["metres"]:
        return float(key["metres"])
    fields = asset.extra_fields
    raster = (fields.get("raster:bands") or [{}])[0].get("spatial_resolution")
    transform = fields.get("proj:transform")
    found = raster or fields.get("raster:spatial_resolution") or (transform and abs(transform[0])) or fields.get("gsd")
    return float(found) if found else float("inf")


def _is_picture(asset: pystac.Asset) -> bool:
    return bool({"thumbnail", "overview", "visual", "metadata"} & set(asset.roles or []))


def band_assets(item: pystac.Item) -> dict[str, str]:
    """Band → key of the asset that holds it at its finest resolution; of two alike, the COG before the JPEG 2000."""
    ranked: dict[str, tuple[tuple[Any, ...], str]] = {}
    for key, asset in item.assets.items():
        parsed = _KEY.match(key)
        by_key = band_name(parsed["name"]) if parsed else None
        band = by_key or _described(asset)
        if band is None or _is_picture(asset):
            continue
        jp2 = bool(parsed and parsed["jp2"]) or asset.href.lower().endswith(".jp2")
        rank = (_metres(parsed, asset), jp2, by_key is None, key)
        if band not in ranked or rank < ranked[band][0]:
            ranked[band] = (rank, key)
    return {band: ranked[band][1] for band in sorted(ranked)}


def mask_assets(item: pystac.Item) -> dict[str, str]:
    """Kind of mask (`scl`, `clm`) → key of the asset that holds it at its finest resolution."""
    ranked: dict[str, tuple[tuple[Any, ...], str]] = {}
    for key, asset in item.assets.items():
        parsed = _KEY.match(key)
        name = (parsed["name"] if parsed else key).lower()
        if name == "scl":
            kind = "scl"
        elif name in _CLOUD_MASKS or (name == "cloud" and "mask" in (asset.roles or [])):
            kind = "clm"  # Earth Search's own `cloud` is a probability, not a mask, and has no such role
        else:
            continue
        rank = (_metres(parsed, asset), bool(parsed and parsed["jp2"]), key)
        if kind not in ranked or rank < ranked[kind][0]:
            ranked[kind] = (rank, key)
    return {kind: key for kind, (_, key) in ranked.items()}


def choose_mask(items: Iterable[pystac.Item], wanted: str) -> str:
    """The kind of mask that every item has: `scl` before `clm` for `auto`.

    Raises:
        GeoductError: an item lacks the mask that is wanted, or all that are known.
    """
    if wanted == "none":
        return wanted
    kinds = ["scl", "clm"] if wanted == "auto" else [wanted]
    lacking: dict[str, pystac.Item] = {}
    for item in items:
        has = mask_assets(item)
        for kind in [k for k in kinds if k not in has]:
            lacking.setdefault(kind, item)
    left = [k for k in kinds if k not in lacking]
    if left:
        return left[0]
    item = lacking[kinds[0]]
    raise GeoductError(
        f"item {item.id} has no mask asset ({' or '.join(kinds)}) among {', '.join(item.assets)}; "
        "--mask none takes every valid pixel as clear"
    )


def _grid(item: pystac.Item, asset: pystac.Asset) -> GeoBox | None:
    def field(name: str) -> Any:
        return asset.extra_fields.get(name, item.properties.get(name))

    code = field("proj:code") or field("proj:epsg") or field("proj:wkt2")
    shape, transform = field("proj:shape"), field("proj:transform")
    if not (code and shape and transform) or transform[1] or transform[3]:
        return None
    height, width = shape
    return GeoBox((int(height), int(width)), Affine(*map(float, transform[:6])), code)


def understand(item: pystac.Item, bands: Sequence[str], mask: str) -> Scene:
    """Find the assets of `bands` (Sentinel-2 names) and of the `mask` (`scl`, `clm` or `none`), and the offset.

    Raises:
        GeoductError: the item lacks a band or the mask, or its offset cannot be told.
    """

    def asset(key: str) -> Asset:
        found = item.assets[key]
        return Asset(key, found.get_absolute_href() or found.href, _grid(item, found))

    has = band_assets(item)
    for band in bands:
        if band not in has:
            held = f"it has {', '.join(has)}" if has else f"its assets are {', '.join(item.assets) or 'none'}"
            raise GeoductError(f"item {item.id} has no band {band}; {held}")
    offset = offset_of(item, [item.assets[has[band]] for band in bands])
    cloud = item.properties.get("eo:cloud_cover")
    record = {
        "id": item.id,
        "datetime": moment(item).isoformat().replace("+00:00", "Z"),
        "cloud_cover": None if cloud is None else float(cloud),
        "processing_baseline": baseline_of(item),
        "offset": offset,
        "collection": item.collection_id,
        **{name: item.properties[name] for name in sorted(item.properties) if _KEPT.match(name)},
    }
    masks = mask_assets(item)
    return Scene(
        item.id,
        {band: asset(has[band]) for band in bands},
        None if mask == "none" else asset(masks[mask]),
        offset,
        record,
    )
