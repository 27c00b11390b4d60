"""The area asked for: a box or a GeoJSON polygon in longitude and latitude, checked before anything is searched."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from components.artifacts.source import Source
from components.errors import GeoductError

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Area:
    """A polygon in degrees of longitude and latitude (WGS 84), and how the user named it."""

    geometry: BaseGeometry
    said: str

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north in degrees."""
        west, south, east, north = self.geometry.bounds
        return west, south, east, north


def area_of(bbox: Bounds | None, aoi: Source | None) -> Area | None:
    """The area that `bbox` (west, south, east, north in degrees) or the GeoJSON file `aoi` describes.

    Raises:
        GeoductError: both are given, or the one given is no area in longitude and latitude.
    """
    if bbox is not None and aoi is not None:
        raise GeoductError("--bbox and --aoi are both given; expected one of them")
    if bbox is not None:
        return _from_bbox(bbox)
    return None if aoi is None else _from_geojson(aoi)


def _from_bbox(bbox: Bounds) -> Area:
    west, south, east, north = bbox
    said = f"--bbox {west:g} {south:g} {east:g} {north:g}"
    order = "expected west south east north in degrees"
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise GeoductError(f"{said} leaves [-180, 180] x [-90, 90]; {order}")
    if west >= east:
        raise GeoductError(f"{said}: west is not less than east; {order}, and not across the antimeridian")
    if south >= north:
        raise GeoductError(f"{said}: south is not less than north; {order}")
    return Area(shapely.box(west, south, east, north), said)


class _NoArea(Exception):
    """A document that is GeoJSON perhaps, but of no area."""


def _refuse_crs(document: Any, said: str) -> None:
    """Refuse a CRS other than that of GeoJSON, stated as GeoJSON of 2008 could and many programs still do."""
    match document:
        case {"crs": {"properties": {"name": str(name)}}} if not name.endswith(("CRS84", ":4326")):
            raise GeoductError(f"{said} states the CRS {name}; expected longitude and latitude (WGS 84), as of GeoJSON")


def _geometries(document: Any) -> list[Any]:
    match document:
        case {"type": "FeatureCollection", "features": list(features)}:
            return [geometry for feature in features for geometry in _geometries(feature)]
        case {"type": "Feature", "geometry": dict(geometry)}:
            return [geometry]
        case {"type": "Polygon" | "MultiPolygon", "coordinates": list()}:
            return [document]
    raise _NoArea("expected a Polygon or MultiPolygon, alone or in features")


def _from_geojson(aoi: Source) -> Area:
    said = f"--aoi {aoi.path}"
    try:
        document = json.loads(aoi.path.read_bytes())
        _refuse_crs(document, said)
        geometries = [shapely.geometry.shape(g) for g in _geometries(document)]
    except _NoArea as error:
        raise GeoductError(f"{said} holds no area; {error}") from None
    except (ValueError, TypeError, OSError, shapely.errors.ShapelyError):
        raise GeoductError(f"{said} is no GeoJSON file; expected a polygon in longitude and latitude") from None
    for geometry in geometries:
        if not geometry.is_valid:
            raise GeoductError(f"{said} is no valid polygon: {shapely.is_valid_reason(geometry)}")
    union = shapely.union_all(geometries)
    if union.is_empty or union.area == 0:
        raise GeoductError(f"{said} is empty; expected a polygon in longitude and latitude")
    west, south, east, north = union.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise GeoductError(
            f"{said} spans x {west:g} to {east:g} and y {south:g} to {north:g}; expected degrees of longitude in "
            "[-180, 180] and latitude in [-90, 90]"
        )
    return Area(union, said)
