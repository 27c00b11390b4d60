"""Remote rasters opened by rasterio through our client: range requests only for the tiles that a window touches.

GDAL decides which bytes it needs and merges neighbouring tiles; the client fetches them, several runs at a time. The
first bytes of a file, where a COG has its header, are kept, so a file read in many windows is opened once.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import rasterio
from rasterio.abc import MultiByteRangeResourceContainer
from rasterio.errors import RasterioError

from components.gdal import gdal_limits
from components.remote.access import connect
from components.remote.client import Client, RemoteError
from components.remote.earthengine import EarthEngine
from components.remote.file import RangeFile

PAGE = 16 * 2**10
"""Bytes read at the start of a file. The header of a COG of a whole tile fits in one or two of them."""
HEADERS = 4096
"""Pages kept of headers: 64 MiB at most."""
AT_ONCE = 64 * 2**20
"""Bytes of tiles, as they are stored, that GDAL may ask for at once; at its default of ten a block came in pieces."""
AT_A_TIME = 4
"""Runs of bytes fetched at a time for one window of one file."""

SCHEMES = ("http", "https", "s3")
"""What is read through the client. Everything else GDAL opens itself."""


def is_remote(href: str) -> bool:
    """Whether an href is read through the client."""
    return urlsplit(href).scheme.lower() in SCHEMES


class Remote:
    """Opens rasters, local or remote, and holds what reads from Earth Engine, which has no files.

    Threads may share one; it keeps the headers of remote files. Pickled, it takes no connection and no credential with
    it: the process it comes to connects by its own environment, once.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.earth_engine = EarthEngine(client, os.environ)
        self._pages: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Callable[[int, float], Remote], tuple[int, float]]:
        return remote_here, (self.client.retries, self.client.timeout)

    @contextmanager
    def open(self, href: str) -> Iterator[rasterio.DatasetReader]:
        """Open a raster. `source.name` opens it again within the context, by GDAL's own means.

        Raises:
            RemoteError: a remote file cannot be read, when it is opened or within the context.
            RasterioError: a file is no raster, or is damaged.
        """
        with gdal_limits(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_MAX_RAW_BLOCK_CACHE_SIZE=str(AT_ONCE)):
            if not is_remote(href):
                with rasterio.open(href, sharing=False) as source:
                    yield source
                return
            self.size(href)  # what is not there or not allowed is told before GDAL comes into it
            container = _Container(self, href)
            try:
                with rasterio.open(href, sharing=False, opener=container) as source:
                    yield source
            except RasterioError:
                if container.error is None:
                    raise
            if container.error is not None:
                raise container.error

    def size(self, href: str) -> int:
        """Size of a remote file in bytes."""
        if href not in self._sizes:
            self.page(href, 0)
        return self._sizes[href]

    def page(self, href: str, number: int) -> bytes:
        """A page of a file's header; it is fetched once."""
        key = href, number
        with self._lock:
            if key in self._pages:
                self._pages.move_to_end(key)
                return self._pages[key]
        end = min((number + 1) * PAGE, self._sizes.get(href, PAGE))
        data = self.fetch(href, number * PAGE, end - number * PAGE)
        with self._lock:
            self._pages[key] = data
            while len(self._pages) > HEADERS:
                self._pages.popitem(last=False)
        return data

    def fetch(self, href: str, start: int, count: int) -> bytes:
        """Bytes of a remote file, at most up to its end."""
        if start + count > self._sizes.get(href, start + count):
            raise RemoteError(f"its header points to byte {start + count}, but it has {self._sizes[href]} bytes")
        part = self.client.part(href, start, start + count - 1)
        known = self._sizes.setdefault(href, part.size)
        if known != part.size:
            raise RemoteError(
                f"the file has {part.size} bytes now and had {known} before: it changed while it was read"
            )
        return part.data

    def fetch_all(self, href: str, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Several runs of bytes, some at a time."""
        if len(offsets) == 1:
            return [self.fetch(href, offsets[0], sizes[0])]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            return list(pool.map(lambda start, count: self.fetch(href, start, count), offsets, sizes))


@cache
def remote_here(retries: int, timeout: float) -> Remote:
    """What this process reads through for others that have sent it work."""
    return Remote(connect(retries, timeout))


class _File(RangeFile):
    """A remote file as GDAL reads it: small reads, which are of the header, from pages; large ones as they are."""

    def __init__(self, container: _Container) -> None:
        super().__init__(container.remote.size(container.href))
        self._container = container
        self._remote, self._href = container.remote, container.href

    def _range(self, start: int, end: int) -> bytes:
        try:
            first, last = start // PAGE, (end - 1) // PAGE
            if last - first > 1:
                return self._remote.fetch(self._href, start, end - start)
            pages = b"".join(self._remote.page(self._href, n) for n in range(first, last + 1))
            return pages[start - first * PAGE : end - first * PAGE]
        except Exception as error:
            return self._container.failed(error, 0)

    def get_byte_ranges(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """What GDAL asks for at once: the tiles that a window touches, neighbours merged."""
        try:
            return self._remote.fetch_all(self._href, offsets, sizes)
        except Exception as error:
            return [self._container.failed(error, size) for size in sizes]


class _Container:
    """What rasterio asks about the one file that it opens, and the error that reading it met."""

    def __init__(self, remote: Remote, href: str) -> None:
        self.remote, self.href = remote, href
        self.error: Exception | None = None

    def failed(self, error: Exception, count: int) -> bytes:
        """Keep what went wrong until GDAL is done; any exception that passes through GDAL aborts the process."""
        self.error = self.error or error
        return bytes(count)

    def open(self, path: str, mode: str = "rb", **_: Any) -> _File:
        return _File(self)

    def isfile(self, path: str) -> bool:
        return True

    def isdir(self, path: str) -> bool:
        return False

    def ls(self, path: str) -> list[str]:
        return []

    def mtime(self, path: str) -> int:
        return 0

    def size(self, path: str) -> int:
        return self.remote.size(self.href)

    def rm(self, path: str) -> None:
        """Nothing: what is read is not removed."""


MultiByteRangeResourceContainer.register(_Container)
