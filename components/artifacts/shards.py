"""Whole shards of our own gridded arrays, written and read at the speed of the codec.

zarr-python spends several times the codec's time on its event loop, on one core, for arrays of many small chunks. What
streams a cube (acquire, composite) writes whole shards and reads windows, and needs none of it: chunks are encoded
where they are made, a shard is one write, a chunk one `pread`. The files stay plain Zarr v3, as the specification of
`sharding_indexed` says (zarr-specs, codecs/sharding-indexed/v1.0); a test reads each with zarr and the other way round.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs import blosc

from components.artifacts.zarrs import codecs_of
from components.errors import GeoductError

_MISSING = 2**64 - 1  # offset and length of a chunk that was never written
_CRC = 4  # bytes
_CRC_RESIDUE = 0x48674BC7  # crc32c of any message followed by its own crc32c (RFC 3720, appendix B.4)

Index = tuple[int, ...]
Pixels = np.ndarray[Any, Any]


class Shards:
    """A local array laid out by `create_array`, whose shards are written whole and whose windows are read directly.

    Any number of threads may use one at once; a shard is written by one of them.
    """

    def __init__(self, array: zarr.Array[Any]) -> None:
        metadata: Any = array.metadata
        (sharding,) = metadata.codecs
        if list(sharding.codecs[1:]) != codecs_of(array.dtype) or sharding.index_location.value != "end":
            raise GeoductError(f"{array.store_path} is not encoded as Geoduct does it: {sharding}")
        self.path = Path(str(array.store.root)) / array.path  # type: ignore[attr-defined]
        self.shape: Index = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        self.chunk: Index = array.chunks
        self.shard: Index = array.shards or array.chunks
        self.grid: Index = tuple(s // c for s, c in zip(self.shard, self.chunk, strict=True))
        self._fill = array.fill_value
        self._key = metadata.encode_chunk_key

    def encode(self, values: Pixels) -> bytes | None:
        """One chunk as it is stored, or None if it is all fill value; `values` may be short at far edges."""
        if not np.any(values != self._fill):
            return None
        whole = np.ascontiguousarray(values, self.dtype)
        if whole.shape != self.chunk:
            whole = np.full(self.chunk, self._fill, self.dtype)
            whole[tuple(slice(n) for n in values.shape)] = values
        data: bytes = blosc.compress(whole, b"lz4", 5, blosc.BITSHUFFLE)
        checksum: bytes = google_crc32c.value(data).to_bytes(_CRC, "little")
        return data + checksum

    def encode_planes(self, values: Pixels, at: Index = ()) -> dict[Index, bytes | None]:
        """Chunks of one plane (y, x) of a shard; `at` is the plane's place on the shard's axes before y and x."""
        height, width = self.chunk[-2:]
        lead = (None,) * (len(self.chunk) - 2)
        return {
            (*at, row, column): self.encode(
                values[row * height : (row + 1) * height, column * width : (column + 1) * width][lead]
            )
            for row in range(-(-values.shape[0] // height))
            for column in range(-(-values.shape[1] // width))
        }

    def write(self, shard: Index, chunks: Mapping[Index, bytes | None]) -> None:
        """Write one shard: its place in the grid of shards, and its encoded chunks by their place in the shard."""
        index = np.full((*self.grid, 2), _MISSING, "<u8")
        offset, parts = 0, []
        for place in itertools.product(*map(range, self.grid)):
            if data := chunks.get(place):
                index[place] = offset, len(data)
                parts.append(data)
                offset += len(data)
        if not parts:
            return
        tail = index.tobytes()
        file = self.path / self._key(shard)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as out:
            out.writelines(parts)
            out.write(tail + google_crc32c.value(tail).to_bytes(_CRC, "little"))

    def read(self, *window: slice) -> Pixels:
        """The pixels of a window, one slice an axis with start and stop.

        Raises:
            GeoductError: a shard is truncated or a chunk is corrupt.
        """
        out = np.empty([s.stop - s.start for s in window], self.dtype)
        spans = [range(s.start // c, -(-s.stop // c)) for s, c in zip(window, self.chunk, strict=True)]
        shards = [range(r.start // g, (r.stop - 1) // g + 1) for r, g in zip(spans, self.grid, strict=True)]
        spare = np.empty(self.chunk, self.dtype)
        for shard in itertools.product(*shards):
            inside = [
                range(max(r.start, n * g), min(r.stop, (n + 1) * g))
                for r, n, g in zip(spans, shard, self.grid, strict=True)
            ]
            self._read_shard(shard, inside, window, out, spare)
        return out

    def _read_shard(
        self, shard: Index, chunks: list[range], window: tuple[slice, ...], out: Pixels, spare: Pixels
    ) -> None:
        file = self.path / self._key(shard)
        try:
            handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # every chunk of a shard that was never written is fill value
            handle = -1
        try:
            index = self._index(handle, file) if handle >= 0 else None
            for place in itertools.product(*chunks):
                source, target = [], []
                for n, c, s in zip(place, self.chunk, window, strict=True):
                    first, last = max(n * c, s.start), min((n + 1) * c, s.stop)
                    source.append(slice(first - n * c, last - n * c))
                    target.append(slice(first - s.start, last - s.start))
                offset, length = (
                    (_MISSING, 0)
                    if index is None
                    else map(int, index[tuple(n % g for n, g in zip(place, self.grid, strict=True))])
                )
                if offset == _MISSING:
                    out[tuple(target)] = self._fill
                    continue
                self._decode(os.pread(handle, length, offset), length, file, spare)
                out[tuple(target)] = spare[tuple(source)]
        finally:
            if handle >= 0:
                os.close(handle)

    def _index(self, handle: int, file: Path) -> Pixels:
        size = 16 * math.prod(self.grid) + _CRC
        end = os.fstat(handle).st_size
        data = os.pread(handle, size, max(end - size, 0))
        if len(data) != size or google_crc32c.value(data) != _CRC_RESIDUE:
            raise GeoductError(f"{file} is truncated or corrupt: its shard index does not match its checksum")
        return np.frombuffer(data, "<u8", len(data) // 8).reshape(*self.grid, 2)

    def _decode(self, data: bytes, length: int, file: Path, out: Pixels) -> None:
        if len(data) != length or google_crc32c.value(data) != _CRC_RESIDUE:
            raise GeoductError(f"{file} is corrupt: a chunk does not match its checksum")
        blosc.decompress(data[:-_CRC], out)
