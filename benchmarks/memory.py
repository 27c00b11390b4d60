"""Peak memory of the data components at a scene's area and at 16 times that area.

A plain static catalog (three dates, four bands and SCL, a made-up pattern, no compression) is written at both sizes;
each component then runs as a process of its own, and the operating system says how much it held at most.

acquire and composite spread one block of 2048² over all workers. label and patch give each worker a block (a shard)
of its own, so a scene of one block holds fewer buffers than a larger one: what they hold is bounded, not the same.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pystac
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

SIZES = (2048, 8192)
BANDS = ("B02", "B03", "B04", "B08")
BOUNDS = {"acquire": 1.2, "composite": 1.2}
ORIGIN = (440_000, 7_180_000)
EPSG = 32627


def raster(path: Path, pattern: np.ndarray, size: int, resolution: float = 10.0) -> None:
    """Write `pattern`, repeated to `size` x `size` pixels, as a tiled GeoTIFF, a strip at a time."""
    transform = from_origin(*ORIGIN, resolution, resolution)
    profile = {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512, "crs": f"EPSG:{EPSG}"}
    shape = {"width": size, "height": size, "count": 1, "dtype": pattern.dtype, "nodata": 0}
    height = pattern.shape[0]
    with rasterio.open(path, "w", transform=transform, **profile, **shape) as out:
        for row in range(0, size, height):
            strip = np.tile(pattern, (1, -(-size // pattern.shape[1])))[: min(height, size - row), :size]
            out.write(strip, 1, window=((row, row + strip.shape[0]), (0, size)))


def catalog(folder: Path, size: int) -> None:
    """A static catalog of three dates, and `classes.tif`, its land cover."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    west, north = ORIGIN
    extent = (west, north - 10 * size, west + 10 * size, north)
    bounds = transform_bounds(f"EPSG:{EPSG}", "EPSG:4326", *extent)
    made = pystac.Catalog("memory", "made for a benchmark")
    for day in (1, 11, 21):
        w, s, e, n = bounds
        ring = [[w, s], [e, s], [e, n], [w, n], [w, s]]
        item = pystac.Item(
            f"item-{day}",
            {"type": "Polygon", "coordinates": [ring]},
            list(bounds),
            pystac.utils.str_to_datetime(f"2023-06-{day:02}T12:00:00Z"),
            {
                "proj:code": f"EPSG:{EPSG}",
                "proj:shape": [size, size],
                "proj:transform": [10.0, 0.0, west, 0.0, -10.0, north],
                "earthsearch:boa_offset_applied": True,
                "eo:cloud_cover": 10.0,
            },
        )
        for band in (*BANDS, "SCL"):
            file = folder / f"{band}-{day}.tif"
            values = rng.integers(400, 3000, (1024, 1024)).astype("uint16") if band != "SCL" else None
            scl = np.where(rng.random((8, 8)) < 0.1, 9, 4).astype("uint8").repeat(128, 0).repeat(128, 1)
            raster(file, scl if values is None else values, size)
            item.add_asset(band, pystac.Asset(str(file), media_type=pystac.MediaType.COG, roles=["data"]))
        made.add_item(item)
    raster(folder / "classes.tif", rng.integers(1, 4, (128, 128)).astype("uint8").repeat(8, 0).repeat(8, 1), size)
    made.normalize_and_save(str(folder), pystac.CatalogType.ABSOLUTE_PUBLISHED)


def peak(command: list[str]) -> float:
    """Run a command and return its peak memory in MiB.

    Raises:
        SystemExit: it failed.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return usage.ru_maxrss / 1024


def chain(folder: Path) -> dict[str, float]:
    """Peak memory in MiB of each data component, run in order on the catalog in `folder`."""
    nomenclature = folder / "classes.yaml"
    nomenclature.write_text(
        "name: made-up\nclasses:\n"
        + "".join(f'- {{code: "{k}", name: class {k}, colour: "#{k}{k}8090", values: [{k}]}}\n' for k in (1, 2, 3))
    )
    place = {k: str(folder / f"{k}.zarr") for k in ("scenes", "composite", "labels", "patches")}
    commands = {
        "acquire": ["--catalog", str(folder / "catalog.json"), "--scenes", place["scenes"], "--bands", *BANDS],
        "composite": ["--scenes", place["scenes"], "--composite", place["composite"]],
        "label": [
            *("--composite", place["composite"], "--source", str(folder / "classes.tif")),
            *("--labels", place["labels"], "--nomenclature", str(nomenclature)),
        ],
        "patch": ["--composite", place["composite"], "--labels", place["labels"], "--patches", place["patches"]],
    }
    return {name: peak([sys.executable, "-m", "components", name, *words]) for name, words in commands.items()}


def main(arguments: list[str] | None = None) -> None:
    """Print a table of peaks and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES, help="edges in pixels of the two scenes")
    sizes = parser.parse_args(arguments).sizes
    found = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            catalog(Path(folder) / "scene", size)
            found.append(chain(Path(folder) / "scene"))
    print(f"{'peak memory':<14}{f'{sizes[0]}² MiB':>14}{f'{sizes[1]}² MiB':>14}{'ratio':>8}{'bound':>8}")
    for name in found[0]:
        small, large = found[0][name], found[1][name]
        print(f"{name:<14}{small:>14.0f}{large:>14.0f}{large / small:>8.2f}{BOUNDS.get(name, ''):>8}")


if __name__ == "__main__":
    main()
