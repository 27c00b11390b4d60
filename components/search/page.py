"""The page to review a list of scenes: where they lie, when, and how cloudy. It needs no other file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pystac
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from components.pages import render
from components.search.acquisitions import AOI_CLOUD, baseline_of, moment, orbit_of, tile_of
from components.search.area import Area

TEMPLATE = Path(__file__).parent / "templates" / "index.html.j2"

WIDTH, HEIGHT = 1000.0, 560.0
"""Of the map, in its own units."""
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 45.0)
"""Degrees between two lines of the grid, the first that leaves at most eight of them."""


class _Frame:
    """From degrees to the map's units: plate carrée, true to scale in the middle."""

    def __init__(self, shapes: Sequence[BaseGeometry]) -> None:
        boxes = [s.bounds for s in shapes]
        west, south = min(b[0] for b in boxes), min(b[1] for b in boxes)
        east, north = max(b[2] for b in boxes), max(b[3] for b in boxes)
        middle = (west + east) / 2, (south + north) / 2
        squeeze = max(math.cos(math.radians(middle[1])), 0.1)
        room = 1.15  # for a margin, where the labels are
        self.y_scale: float = min(
            WIDTH / (room * squeeze * max(east - west, 1e-3)), HEIGHT / (room * max(north - south, 1e-3))
        )
        self.x_scale: float = self.y_scale * squeeze
        wide, tall = WIDTH / self.x_scale, HEIGHT / self.y_scale
        self.west, self.east = middle[0] - wide / 2, middle[0] + wide / 2
        self.south, self.north = middle[1] - tall / 2, middle[1] + tall / 2
        self.width, self.height = WIDTH, HEIGHT

    def x(self, longitude: float) -> float:
        return round(float(longitude - self.west) * self.x_scale, 1)

    def y(self, latitude: float) -> float:
        return round(float(self.north - latitude) * self.y_scale, 1)

    def path(self, geometry: BaseGeometry) -> str:
        """An SVG path of all rings."""
        polygons = getattr(geometry, "geoms", [geometry])
        rings = [ring for polygon in polygons for ring in (polygon.exterior, *polygon.interiors)]
        points = [" ".join(f"{self.x(p[0])},{self.y(p[1])}" for p in ring.coords[:-1]) for ring in rings]
        return " ".join(f"M{text}Z" for text in points)

    def grid(self) -> tuple[list[tuple[float, str]], list[tuple[float, str]]]:
        """Meridians and parallels within the frame: place and label."""
        span = self.east - self.west
        step = next((s for s in STEPS if span / s <= 8), STEPS[-1])
        digits = max(0, math.ceil(-math.log10(step)))

        def lines(low: float, high: float) -> list[float]:
            return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]

        meridians = [(self.x(v), f"{abs(v):.{digits}f}° {'E' if v >= 0 else 'W'}") for v in lines(self.west, self.east)]
        parallels = [
            (self.y(v), f"{abs(v):.{digits}f}° {'N' if v >= 0 else 'S'}") for v in lines(self.south, self.north)
        ]
        return meridians, parallels


def page(items: Sequence[pystac.Item], area: Area | None) -> str:
    """The page as HTML."""
    outlines = [shape(item.geometry) if item.geometry else None for item in items]
    shapes = [outline for outline in outlines if outline is not None] + ([area.geometry] if area else [])
    frame = _Frame(shapes) if shapes else None
    meridians, parallels = frame.grid() if frame else ([], [])
    return render(
        TEMPLATE,
        collection=items[0].collection_id or "no collection",
        rows=[_row(item) for item in items],
        with_aoi=any(AOI_CLOUD in item.properties for item in items),
        frame=frame,
        meridians=meridians,
        parallels=parallels,
        footprints=[(frame.path(o), i.id) for o, i in zip(outlines, items, strict=True) if frame and o is not None],
        area=frame.path(area.geometry) if frame and area else None,
    )


def _row(item: pystac.Item) -> dict[str, str]:
    def percent(name: str) -> str:
        found = item.properties.get(name)
        return "–" if found is None else f"{float(found):.1f}"

    return {
        "id": item.id,
        "time": f"{moment(item):%Y-%m-%d %H:%M}",
        "tile": tile_of(item) or "–",
        "orbit": str(orbit_of(item) or "–"),
        "baseline": baseline_of(item) or "–",
        "cloud": percent("eo:cloud_cover"),
        "aoi": percent(AOI_CLOUD),
    }
