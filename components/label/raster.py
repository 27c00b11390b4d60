"""Rasters as label source: window by window, first recoded to classes and only then brought onto the grid.

Recoding before resampling is what makes a majority a majority of classes (111 and 112 are one class at level 2),
and keeps a class numbered 0 apart from a raster's nodata.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
import rasterio.warp
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.windows import Window

from components.artifacts.nomenclature import IGNORE
from components.blocks import Block, blocks_of
from components.errors import GeoductError
from components.gdal import gdal_limits
from components.label.legend import Legend, Value

READ = 2048
"""Edge of the largest window of a source that is held at a time, in pixels."""

Labeller = Callable[[GeoBox], np.ndarray[Any, np.dtype[np.uint8]]]
"""Gives the class indices (y, x) of a grid, 255 where there is none."""


@dataclass(frozen=True)
class Prepared:
    """A source ready to be brought onto a grid: the labeller, the largest grid to ask it for, and what it read."""

    labeller: Labeller
    step: int
    about: dict[str, Any]
    values: Mapping[Value, int]
    """How often each value occurs in the area (pixels of a raster, features of a vector)."""
    classes: Mapping[Value, int]
    """The class index of each of those values, 255 = ignore."""


def open_raster(location: str) -> rasterio.DatasetReader | None:
    """Open a raster of one band with a CRS; None if GDAL takes the file for no raster.

    Raises:
        GeoductError: it is a raster, but has several bands or no CRS.
    """
    try:
        with gdal_limits():
            source = rasterio.open(location)
    except RasterioIOError:
        return None
    if source.count != 1 or source.crs is None:
        found = "no coordinate reference system" if source.crs is None else f"{source.count} bands"
        source.close()
        raise GeoductError(f"{location} has {found}; expected a raster of one band of classes, with its CRS")
    return source


def prepare_raster(location: str, geobox: GeoBox, legend: Legend, *, majority: bool) -> Prepared:
    """Look through the part of a raster under `geobox` and decide what its values mean.

    Raises:
        GeoductError: it does not overlap, or its values are no codes.
    """
    with gdal_limits(), rasterio.open(location) as source:
        window = _window(source, geobox, margin=0)
        if window is None:
            raise GeoductError(disjoint(location, source.bounds, source.crs, geobox))
        values = _count(source, window, location)
        if isinstance(source.nodata, float) and source.nodata in legend.index and _declared(source, window):
            raise GeoductError(
                f"{location} declares {source.nodata:g} as nodata, but the nomenclature {legend.nomenclature.name!r} "
                "maps that value to a class; take it out of one of the two"
            )
        classes, style = legend.resolve(values, location)
        finer = _finer(source, geobox)
        about = {
            "kind": "raster",
            "values": style,
            "crs": source.crs.to_string(),
            "pixel": [abs(source.transform.a), abs(source.transform.e)],
        }
    mode = Resampling.mode if majority and finer > 1 else Resampling.nearest
    labeller = _labeller(location, classes, mode, margin=2 + int(np.ceil(finer)))
    return Prepared(labeller, max(64, min(READ, int(READ / finer))), about, values, classes)


def _labeller(location: str, classes: Mapping[Value, int], mode: Resampling, margin: int) -> Labeller:
    recode = _recoder({int(v): c for v, c in classes.items()})

    def labels_of(part: GeoBox) -> np.ndarray[Any, np.dtype[np.uint8]]:
        onto = np.full(part.shape, IGNORE, "uint8")
        # A dataset is opened per call: GDAL's handles are not to be shared between threads.
        with gdal_limits(), rasterio.open(location) as source:
            window = _window(source, part, margin)
            if window is None:
                return onto
            classed = recode(*_read(source, window, location))
            rasterio.warp.reproject(
                classed,
                onto,
                src_transform=source.window_transform(window),
                src_crs=source.crs,
                dst_transform=part.transform,
                dst_crs=str(part.crs),
                resampling=mode,
                init_dest_nodata=False,
            )
        return onto

    return labels_of


def _read(source: rasterio.DatasetReader, window: Window, location: str) -> tuple[Any, Any]:
    try:
        return source.read(1, window=window), source.read_masks(1, window=window) > 0
    except RasterioError as error:
        raise GeoductError(f"{location} cannot be read: {error}; is it cut short?") from None


def _recoder(classes: Mapping[int, int]) -> Callable[[Any, Any], np.ndarray[Any, np.dtype[np.uint8]]]:
    """A function from values and their validity, both (y, x), to class indices."""
    known = np.array(sorted(classes), "int64")
    table = np.array([classes[int(v)] for v in known] + [IGNORE], "uint8")

    def recode(values: Any, valid: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
        whole = np.where(valid & np.isfinite(values), values, 0).astype("int64")
        at = np.searchsorted(known, whole)
        hit = valid & np.isfinite(values) & (np.append(known, 0)[at] == whole)
        return table[np.where(hit, at, len(known))]

    return recode


def _count(source: rasterio.DatasetReader, window: Window, location: str) -> Counter[Value]:
    """How often each value occurs among the valid pixels of a window.

    Raises:
        GeoductError: values are no whole numbers.
    """
    counts: Counter[Value] = Counter()
    broken, pixels, example = 0, 0, 0.0
    for block in blocks_of((int(window.height), int(window.width)), READ):
        values, valid = _read(source, _shift(block, window), location)
        values = values[valid & np.isfinite(values)]
        pixels += values.size
        if values.dtype.kind == "f":
            part = values != np.floor(values)
            if part.any():
                broken, example = broken + int(part.sum()), float(values[part][0])
            values = values[~part]
        numbers, times = np.unique(values, return_counts=True)
        counts.update({int(v): int(n) for v, n in zip(numbers, times, strict=True)})
    if broken:
        raise GeoductError(
            f"{location} is spoiled by interpolation: {broken:,} of {pixels:,} values in the area are no codes, "
            f"e.g. {example:.6g}; expected whole numbers, so take the original raster or resample it nearest"
        )
    return counts


def _declared(source: rasterio.DatasetReader, window: Window) -> bool:
    blocks = blocks_of((int(window.height), int(window.width)), READ)
    return any((source.read_masks(1, window=_shift(b, window)) == 0).any() for b in blocks)


def _shift(block: Block, window: Window) -> Window:
    return Window(window.col_off + block.x0, window.row_off + block.y0, block.shape[1], block.shape[0])


def _positions(source: rasterio.DatasetReader, geobox: GeoBox) -> tuple[Any, Any]:
    """Column and row in the source of 33 x 33 points spread over a grid, edges included."""
    rows, cols = (np.linspace(0, n, 33) for n in geobox.shape)
    x, y = _apply(geobox.transform, *np.meshgrid(cols, rows))
    x, y = Transformer.from_crs(str(geobox.crs), source.crs.to_wkt(), always_xy=True).transform(x, y)
    return _apply(~source.transform, np.asarray(x), np.asarray(y))


def _apply(t: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    return t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f


def _window(source: rasterio.DatasetReader, geobox: GeoBox, margin: int) -> Window | None:
    """The pixels of a source under a grid, `margin` more on each side; None if there are none."""
    cols, rows = _positions(source, geobox)
    if not (np.isfinite(cols) & np.isfinite(rows)).any():
        return None
    x0, x1 = np.floor(np.nanmin(cols)) - margin, np.ceil(np.nanmax(cols)) + margin
    y0, y1 = np.floor(np.nanmin(rows)) - margin, np.ceil(np.nanmax(rows)) + margin
    x0, x1 = max(x0, 0), min(x1, source.width)
    y0, y1 = max(y0, 0), min(y1, source.height)
    return Window(x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


def _finer(source: rasterio.DatasetReader, geobox: GeoBox) -> float:
    """How many pixels of the source lie along the edge of one pixel of the grid."""
    cols, rows = _positions(source, geobox)
    across = np.hypot(np.diff(cols, axis=1), np.diff(rows, axis=1)).sum(axis=1) / geobox.shape[1]
    down = np.hypot(np.diff(cols, axis=0), np.diff(rows, axis=0)).sum(axis=0) / geobox.shape[0]
    return float(max(np.nanmedian(across), np.nanmedian(down), 1e-6))


def disjoint(location: str, bounds: Any, crs: Any, geobox: GeoBox) -> str:
    """The sentence for a source that lies elsewhere, with both extents in degrees."""
    west, south, east, north = rasterio.warp.transform_bounds(crs, "EPSG:4326", *bounds)
    area = geobox.geographic_extent.boundingbox
    return (
        f"{location} does not overlap the composite: it covers {west:.3f} to {east:.3f}° E, {south:.3f} to "
        f"{north:.3f}° N, the composite {area.left:.3f} to {area.right:.3f}° E, {area.bottom:.3f} to {area.top:.3f}° N"
    )
