"""Images of Google Earth Engine as STAC items, so that all that chooses, lists and reads scenes takes them alike.

Names and units of the properties are those of Earth Engine's catalogue page of COPERNICUS/S2_SR_HARMONIZED.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import pystac
import shapely
from shapely.geometry import mapping, shape

from components.acquire.offset import BOA_OFFSET_APPLIED
from components.errors import GeoductError, nearest
from components.remote.client import RemoteError
from components.remote.earthengine import EarthEngine, href_of
from components.search.area import Area
from components.search.query import Query

CATALOG = "gee"
"""The name of Earth Engine as a catalog."""

COLLECTIONS = ("COPERNICUS/S2_SR_HARMONIZED", "COPERNICUS/S2_HARMONIZED")
"""Sentinel-2 at surface and at top of atmosphere, both with the offset of baseline 04.00 taken off. The first is read
if none is named."""

_BAND = re.compile(r"^B(\d{1,2})(A?)$")


def images(query: Query, engine: EarthEngine) -> Iterator[pystac.Item]:
    """Items that may match: of the collection, near the area, on the days; or those of `ids`.

    Raises:
        GeoductError: the collection is none of Sentinel-2, neither area nor ids say where to look, or Earth Engine
            cannot be asked.
    """
    collection = query.collection or COLLECTIONS[0]
    if collection not in COLLECTIONS:
        raise GeoductError(
            f"Earth Engine's collection {collection!r} is none that Geoduct reads{nearest(collection, COLLECTIONS)}"
        )
    if query.area is None and query.ids is None:
        raise GeoductError("Earth Engine holds the whole archive; say where to look with --bbox, --aoi or --ids")
    try:
        for document in _described(query, collection, engine):
            yield item_of(document, collection)
    except RemoteError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            raise GeoductError(f"Earth Engine has no collection {collection!r} for these credentials") from error
        raise GeoductError(f"Earth Engine cannot be searched: {error}") from error


def _described(query: Query, collection: str, engine: EarthEngine) -> Iterator[dict[str, Any]]:
    if query.ids is None:
        yield from engine.images(collection, filter_of(query))
        return
    for id in query.ids:
        try:
            yield engine.image(f"{collection}/{id}")
        except RemoteError as error:
            # what is lacking is told with what was found, as of every catalog
            if error.status != HTTPStatus.NOT_FOUND:
                raise


def filter_of(query: Query) -> str:
    """Days and area in the language of `listAssets`; cloud is filtered here, as of every catalog."""
    parts = []
    if query.start is not None:
        parts.append(f'startTime >= "{query.start}T00:00:00Z"')
    if query.end is not None:
        parts.append(f'startTime < "{query.end + timedelta(days=1)}T00:00:00Z"')
    if query.area is not None and (outline := _outline(query.area)):
        parts.append(f'intersects("{outline}")')
    return " AND ".join(parts)


def _outline(area: Area) -> str | None:
    """A box around the area as Earth Engine quotes GeoJSON in a filter, or None where it is no help.

    Edges may be followed on the sphere there: points between the corners, and a margin, keep the area inside.
    """
    west, south, east, north = area.bounds
    width = max(east - west, north - south)
    if width >= 90:
        return None
    margin = width / 100
    box = shapely.box(
        max(west - margin, -180), max(south - margin, -90), min(east + margin, 180), min(north + margin, 90)
    )
    ring = shapely.segmentize(box, width / 8).exterior.coords
    points = ",".join(f"[{x:.5f},{y:.5f}]" for x, y in ring)
    return f"{{'type':'Polygon','coordinates':[[{points}]]}}"


def item_of(document: Mapping[str, Any], collection: str) -> pystac.Item:
    """The item for an EarthEngineAsset of Sentinel-2.

    Raises:
        GeoductError: it is not described as is published.
    """
    name = str(document.get("name", "")).partition("/assets/")[2]
    try:
        footprint = _footprint(document.get("geometry"))
        item = pystac.Item(
            id=name.rpartition("/")[2],
            geometry=None if footprint is None else mapping(footprint),
            bbox=None if footprint is None else list(footprint.bounds),
            datetime=datetime.fromisoformat(document["startTime"]),
            properties=_properties(document.get("properties", {})),
            collection=collection,
        )
        for band in document["bands"]:
            if key := _key(band["id"]):
                item.add_asset(key, _asset(name, band))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GeoductError(
            f"Earth Engine describes the image {name or 'without a name'} otherwise than published: "
            f"{type(error).__name__} {error}"
        ) from None
    return item


def _footprint(geometry: Mapping[str, Any] | None) -> Any:
    if geometry is None:
        return None
    if geometry["type"] == "LinearRing":  # as the outlines of Sentinel-2 are in Earth Engine
        geometry = {"type": "Polygon", "coordinates": [geometry["coordinates"]]}
    return shape(geometry)


def _key(band: str) -> str | None:
    """The key of an asset for one of Earth Engine's bands: `B02` for `B2`; None for those not read."""
    if found := _BAND.match(band):
        return f"B{found[1] + found[2]:0>2}"
    return "scl" if band == "SCL" else None


def _asset(image: str, band: Mapping[str, Any]) -> pystac.Asset:
    grid = band["grid"]
    size, t = grid["dimensions"], grid["affineTransform"]
    # zeros are left out of JSON by Google's services
    transform = [t.get(n, 0) for n in ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")]
    crs = {"proj:code": grid["crsCode"]} if "crsCode" in grid else {"proj:wkt2": grid["crsWkt"]}
    fields = {"proj:shape": [size["height"], size["width"]], "proj:transform": transform, **crs}
    return pystac.Asset(href_of(image, band["id"]), roles=["data"], extra_fields=fields)


def _properties(given: Mapping[str, Any]) -> dict[str, Any]:
    """Properties by the names that STAC has for them; what an image does not say is left out."""
    made, zenith, orbit = (given.get(n) for n in ("GENERATION_TIME", "MEAN_SOLAR_ZENITH_ANGLE", "SENSING_ORBIT_NUMBER"))
    direction, platform = given.get("SENSING_ORBIT_DIRECTION"), given.get("SPACECRAFT_NAME")
    found = {
        "platform": None if platform is None else str(platform).lower(),
        "eo:cloud_cover": given.get("CLOUDY_PIXEL_PERCENTAGE"),
        "s2:mgrs_tile": given.get("MGRS_TILE"),
        "s2:product_uri": given.get("PRODUCT_ID"),
        "s2:processing_baseline": given.get("PROCESSING_BASELINE"),
        "s2:datatake_id": given.get("DATATAKE_IDENTIFIER"),
        "s2:generation_time": None if made is None else datetime.fromtimestamp(made / 1000, UTC).isoformat(),
        "sat:relative_orbit": None if orbit is None else int(orbit),
        "sat:orbit_state": None if direction is None else str(direction).lower(),
        "view:sun_azimuth": given.get("MEAN_SOLAR_AZIMUTH_ANGLE"),
        "view:sun_elevation": None if zenith is None else 90 - zenith,
        BOA_OFFSET_APPLIED: True,
    }
    return {name: value for name, value in found.items() if value is not None}
