"""Tiny static STAC catalogs whose every pixel is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds
from shapely.geometry import box, mapping

EAST, NORTH, EPSG = 500_000, 7_100_000, 32627


@dataclass
class Shot:
    """An item to be written: DN a band (y, x), named as the assets are to be; the first one is the finest."""

    id: str
    day: str
    pixels: dict[str, np.ndarray[Any, Any]]
    properties: dict[str, Any] = field(default_factory=dict)
    declared: float | None = 0.0
    """`raster:bands` offset in reflectance, or None to leave it out."""
    east: float = EAST
    north: float = NORTH
    epsg: int = EPSG
    metres: float = 10.0
    collection: str = "made-up-l2a"


def dn(shape: tuple[int, int], seed: int = 0, low: int = 1, high: int = 4000) -> np.ndarray[Any, Any]:
    """Random digital numbers, uint16."""
    return np.random.default_rng(seed).integers(low, high, shape).astype("uint16")


def write_raster(path: Path, pixels: np.ndarray[Any, Any], shot: Shot, metres: float) -> None:
    """Write a band as a tiled, deflated GeoTIFF."""
    height, width = pixels.shape
    options = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    transform = from_origin(shot.east, shot.north, metres, metres)
    kind = {"dtype": pixels.dtype.name, "crs": f"EPSG:{shot.epsg}", "transform": transform, "nodata": 0}
    with rasterio.open(path, "w", "GTiff", width, height, 1, **kind, **options) as file:
        file.write(pixels, 1)


def _item(folder: Path, shot: Shot) -> pystac.Item:
    finest = next(iter(shot.pixels.values()))
    height, width = finest.shape
    bounds = shot.east, shot.north - height * shot.metres, shot.east + width * shot.metres, shot.north
    outline = box(*transform_bounds(f"EPSG:{shot.epsg}", "EPSG:4326", *bounds))
    when = datetime.fromisoformat(shot.day).replace(tzinfo=UTC)
    properties = {"proj:code": f"EPSG:{shot.epsg}", **shot.properties}
    item = pystac.Item(shot.id, mapping(outline), list(outline.bounds), when, properties)
    for name, pixels in shot.pixels.items():
        metres = shot.metres * (width / pixels.shape[1])
        write_raster(folder / f"{shot.id}_{name}.tif", pixels, shot, metres)
        fields: dict[str, Any] = {
            "proj:shape": list(pixels.shape),
            "proj:transform": list(from_origin(shot.east, shot.north, metres, metres))[:6],
        }
        if pixels.dtype == np.uint16 and shot.declared is not None:
            fields["raster:bands"] = [{"scale": 1e-4, "offset": shot.declared}]
        # relative to where normalize_hrefs puts the item, so that the catalog can be served from anywhere
        item.add_asset(name, pystac.Asset(f"../../{shot.id}_{name}.tif", extra_fields=fields))
    return item


def write_catalog(folder: Path, shots: Sequence[Shot]) -> Path:
    """Write rasters and a catalog of one collection for each name the shots use; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    catalog = pystac.Catalog("made-up", "pixels that a test knows")
    for name in dict.fromkeys(shot.collection for shot in shots):
        items = [_item(folder, shot) for shot in shots if shot.collection == name]
        collection = pystac.Collection(name, "of a test", pystac.Extent.from_items(items))
        collection.add_items(items)
        catalog.add_child(collection)
    catalog.normalize_hrefs(str(folder))
    catalog.save(pystac.CatalogType.SELF_CONTAINED)
    return folder
