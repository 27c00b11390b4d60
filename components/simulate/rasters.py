"""Raster files: written block by block to a plain file, then turned into a cloud-optimised GeoTIFF (COG).

GDAL can write a COG only as a copy of a whole raster, and a tiled file compressed on the fly has its tiles in the order
of writing; the plain files in between make both the bytes and the memory independent of how the work was cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from rasterio.transform import Affine
from rasterio.windows import Window

from components.progress import track

Kind = Literal["image", "classes", "truth"]

COG_BLOCK = 512
"""Width of a COG's tiles, as Earth Search has them."""
PACKING: dict[Kind, dict[str, Any]] = {
    "image": {"compress": "DEFLATE", "level": 4, "predictor": "YES", "overview_resampling": "AVERAGE"},
    "classes": {"compress": "DEFLATE", "level": 6, "predictor": "NO", "overview_resampling": "NEAREST"},
    "truth": {"compress": "ZSTD", "level": 1, "predictor": "YES", "overviews": "NONE"},
}
"""Creation options of GDAL's COG driver."""
TILE = 64
"""Width of a plain file's tiles. It divides a block's width at 10, 20 and 60 m, so that each tile is written once."""
CACHE = 256 * 2**20
"""Bytes of GDAL's block cache; fixed, since the order in which tiles leave it is the order in the file."""


class Rasters:
    """Plain rasters below a folder, open for writing; `finish` turns each into a COG."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[Path, rasterio.io.DatasetWriter] = {}
        self._kind: dict[Path, Kind] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        self._stack.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(
        self,
        target: Path,
        shape: tuple[int, int],
        dtype: str,
        transform: Affine,
        epsg: int,
        nodata: int | None,
        *,
        bands: tuple[str, ...] = ("",),
        kind: Kind = "image",
        colours: Mapping[int, tuple[int, int, int, int]] | None = None,
        unpacking: tuple[float, float] | None = None,
    ) -> None:
        """Open a raster that is to become the COG `target`.

        Args:
            target: where the COG will stand.
            shape: `(y, x)`.
            dtype: as numpy names it.
            transform: from pixel to the CRS.
            epsg: the CRS.
            nodata: the value that means no data, if any.
            bands: descriptions of the bands.
            kind: an image (overviews averaged), classes (overviews nearest), or truth (no overviews, packed fast).
            colours: colour table of a class raster.
            unpacking: scale and offset from DN to reflectance, for readers that look for them in the file.
        """
        dataset = self._stack.enter_context(
            rasterio.open(
                self._folder / f"{len(self._open)}.tif",
                "w",
                driver="GTiff",
                height=shape[0],
                width=shape[1],
                count=len(bands),
                dtype=dtype,
                crs=f"EPSG:{epsg}",
                transform=transform,
                nodata=nodata,
                interleave="band",
                tiled=True,
                blockxsize=TILE,
                blockysize=TILE,
                bigtiff="if_safer",
            )
        )
        for position, description in enumerate(bands, start=1):
            if description:
                dataset.set_band_description(position, description)
        if colours:
            dataset.write_colormap(1, dict(colours))
        if unpacking:
            dataset.scales, dataset.offsets = [unpacking[0]] * len(bands), [unpacking[1]] * len(bands)
        self._open[target] = dataset
        self._kind[target] = kind

    def write(self, target: Path, values: npt.NDArray[np.generic], y0: int, x0: int, band: int = 1) -> None:
        """Write the part of `values` that lies inside the raster, its corner at row `y0` and column `x0`."""
        dataset = self._open[target]
        inside = values[: dataset.height - y0, : dataset.width - x0]
        dataset.write(inside, band, window=Window(x0, y0, inside.shape[1], inside.shape[0]))

    def finish(self, workers: int) -> None:
        """Close all rasters and copy each to its COG, `workers` at a time."""
        for dataset in self._open.values():
            dataset.close()

        def convert(job: tuple[Path, Path]) -> None:
            target, plain = job
            target.parent.mkdir(parents=True, exist_ok=True)
            _to_cog(plain, target, self._kind[target])
            plain.unlink()

        jobs = [(target, Path(dataset.name)) for target, dataset in self._open.items()]
        with ThreadPoolExecutor(workers) as pool:
            for _ in track(pool.map(convert, jobs), total=len(jobs), label="write COGs"):
                pass
        self._folder.rmdir()


def _to_cog(plain: Path, target: Path, kind: Kind) -> None:
    rasterio.shutil.copy(plain, target, driver="COG", blocksize=COG_BLOCK, bigtiff="IF_SAFER", **PACKING[kind])
