"""What a small window costs over a network: bytes and requests for 256 x 256 pixels of four bands, three scenes.

A server on loopback serves a simulated archive by ranges and counts; ours, odc-stac and stackstac, each with its
defaults, read the same window in turn, each in a process of its own. Bytes are also set against the compressed size of
the tiles that the window touches, which nobody can do without.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pystac
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window, intersect

from components.acquire.read import read_asset
from components.acquire.understand import understand
from components.remote.client import Client
from components.remote.raster import Remote
from tests.services.range_server import RangeServer

BANDS = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08"}
WINDOW = Window(700, 900, 256, 256)
ROUNDS = 5
BOUND = 1.3

Reader = Callable[[Sequence[pystac.Item], GeoBox], None]


def ours(items: Sequence[pystac.Item], grid: GeoBox) -> None:
    """As acquire reads: eight planes at a time."""
    remote = Remote(Client())
    scenes = [understand(item, list(BANDS.values()), "none") for item in items]

    def read(task: tuple[int, str]) -> None:
        scene = scenes[task[0]]
        read_asset(scene, scene.bands[task[1]], grid, "nearest", np.zeros(grid.shape, "uint16"), remote)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, [(n, band) for n in range(len(scenes)) for band in BANDS.values()]))


def odc_stac(items: Sequence[pystac.Item], grid: GeoBox) -> None:
    """odc.stac.load onto the same grid."""
    import odc.stac

    odc.stac.load(items, bands=list(BANDS), geobox=grid)


def stackstac(items: Sequence[pystac.Item], grid: GeoBox) -> None:
    """stackstac.stack over the same bounds, computed."""
    import stackstac

    stackstac.stack(
        items,
        assets=list(BANDS),
        bounds=tuple(grid.boundingbox),
        resolution=10,
        epsg=grid.crs.epsg,
        rescale=False,
    ).compute()


READERS: dict[str, Reader] = {"ours": ours, "odc-stac": odc_stac, "stackstac": stackstac}
MODULES = {"odc-stac": "odc.stac", "stackstac": "stackstac"}


def _files(archive: Path) -> list[Path]:
    return sorted((archive / "sentinel-2-l2a").glob("*/*.json"))


def measure(name: str, archive: Path) -> dict[str, float]:
    """Requests, bytes and seconds of one reader."""
    with RangeServer(archive) as server:
        items = [pystac.Item.from_file(str(file)) for file in _files(archive)]
        for item in items:
            for asset in item.assets.values():
                file = Path(str(asset.get_absolute_href())).resolve()
                asset.href = f"{server.url}/{file.relative_to(archive)}"
        step = items[0].assets["blue"].extra_fields["proj:transform"]
        corner = step[2] + WINDOW.col_off * 10, step[5] - WINDOW.row_off * 10
        grid = GeoBox((WINDOW.height, WINDOW.width), Affine(10, 0, corner[0], 0, -10, corner[1]), "EPSG:32627")
        if name in MODULES:
            importlib.import_module(MODULES[name])  # what a peer takes to be imported is no matter here
        start = time.perf_counter()
        READERS[name](items, grid)
        took = time.perf_counter() - start
        return {"requests": len(server.requests), "bytes": server.sent(), "seconds": took}


def touched(archive: Path) -> int:
    """Compressed bytes of the tiles that the window touches, in all scenes and bands."""
    total = 0
    for document in _files(archive):
        for band in BANDS.values():
            with rasterio.open(document.parent / f"{band}.tif") as file:
                total += sum(
                    int(file.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=1))
                    for (row, column), block in file.block_windows(1)
                    if intersect(block, WINDOW)
                )
    return total


def main() -> None:
    """Print a table: medians of rounds in which all take their turn."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder).resolve() / "archive"
        words = ["simulate", "--archive", str(archive), "--size", "2048", "--dates", "3", "--no-truth"]
        subprocess.run([sys.executable, "-m", "components", *words], check=True, capture_output=True)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in READERS}
        for _ in range(ROUNDS):
            for name in READERS:
                command = [sys.executable, "-m", "benchmarks.wire", name, str(archive)]
                answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found[name].append(json.loads(answer))
        least = touched(archive)
    print(f"{'a window of 256 x 256, 4 bands, 3 scenes':<42}{'requests':>10}{'bytes/tiles':>13}{'seconds':>10}")
    for name, runs in found.items():
        requests, size, seconds = (float(np.median([r[k] for r in runs])) for k in ("requests", "bytes", "seconds"))
        print(f"{name:<42}{requests:>10.0f}{size / least:>13.3f}{seconds:>10.2f}")
    print(f"bound for ours: {BOUND} of the {least:,} bytes of the tiles touched")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
    else:
        main()
