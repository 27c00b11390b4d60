"""From scenes to pixels: only the window asked for is read, block by block, harmonised, and written shard by shard.

Where an asset's pixels lie on the grid, or are a whole multiple of the grid's, they are read and repeated and nothing
is resampled. Everything else (other CRS, other resolution, interpolation) goes through odc-loader. A pixel that
cannot be read is an error, never nodata.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.windows import Window

from components.acquire.understand import Asset, Scene
from components.artifacts.scenecube import create_scenecube
from components.artifacts.shards import Shards
from components.artifacts.zarrs import SHARD
from components.blocks import Block, blocks_of, run_blocks
from components.errors import GeoductError
from components.gdal import gdal_limits
from components.search.catalog import shown


@contextmanager
def _opened(scene: Scene, asset: Asset) -> Iterator[rasterio.DatasetReader]:
    """Open an asset and say in one sentence what is wrong with it."""
    where = f"item {scene.id}: asset {asset.key!r} ({shown(asset.href)})"
    with gdal_limits(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        try:
            source = rasterio.open(asset.href, sharing=False)
        except RasterioIOError as error:
            local = "://" not in asset.href
            missing = local and not Path(asset.href).exists()
            what = "does not exist" if missing else "is no raster that can be read"
            raise GeoductError(f"{where} {what}") from error
        with source:
            kind = source.dtypes[0] if source.count == 1 else f"{source.count} bands"
            if kind not in ("uint8", "uint16", "int16"):
                raise GeoductError(f"{where} holds {kind}; expected one band of digital numbers, uint16")
            if source.crs is None:
                raise GeoductError(f"{where} has no coordinate reference system")
            try:
                yield source
            except RasterioError as error:
                raise GeoductError(f"{where} is truncated or damaged: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    return shown(str(error.__cause__ or error)).strip().rstrip(".")


def header_grid(scene: Scene, asset: Asset) -> GeoBox:
    """The grid of an asset as its file states it."""
    with _opened(scene, asset) as source:
        return GeoBox(source.shape, source.transform, CRS(source.crs.to_wkt()))


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
    pixels = source.read(1, window=Window(c0, r0, c1 - c0, r1 - r0))
    if ky > 1:
        pixels = pixels.repeat(ky, axis=0)
    if kx > 1:
        pixels = pixels.repeat(kx, axis=1)
    part = pixels[y0 - r0 * ky : y1 - r0 * ky, x0 - c0 * kx : x1 - c0 * kx]
    if source.nodata:
        part = np.where(part == source.nodata, 0, part)
    if np.issubdtype(part.dtype, np.signedinteger):
        part = np.maximum(part, 0)
    out[y0 - top : y1 - top, x0 - left : x1 - left] = part


def read_asset(scene: Scene, asset: Asset, grid: GeoBox, resampling: str, out: np.ndarray[Any, Any]) -> None:
    """Read an asset onto `grid` into `out` (y, x), which holds zeros; pixels beyond the asset stay 0.

    Raises:
        GeoductError: the asset is missing, no raster, truncated or damaged.
    """
    with _opened(scene, asset) as source:
        lie = None
        if CRS(source.crs.to_wkt()) == grid.crs:
            lie = _multiple(source.transform, grid.transform, out.shape)
        if lie and (resampling == "nearest" or lie[:2] == (1, 1)):
            _repeat(source, lie, out)
        else:
            _warp(asset.href, grid, resampling, out)


def _warp(href: str, grid: GeoBox, resampling: str, out: np.ndarray[Any, Any]) -> None:
    from odc.loader import RasterLoadParams, RasterSource, RioDriver

    # odc logs what it raises as well; the exception is told once, in our sentence
    logging.getLogger("odc.loader").setLevel(logging.CRITICAL)
    driver = RioDriver()
    context = driver.new_load(grid)
    try:
        with driver.restore_env(driver.capture_env(), context) as local:
            reader = driver.open(RasterSource(href, band=1), local)
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


def read_scenes(
    scenes: Sequence[Scene],
    geobox: GeoBox,
    bands: Sequence[str],
    mask: str,
    resampling: str,
    path: Path,
    workers: int | None,
) -> None:
    """Read scenes onto `geobox` and write the SceneCube at `path`, a shard of one scene at a time.

    Workers share a shard's bands (each is read, harmonised and encoded on its own), so that memory is one encoded shard
    and one plane of 2048 x 2048 pixels a worker, however large the grid.

    Raises:
        GeoductError: an asset cannot be read, or no scene has a valid pixel in the window.
    """
    reflectance, scl = map(Shards, create_scenecube(path, geobox, bands, [scene.record for scene in scenes], mask))
    planes = [*enumerate(bands), *([(len(bands), mask)] if mask != "none" else [])]
    tasks = [
        (n, block, index, name)
        for block in blocks_of((geobox.height, geobox.width), SHARD)
        for n in range(len(scenes))
        for index, name in planes
    ]

    def read(task: tuple[int, Block, int, str]) -> dict[tuple[int, ...], bytes | None]:
        n, block, index, name = task
        scene, grid = scenes[n], geobox[block.window]
        if name == mask and scene.mask:
            flags = np.zeros(block.shape, "uint8")
            read_asset(scene, scene.mask, grid, "nearest", flags)
            return scl.encode_planes(flags, (0,))
        pixels = np.zeros(block.shape, "uint16")
        read_asset(scene, scene.bands[name], grid, resampling, pixels)
        harmonise(pixels, scene.offset)
        return reflectance.encode_planes(pixels, (0, index))

    found = False
    shard: dict[tuple[int, ...], bytes | None] = {}
    for (n, block, index, name), chunks in zip(
        tasks, run_blocks(read, tasks, workers=workers, label="acquire"), strict=True
    ):
        place = block.y0 // SHARD, block.x0 // SHARD
        if name == mask:
            scl.write((n, *place), chunks)
            continue
        shard |= chunks
        if index == len(bands) - 1:
            found = found or any(shard.values())
            reflectance.write((n, 0, *place), shard)
            shard = {}
    if not found:
        raise GeoductError(f"none of the {len(scenes)} items found has a valid pixel in the window asked for")
