"""The static STAC catalog: items as Earth Search v1 has them, with relative links to the COGs beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pystac
from rasterio.transform import Affine
from rasterio.warp import transform as reproject

from components.simulate.plan import EAST, EPSG, GRID_SQUARE, NORTH, Acquisition
from components.simulate.scene import SWATH_SHARE, SWATH_SLANT
from components.simulate.spectra import BANDS

COLLECTION = "sentinel-2-l2a"
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
SCALE = 0.0001
EXTENSIONS = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in (
        "eo/v1.1.0",
        "grid/v1.1.0",
        "mgrs/v1.0.0",
        "projection/v2.0.0",
        "raster/v1.1.0",
        "sentinel-2/v1.0.0",
        "view/v1.0.0",
    )
)
SCL_SHARES = {
    2: "s2:dark_features_percentage",
    3: "s2:cloud_shadow_percentage",
    4: "s2:vegetation_percentage",
    5: "s2:not_vegetated_percentage",
    6: "s2:water_percentage",
    7: "s2:unclassified_percentage",
    8: "s2:medium_proba_clouds_percentage",
    9: "s2:high_proba_clouds_percentage",
    10: "s2:thin_cirrus_percentage",
    11: "s2:snow_ice_percentage",
}
"""SCL code → the property that says how much of the data it covers, in percent."""


def cells(size: int, gsd: int) -> int:
    """Pixels of `gsd` metres that cover `size` pixels of 10 m."""
    return -(-size * 10 // gsd)


def grid_transform(gsd: int) -> Affine:
    """From pixel of `gsd` metres to UTM; all grids share the upper left corner."""
    return Affine(gsd, 0, EAST, 0, -gsd, NORTH)


def _footprint(size: int, swath_edge: bool) -> dict[str, Any]:
    """The data's outline in longitude and latitude, as a GeoJSON polygon."""
    corners = [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0)]
    if swath_edge:
        corners = [(SWATH_SHARE, 0.0), (0.0, SWATH_SHARE / SWATH_SLANT), *corners[1:]]
    east = [EAST + 10.0 * size * x for x, _ in corners]
    north = [NORTH - 10.0 * size * y for _, y in corners]
    longitude, latitude = reproject(f"EPSG:{EPSG}", "EPSG:4326", east, north)[:2]
    ring = [[round(lon, 6), round(lat, 6)] for lon, lat in zip(longitude, latitude, strict=True)]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def _bbox(geometry: dict[str, Any]) -> list[float]:
    ring = geometry["coordinates"][0]
    return [min(p[0] for p in ring), min(p[1] for p in ring), max(p[0] for p in ring), max(p[1] for p in ring)]


def _properties(item: Acquisition, scl: Mapping[int, int]) -> dict[str, Any]:
    seen = sum(count for code, count in scl.items() if code)
    percent = {code: 100.0 * scl.get(code, 0) / seen if seen else 0.0 for code in SCL_SHARES}
    everything = seen + scl.get(0, 0)
    return {
        "platform": item.platform,
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": round(percent[8] + percent[9] + percent[10], 6),
        "proj:code": f"EPSG:{EPSG}",
        "mgrs:utm_zone": int(GRID_SQUARE[:2]),
        "mgrs:latitude_band": GRID_SQUARE[2],
        "mgrs:grid_square": GRID_SQUARE[3:],
        "grid:code": f"MGRS-{GRID_SQUARE}",
        "view:sun_azimuth": round(item.sun_azimuth, 6),
        "view:sun_elevation": round(item.sun_elevation, 6),
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": item.baseline,
        "s2:nodata_pixel_percentage": round(100.0 * scl.get(0, 0) / everything, 6),
        **{name: round(percent[code], 6) for code, name in SCL_SHARES.items()},
        "s2:sequence": "0",
        "earthsearch:boa_offset_applied": item.offset_applied,
    }


def _asset(file: str, title: str, gsd: int, size: int, role: list[str], more: dict[str, Any]) -> pystac.Asset:
    shape = cells(size, gsd)
    place = {
        "gsd": gsd,
        "proj:shape": [shape, shape],
        "proj:transform": [int(v) for v in grid_transform(gsd)[:6]],
    }
    return pystac.Asset(f"./{file}", title=title, media_type=COG_TYPE, roles=role, extra_fields={**place, **more})


def make_item(item: Acquisition, size: int, scl: Mapping[int, int]) -> pystac.Item:
    """The STAC item of an acquisition of `size` x `size` pixels; `scl` counts the pixels of each SCL code."""
    geometry = _footprint(size, item.swath_edge)
    stac = pystac.Item(
        item.id, geometry, _bbox(geometry), item.time, _properties(item, scl), stac_extensions=list(EXTENSIONS)
    )
    for band in BANDS:
        packing = {
            "nodata": 0,
            "data_type": "uint16",
            "spatial_resolution": band.gsd,
            "scale": SCALE,
            "offset": -item.offset * SCALE if item.offset else 0,
        }
        about = {
            "name": band.name,
            "common_name": band.asset,
            "center_wavelength": band.center,
            "full_width_half_max": band.width,
        }
        more = {"eo:bands": [about], "raster:bands": [packing]}
        stac.add_asset(
            band.asset, _asset(f"{band.name}.tif", band.title, band.gsd, size, ["data", "reflectance"], more)
        )
    packing = {"nodata": 0, "data_type": "uint8", "spatial_resolution": 20}
    title = "Scene classification map (SCL)"
    stac.add_asset("scl", _asset("SCL.tif", title, 20, size, ["data"], {"raster:bands": [packing]}))
    return stac


def write_catalog(root: Path, items: Sequence[pystac.Item]) -> None:
    """Write `catalog.json`, the collection and the items below `root`, linked by relative paths."""
    boxes = np.array([item.bbox for item in items])
    box = [float(v) for v in (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))]
    times = sorted(item.datetime for item in items if item.datetime)
    extent = pystac.Extent(pystac.SpatialExtent([box]), pystac.TemporalExtent([[times[0], times[-1]]]))
    collection = pystac.Collection(
        COLLECTION,
        "Simulated surface reflectance in the form of Sentinel-2 Level-2A; no real place was seen.",
        extent,
        title="Sentinel-2 Level 2A, simulated by Geoduct",
        license="CC0-1.0",
        keywords=["simulated", "sentinel-2", "reflectance"],
    )
    collection.add_items(items)
    catalog = pystac.Catalog(
        "geoduct-sample-archive", "A sample archive that Geoduct simulates", title="Sample archive"
    )
    catalog.add_child(collection)
    # The slash keeps pystac from taking a folder with a dot in its name for a file.
    catalog.normalize_hrefs(f"{root}/")
    catalog.save(pystac.CatalogType.SELF_CONTAINED)
