"""Rasters over HTTP: which bytes are read for a window, and what is said when they do not come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from components.remote.client import Client, RemoteError
from components.remote.raster import Remote
from tests.services.faulty_proxy import Asked, Fault, FaultyProxy
from tests.services.range_server import RangeServer

PIXELS = np.random.default_rng(0).integers(1, 4000, (2048, 2048)).astype("uint16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COG of 8 x 8 tiles with overviews, `a.tif`."""
    path = tmp_path_factory.mktemp("cogs")
    grid = {"crs": "EPSG:32627", "transform": from_origin(500_000, 7_100_000, 10, 10)}
    with rasterio.open(
        path / "a.tif", "w", "COG", 2048, 2048, 1, dtype="uint16", **grid, blocksize=256, compress="deflate"
    ) as file:
        file.write(PIXELS, 1)
    return path


@pytest.fixture
def server(folder: Path) -> Iterator[RangeServer]:
    with RangeServer(folder) as running:
        yield running


def touched(path: Path, window: Window) -> int:
    """Compressed bytes of the tiles that a window touches."""
    with rasterio.open(path) as file:
        return sum(
            int(file.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=1))
            for (row, column), block in file.block_windows(1)
            if rasterio.windows.intersect(block, window)
        )


def test_only_the_tiles_that_a_window_touches_are_read(server: RangeServer, folder: Path) -> None:
    window = Window(700, 900, 256, 256)  # 2 x 2 tiles
    with Remote(Client()).open(f"{server.url}/a.tif") as file:
        assert (file.read(1, window=window) == PIXELS[900:1156, 700:956]).all()
    assert [request.method for request in server.requests] == ["GET"] * 3  # the header, and two rows of tiles
    assert server.sent() <= 1.3 * touched(folder / "a.tif", window)


def test_the_header_is_read_once_however_many_windows(server: RangeServer) -> None:
    remote = Remote(Client())
    for row in range(0, 2048, 512):
        with remote.open(f"{server.url}/a.tif") as file:
            assert (file.read(1, window=Window(0, row, 256, 256)) == PIXELS[row : row + 256, :256]).all()
    assert len(server.requests) == 1 + 4


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("header", [True, False])
def test_a_refusal_reaches_us_through_gdal(server: RangeServer, status: int, header: bool) -> None:
    def script(asked: Asked) -> Fault | None:
        return Fault("status", status) if asked.range.startswith("bytes=0-") == header else None

    with (
        FaultyProxy(server.url, script) as proxy,
        pytest.raises(RemoteError, match=f"^HTTP {status} "),
        Remote(Client()).open(f"{proxy.url}/a.tif") as file,
    ):
        file.read(1, window=Window(0, 0, 256, 256))


def test_a_file_cut_short_is_told(folder: Path, tmp_path: Path) -> None:
    data = (folder / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: len(data) // 2])
    with (
        RangeServer(tmp_path) as server,
        pytest.raises(RemoteError, match=r"^its header points to byte \d+, but it has \d+ bytes$"),
        Remote(Client()).open(f"{server.url}/a.tif") as file,
    ):
        file.read(1)


def test_a_file_that_changes_while_it_is_read_is_told(folder: Path, tmp_path: Path) -> None:
    data = (folder / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data)
    with (
        RangeServer(tmp_path) as server,
        pytest.raises(RemoteError, match="it changed while it was read"),
        Remote(Client()).open(f"{server.url}/a.tif") as file,
    ):
        (tmp_path / "a.tif").write_bytes(data + b"more")
        file.read(1)
