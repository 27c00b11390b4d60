"""The area asked for: boxes and GeoJSON, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.artifacts.source import Source
from components.errors import GeoductError
from components.search.area import area_of


def polygon(*ring: tuple[float, float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


TRIANGLE = polygon((-22, 64), (-21, 64), (-21, 65))


def geojson(folder: Path, document: Any) -> Source:
    (folder / "aoi.geojson").write_text(document if isinstance(document, str) else json.dumps(document))
    return Source(folder / "aoi.geojson")


@pytest.mark.parametrize(
    "document",
    [
        TRIANGLE,
        {"type": "Feature", "geometry": TRIANGLE, "properties": {}},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": TRIANGLE, "properties": {}}]},
    ],
)
def test_geojson_in_every_wrapping(tmp_path: Path, document: dict[str, Any]) -> None:
    area = area_of(None, geojson(tmp_path, document))
    assert area is not None
    assert area.bounds == (-22, 64, -21, 65)
    assert area.geometry.area == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (polygon((0, 0), (1, 1), (1, 0), (0, 1)), "is no valid polygon: Self-intersection"),
        (polygon((500000, 7100000), (501000, 7100000), (501000, 7101000)), "spans x 500000 to 501000"),
        ({"type": "FeatureCollection", "features": []}, "is empty"),
        ({"type": "Point", "coordinates": [0, 0]}, "expected a Polygon or MultiPolygon"),
        ({**TRIANGLE, "crs": {"properties": {"name": "EPSG:3035"}}}, "states the CRS EPSG:3035; expected longitude"),
        ("<kml/>", "is no GeoJSON file"),
        ({"type": "Polygon", "coordinates": [["a"]]}, "is no GeoJSON file"),
    ],
)
def test_geojson_that_is_no_area(tmp_path: Path, document: Any, complaint: str) -> None:
    with pytest.raises(GeoductError, match=complaint):
        area_of(None, geojson(tmp_path, document))


@pytest.mark.parametrize(
    ("bbox", "complaint"),
    [
        ((64.0, -22.0, 63.0, -21.0), "west is not less than east"),
        ((-22.0, 65.0, -21.0, 64.0), "south is not less than north"),
        ((459960.0, 7130000.0, 460960.0, 7140000.0), r"leaves \[-180, 180\] x \[-90, 90\]; expected west south east"),
    ],
)
def test_boxes_that_are_none(bbox: tuple[float, float, float, float], complaint: str) -> None:
    with pytest.raises(GeoductError, match=complaint):
        area_of(bbox, None)


def test_one_area_only(tmp_path: Path) -> None:
    with pytest.raises(GeoductError, match="--bbox and --aoi are both given"):
        area_of((0, 0, 1, 1), geojson(tmp_path, TRIANGLE))
