"""A whole Sentinel-2 tile through acquire and composite: seconds, peak memory, number of files.

The archive is simulated (10980 x 10980 pixels of 10 m, 12 bands, 4 dates, unless told otherwise) and read from disk.
What acquire takes is set against bare reads of the same files through dask's threads and rasterio, whose pixels are
thrown away: as they are stored, and on the 10 m grid that acquire writes. acquire also encodes and writes.

The disk has to hold the archive, the cube and the composite at the same time: some 4 GB a date.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import rasterio
from rasterio.windows import Window

from benchmarks.memory import peak

WORKERS = 2
BLOCK = 2048
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
BOUNDS = {"memory": 3 * 1024, "files": 400, "ratio": 1.3}
"""MiB of acquire and of composite; files of the SceneCube; acquire's time over that of a bare read."""
READS = ("as stored", "on the 10 m grid")


def windows(size: int) -> Iterator[Window]:
    """Windows that cover a square raster."""
    for row in range(0, size, BLOCK):
        for column in range(0, size, BLOCK):
            yield Window(column, row, min(BLOCK, size - column), min(BLOCK, size - row))


def _read(file: Path, window: Window, repeat: int) -> None:
    with rasterio.open(file, sharing=False) as source:
        source.read(1, window=window, out_shape=(int(window.height) * repeat, int(window.width) * repeat))


def bare(archive: Path, how: str) -> None:
    """Read all bands and the mask of all dates, window by window, through dask's threads."""
    tasks = []
    for name in (*BANDS, "SCL"):
        for file in sorted((archive / "sentinel-2-l2a").glob(f"*/{name}.tif")):
            with rasterio.open(file) as source:
                size, repeat = source.width, round(source.res[0] / 10) if how == READS[1] else 1
            tasks += [dask.delayed(_read)(file, window, repeat) for window in windows(size)]
    dask.compute(*tasks, scheduler="threads", num_workers=WORKERS)


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in MiB of a command, begun when the disk has taken all that was written before."""
    os.sync()
    start = time.perf_counter()
    held = peak(command)
    return time.perf_counter() - start, held


def chain(archive: Path, folder: Path) -> None:
    """Run and print the rows of the table."""
    python = [sys.executable, "-m"]
    scenes, image, workers = folder / "scenes.zarr", folder / "composite.zarr", ["--workers", str(WORKERS)]
    rows = {f"bare read, {how}": [*python, "benchmarks.tile", "--bare", how, str(archive)] for how in READS}
    rows |= {
        "acquire": [
            *(*python, "components", "acquire", "--catalog", str(archive), "--scenes", str(scenes)),
            *("--bands", *BANDS, *workers),
        ],
        "composite": [
            *(*python, "components", "composite", "--scenes", str(scenes), "--composite", str(image), *workers)
        ],
    }
    found = {}
    print(f"{f'{WORKERS} workers':<32}{'seconds':>10}{'peak MiB':>12}", flush=True)
    for name, command in rows.items():
        seconds, held = found[name] = timed(command)
        print(f"{name:<32}{seconds:>10.1f}{held:>12.0f}", flush=True)
    for how in READS:
        ratio = found["acquire"][0] / found[f"bare read, {how}"][0]
        print(f"acquire / bare read, {how}: {ratio:.2f}")
    for place in (scenes, image):
        files = [file for file in place.rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files)
        print(f"{place.name}: {len(files)} files, {size / 1e6:,.0f} MB")
    print(f"bounds: {BOUNDS['memory']} MiB, {BOUNDS['files']} files; aim: {BOUNDS['ratio']} times a bare read")


def main(arguments: list[str] | None = None) -> None:
    """Simulate what is not there, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10980, help="edge in pixels")
    parser.add_argument("--dates", type=int, default=4)
    parser.add_argument("--archive", type=Path, help="a simulated archive to read instead of making one")
    parser.add_argument("--bare", nargs=2, metavar=("HOW", "ARCHIVE"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.bare:
        bare(Path(given.bare[1]), given.bare[0])
        return
    with tempfile.TemporaryDirectory() as folder:
        needed = given.dates * 4e9 * (given.size / 10980) ** 2
        if shutil.disk_usage(folder).free < needed:
            print(f"not measured: {folder} has less than {needed / 1e9:.0f} GB free; TMPDIR names another place")
            return
        archive = given.archive or Path(folder) / "archive"
        if given.archive is None:
            words = ["--archive", str(archive), "--size", str(given.size), "--dates", str(given.dates), "--no-truth"]
            subprocess.run([sys.executable, "-m", "components", "simulate", *words], check=True)
        chain(archive, Path(folder))


if __name__ == "__main__":
    main()
