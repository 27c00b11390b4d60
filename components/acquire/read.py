"""From an asset to pixels on a grid: only the window asked for is read, and harmonised.

Where an asset's pixels lie on the grid, or are a whole multiple of the grid's, they are read and repeated and nothing
is resampled. Everything else (other CRS, other resolution, interpolation) goes through odc-loader; Earth Engine does
it itself. A pixel that cannot be read is an error, never nodata.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.windows import Window

from components.acquire.understand import Asset, Scene
from components.errors import GeoductError
from components.remote.client import RemoteError, shown
from components.remote.earthengine import is_earth_engine
from components.remote.raster import Remote


@contextmanager
def _opened(scene: Scene, asset: Asset, remote: Remote) -> Iterator[rasterio.DatasetReader]:
    """Open an asset and say in one sentence what is wrong with it."""
    where = _where(scene, asset)
    opened = False
    try:
        with remote.open(asset.href) as source:
            opened = True
            kind = source.dtypes[0] if source.count == 1 else f"{source.count} bands"
            if kind not in ("uint8", "uint16", "int16"):
                raise GeoductError(f"{where} holds {kind}; expected one band of digital numbers, uint16")
            if source.crs is None:
                raise GeoductError(f"{where} has no coordinate reference system")
            yield source
    except RemoteError as error:
        raise GeoductError(f"{where} cannot be read: {error}") from error
    except RasterioError as error:
        # No OSError as the cause: it is the file, so that a later run with the same input will do no better.
        if opened:
            raise GeoductError(f"{where} is truncated or damaged: {_reason(error)}") from None
        missing = "://" not in asset.href and not Path(asset.href).exists()
        raise GeoductError(f"{where} {'does not exist' if missing else 'is no raster that can be read'}") from None


def _where(scene: Scene, asset: Asset) -> str:
    return f"item {scene.id}: asset {asset.key!r} ({shown(asset.href)})"


def _reason(error: BaseException) -> str:
    return shown(str(error.__cause__ or error)).strip().rstrip(".")


def with_grids(scene: Scene, remote: Remote) -> Scene:
    """The scene with the grids of all bands: those that the metadata do not state are read from the files.

    Raises:
        GeoductError: a file that has to be looked into cannot be read.
    """

    def stated(asset: Asset) -> Asset:
        if asset.grid is not None:
            return asset
        with _opened(scene, asset, remote) as source:
            return replace(asset, grid=GeoBox(source.shape, source.transform, CRS(source.crs.to_wkt())))

    return replace(scene, bands={name: stated(asset) for name, asset in scene.bands.items()})


def _multiple(source: Affine, grid: Affine, shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """How a source's pixels lie on a grid of `shape`: `(ky, kx, row, column)`, or None where they do not.

    A source pixel covers ky x kx grid pixels, and the grid's corner lies `(row, column)` grid pixels from the source's.
    """
    if source.b or source.d or grid.b or grid.d:
        return None
    found = []
    for step, size, offset, length in (
        (source.e, grid.e, grid.f - source.f, shape[0]),
        (source.a, grid.a, grid.c - source.c, shape[1]),
    ):
        ratio, start = step / size, offset / size
        whole = round(ratio)
        # a thousandth of a pixel over the whole window is rounding in the metadata, not another grid
        if whole < 1 or abs(ratio - whole) * length > 1e-3 or abs(start - round(start)) > 1e-3:
            return None
        found.append((whole, round(start)))
    (ky, row), (kx, column) = found
    return ky, kx, row, column


def _repeat(source: rasterio.DatasetReader, lie: tuple[int, int, int, int], out: np.ndarray[Any, Any]) -> None:
    """Read pixels that lie on the grid into `out` (y, x); what the source does not cover stays as it is."""
    ky, kx, row, column = lie
    spans = []
    for k, start, length, size in ((ky, row, out.shape[0], source.height), (kx, column, out.shape[1], source.width)):
        first, last = max(start // k, 0), min(-(-(start + length) // k), size)
        if first >= last:
            return
        spans.append((first, last, max(first * k, start), min(last * k, start + length), start))
    (r0, r1, y0, y1, top), (c0, c1, x0, x1, left) = spans
    target = out[y0 - top : y1 - top, x0 - left : x1 - left]
    window = Window(c0, r0, c1 - c0, r1 - r0)
    if (ky, kx) == (1, 1) and source.dtypes[0] == out.dtype and not source.nodata:
        source.read(1, window=window, out=target)
        return
    pixels = source.read(1, window=window)
    if source.nodata:
        pixels = np.where(pixels == source.nodata, 0, pixels)
    if np.issubdtype(pixels.dtype, np.signedinteger):
        pixels = np.maximum(pixels, 0)
    wide = pixels.repeat(kx, axis=1)[:, x0 - c0 * kx : x1 - c0 * kx]
    # Row by row, each into all rows that show it: to repeat it twice over would pass over the plane once more.
    for first in range(ky):
        lines = target[(first - y0) % ky :: ky]
        start = (y0 + (first - y0) % ky) // ky - r0
        lines[...] = wide[start : start + len(lines)]


def read_asset(
    scene: Scene, asset: Asset, grid: GeoBox, resampling: str, out: np.ndarray[Any, Any], remote: Remote
) -> None:
    """Read an asset onto `grid` into `out` (y, x), which holds zeros; pixels beyond the asset stay 0.

    Raises:
        GeoductError: the asset is missing, no raster, truncated or damaged.
    """
    if is_earth_engine(asset.href):
        try:
            remote.earth_engine.read(asset.href, grid, resampling, out)
        except RemoteError as error:
            raise GeoductError(f"{_where(scene, asset)} cannot be read: {error}") from error
        return
    with _opened(scene, asset, remote) as source:
        lie = None
        if CRS(source.crs.to_wkt()) == grid.crs:
            lie = _multiple(source.transform, grid.transform, out.shape)
        if lie and (resampling == "nearest" or lie[:2] == (1, 1)):
            _repeat(source, lie, out)
        else:
            _warp(source.name, grid, resampling, out)


def _warp(name: str, grid: GeoBox, resampling: str, out: np.ndarray[Any, Any]) -> None:
    from odc.loader import RasterLoadParams, RasterSource, RioDriver

    # odc logs what it raises as well; the exception is told once, in our sentence
    logging.getLogger("odc.loader").setLevel(logging.CRITICAL)
    driver = RioDriver()
    context = driver.new_load(grid)
    try:
        with driver.restore_env(driver.capture_env(), context) as local:
            reader = driver.open(RasterSource(name, band=1), local)
            how = RasterLoadParams(str(out.dtype), fill_value=0, resampling=resampling, src_nodata_fallback=0)
            roi, pixels = reader.read(how, grid)
    finally:
        driver.finalise_load(context)
    out[roi] = pixels


def harmonise(pixels: np.ndarray[Any, Any], offset: int) -> None:
    """Add `offset` (DN, not positive) to uint16 pixels in place: 0 stays nodata, valid ones stay at least 1."""
    if offset:
        valid = pixels != 0
        np.maximum(pixels, 1 - offset, out=pixels)
        pixels += np.array(offset, dtype="int64").astype("uint16")  # modulo 65536, which is the subtraction
        pixels *= valid
