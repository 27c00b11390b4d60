"""From scenes to the one grid they are read onto: on the items' own pixels where CRS and resolution allow it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from components.acquire.understand import Scene
from components.errors import GeoductError
from components.search.area import Area

SLACK = 1e-6
"""How far, in pixels, an edge may lie beyond a grid line by rounding before another pixel is taken in."""


def _grids(scene: Scene) -> list[GeoBox]:
    """The grids of a scene's bands, finest first."""
    grids = [asset.grid for asset in scene.bands.values() if asset.grid is not None]
    return sorted(grids, key=lambda grid: abs(grid.transform.a))


def _crs(text: str) -> CRS:
    try:
        return CRS(text)
    except Exception:  # pyproj and odc-geo raise several kinds for text that names no CRS
        raise GeoductError(f"--crs is {text!r}; expected a coordinate reference system, such as EPSG:32627") from None


def _covered(grid: GeoBox, crs: CRS) -> Geometry:
    """What a grid covers, in another CRS; edges are followed, not only corners."""
    extent = grid.extent
    if grid.crs == crs:
        return extent
    return extent.to_crs(crs, resolution=max(abs(grid.transform.a) * max(grid.shape) / 100, 1e-9))


def grid_of(scenes: Sequence[Scene], area: Area | None, resolution: float | None, crs: str | None) -> GeoBox:
    """The grid for `area`, or for all that the scenes cover; never more than they cover.

    The CRS is that of most scenes unless named. Pixel edges lie on those of the finest band of the first scene in
    that CRS, also where the resolution (metres, or the unit of the CRS) is another; `None` takes that band's own
    pixels, square or not.

    Raises:
        GeoductError: the area and the scenes have no pixel in common, or the CRS is none.
    """
    grids = [_grids(scene) for scene in scenes]
    counted = Counter(str(finest[0].crs) for finest in grids)
    target = _crs(crs) if crs else CRS(counted.most_common(1)[0][0])
    native = next((finest[0] for finest in grids if finest[0].crs == target), None)
    if resolution is not None:
        pixel = resolution, -resolution
    elif native is not None:
        pixel = native.transform.a, native.transform.e
    else:
        raise GeoductError(f"--resolution none keeps the native grid, but no item is in {target}; name a resolution")
    origin = (native.transform.c, native.transform.f) if native else (0.0, 0.0)
    # the coarser bands of a scene may reach beyond its finest one by a part of their own pixel
    boxes = [_covered(finest[0], target).boundingbox.bbox for finest in grids]
    west, south, east, north = (f(v) for f, v in zip((min, min, max, max), zip(*boxes, strict=True), strict=True))
    if area:
        wanted = Geometry(area.geometry, "EPSG:4326").to_crs(target, resolution=0.01).boundingbox.bbox
        west, south = max(west, wanted[0]), max(south, wanted[1])
        east, north = min(east, wanted[2]), min(north, wanted[3])
        if west >= east or south >= north:
            raise GeoductError(f"{area.said} has no pixel in common with the {len(scenes)} items found")
    left = int(np.floor((west - origin[0]) / pixel[0] + SLACK))
    right = int(np.ceil((east - origin[0]) / pixel[0] - SLACK))
    top = int(np.floor((north - origin[1]) / pixel[1] + SLACK))
    bottom = int(np.ceil((south - origin[1]) / pixel[1] - SLACK))
    transform = Affine(pixel[0], 0, origin[0] + left * pixel[0], 0, pixel[1], origin[1] + top * pixel[1])
    return GeoBox((bottom - top, right - left), transform, target)
