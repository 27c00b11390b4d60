"""Cloud over the area asked for, from the scene classification at overview level: a few requests a scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pystac
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError, WindowError
from rasterio.features import geometry_mask
from rasterio.warp import transform_geom
from rasterio.windows import Window, from_bounds
from shapely.geometry import mapping, shape

from components.acquire.understand import mask_assets
from components.blocks import run_blocks
from components.errors import GeoductError
from components.remote.client import RemoteError, shown
from components.remote.earthengine import is_earth_engine
from components.remote.raster import Remote
from components.search.acquisitions import AOI_CLOUD, Acquisition
from components.search.area import Area

CLOUDS = (8, 9, 10)
"""Cloud of medium and of high probability, and cirrus (Sentinel-2 L2A product definition, scene classification)."""

EDGE = 512
"""Pixels a side that are looked at, at most: of a whole tile every eleventh of 20 m."""

AT_A_TIME = 8
"""Scenes looked at together: most of the time is waiting for answers."""


def clear_over(found: Sequence[Acquisition], area: Area, most: float, remote: Remote) -> list[Acquisition]:
    """Those acquisitions that have valid pixels in `area`, at most `most` percent of them cloud.

    What is measured is kept in the items, as `geoduct:aoi_cloud_cover`.

    Raises:
        GeoductError: an item has no scene classification, or it cannot be read.
    """
    items = [item for each in found for item in each.items]
    counts = dict(
        zip(
            [item.id for item in items],
            run_blocks(lambda item: _count(item, area, remote), items, workers=AT_A_TIME, label="cloud over the area"),
            strict=True,
        )
    )
    clear = []
    for each in found:
        cloudy, valid = (sum(counts[item.id][n] for item in each.items) for n in (0, 1))
        if not valid:
            continue
        cover = round(100 * cloudy / valid, 2)
        for item in each.items:
            item.properties[AOI_CLOUD] = cover
        if cover <= most:
            clear.append(each)
    return clear


def _count(item: pystac.Item, area: Area, remote: Remote) -> tuple[int, int]:
    """Cloudy and valid pixels of an item in the area, of those looked at."""
    key = mask_assets(item).get("scl")
    if key is None:
        raise GeoductError(
            f"item {item.id} has no scene classification (scl), which --max-cloud-aoi looks at; "
            f"it has {', '.join(item.assets) or 'no assets'}"
        )
    href = item.assets[key].get_absolute_href() or item.assets[key].href
    if is_earth_engine(href):
        raise GeoductError(f"--max-cloud-aoi cannot look at item {item.id} of Earth Engine; use --max-cloud")
    try:
        with remote.open(href) as source:
            classes = _classes(source, area)
    except RemoteError as error:
        raise GeoductError(f"item {item.id}: asset {key!r} ({shown(href)}) cannot be read: {error}") from error
    except RasterioError:
        raise GeoductError(f"item {item.id}: asset {key!r} ({shown(href)}) is no raster that can be read") from None
    return int(np.isin(classes, CLOUDS).sum()), int((classes != 0).sum())


def _classes(source: rasterio.DatasetReader, area: Area) -> np.ndarray[Any, Any]:
    """The classes of some pixels in the area, in no order; none where the raster does not reach."""
    outline = transform_geom("EPSG:4326", source.crs, mapping(area.geometry))
    wanted = from_bounds(*shape(outline).bounds, transform=source.transform)
    try:
        window = wanted.intersection(Window(0, 0, source.width, source.height))
    except WindowError:
        return np.empty(0, "uint8")
    rows, columns = window.toranges()
    window = Window.from_slices(rows, columns)
    step = max(1, -(-int(max(window.width, window.height)) // EDGE))
    height, width = (-(-int(n) // step) for n in (window.height, window.width))
    pixels = source.read(1, window=window, out_shape=(height, width), resampling=Resampling.nearest)
    corner = source.window_transform(window)
    transform = corner * corner.scale(window.width / width, window.height / height)
    outside = geometry_mask([outline], (height, width), transform, all_touched=True)
    inside: np.ndarray[Any, Any] = pixels[~outside]
    return inside
