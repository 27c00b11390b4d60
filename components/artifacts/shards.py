"""Sharded arrays as Geoduct lays them out, written and read at the speed of the codec.

zarr-python spends several times the codec's time in its own machinery, on one core, for arrays of many small chunks.
Here a chunk is encoded where it is made, a shard is one write, and a chunk is one `pread`: its crc32c is verified and
Blosc decodes it straight into the caller's array. Reading, checking and decoding release the GIL, so threads scale. The
files stay plain Zarr v3, as the specification of `sharding_indexed` says (zarr-specs, codecs/sharding-indexed/v1.0);
the metadata are parsed by zarr itself, and any layout but that of `create_array` is refused by name; what Blosc does
inside a chunk is free, since a chunk's own header tells how to decode it.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from threading import local
from typing import Any

import google_crc32c
import numpy as np
import zarr
import zarr.codecs
from numcodecs import blosc
from zarr.storage import LocalStore

from components.errors import GeoductError

MAX_OPEN_SHARDS = 256
"""Shard files held open at a time and per array: well under the usual limit of 1,024 files a process."""

SMALL_SHARD = 2**19
"""Bytes up to which a shard is read whole when it opens, as those of labels are: a chunk of a few hundred bytes is not
worth a system call each. At `MAX_OPEN_SHARDS` that is 128 MiB an array at most."""

_MISSING = 2**64 - 1  # offset and length of a chunk that was never written
_CRC = 4  # bytes
_CRC_RESIDUE = 0x48674BC7  # crc32c of any message followed by its own crc32c (RFC 3720, appendix B.4)
_THOROUGH = b"lz4hc", 5, blosc.SHUFFLE, 2**16
_BLOSC_SIZES = struct.Struct("<4xI4xI").unpack_from  # bytes decoded, bytes encoded (c-blosc, README_CHUNK_FORMAT)

Index = tuple[int, ...]
Pixels = np.ndarray[Any, Any]


class _Shard:
    """An open shard file and its index, or the whole of a small one, whose file is closed.

    The file closes with the last reference, so never under a reading thread.
    """

    __slots__ = ("fd", "lengths", "offsets", "whole")

    def __init__(self, fd: int, offsets: list[int], lengths: list[int]) -> None:
        self.fd, self.offsets, self.lengths = fd, offsets, lengths
        self.whole: np.ndarray[Any, np.dtype[np.uint8]] | None = None

    def keep(self, whole: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        """Stand upon `whole`, all bytes of the file, which is closed."""
        self.whole = whole
        os.close(self.fd)
        self.fd = -1

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class _Encoded(local):
    """Room for a chunk as it is stored, one a thread: read again and again, it stays in the processor's cache."""

    def __init__(self) -> None:
        self._bytes: np.ndarray[Any, np.dtype[np.uint8]] = np.empty(0, "uint8")

    def room(self, length: int) -> Any:
        """`length` bytes (uint8) whose content is undefined, this thread's until it asks again."""
        if len(self._bytes) < length:
            self._bytes = np.empty(length + length // 4, "uint8")
        return self._bytes[:length]


class ShardedArray:
    """A local array laid out by `create_array`, whose chunks are read directly.

    Opening reads no shard; shards open on first use. Any number of threads may read at once, a fork inherits the open
    files (`pread` shares no position), and a pickled copy opens its own. Shards and the chunks in one are numbered in
    C order.

    Raises:
        GeoductError: another layout or codec.
    """

    def __init__(self, array: zarr.Array[Any]) -> None:
        metadata: Any = array.metadata
        if not isinstance(array.store, LocalStore):
            raise GeoductError(f"{array.store_path} is not read directly: it is in a {type(array.store).__name__}")
        self.path = Path(array.store.root) / array.path
        self.shape: Index = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        codec = self._blosc_of(metadata.codecs)
        shuffle = getattr(blosc, codec.shuffle.value.upper())
        self._compression = codec.cname.value.encode(), codec.clevel, shuffle, codec.blocksize, codec.typesize
        self.chunk: Index = array.chunks
        self.shard: Index = array.shards or array.chunks
        self.grid: Index = tuple(s // c for s, c in zip(self.shard, self.chunk, strict=True))
        self._shards: Index = tuple(-(-n // s) for n, s in zip(self.shape, self.shard, strict=True))
        self._fill = array.fill_value
        self._chunk_bytes = math.prod(self.chunk) * self.dtype.itemsize
        self._keys = metadata.chunk_key_encoding
        self._open: dict[int, _Shard] = {}
        self._encoded = _Encoded()

    def __getstate__(self) -> dict[str, Any]:
        # absolute: a process on another machine that sees the same files may stand elsewhere
        return self.__dict__ | {"path": self.path.absolute(), "_open": {}, "_encoded": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._encoded = _Encoded()

    def _blosc_of(self, found: tuple[Any, ...]) -> Any:
        """The Blosc codec of the chunks; any other chain of codecs is refused."""
        if len(found) != 1 or not isinstance(found[0], zarr.codecs.ShardingCodec):
            raise self._refused("codecs", _told(found), "sharding_indexed alone")
        to_bytes = zarr.codecs.BytesCodec(endian="little" if self.dtype.itemsize > 1 else None)
        of_index = zarr.codecs.BytesCodec(endian="little"), zarr.codecs.Crc32cCodec()
        of_chunk = to_bytes, zarr.codecs.BloscCodec(), zarr.codecs.Crc32cCodec()
        for what, codecs, expected in (
            ("codecs", found[0].codecs, of_chunk),
            ("index codecs", found[0].index_codecs, of_index),
        ):
            if _told(codecs) != _told(expected):
                raise self._refused(what, _told(codecs), _told(expected))
        if found[0].index_location.value != "end":
            raise self._refused("index location", found[0].index_location.value, "end")
        return found[0].codecs[1]

    def _refused(self, what: str, found: Any, expected: Any) -> GeoductError:
        return GeoductError(f"{self.path} is not read directly: {what} {found}; expected {expected}")

    def _chunk(self, number: int, slot: int, out: Pixels) -> None:
        """Read chunk `slot` of shard `number` into `out`, contiguous and of the chunk's shape and dtype."""
        shard = self._open.get(number) or self._open_shard(number)
        offset, length = shard.offsets[slot], shard.lengths[slot]
        if offset == _MISSING:
            out[...] = self._fill
            return
        data: Any
        if shard.whole is not None:
            data = shard.whole[offset : offset + length]
        else:
            data = self._encoded.room(length)
            if (read := os.preadv(shard.fd, [data], offset)) != length:
                raise self._corrupt(number, slot, f"the shard ends {length - read} bytes before the chunk does")
        if google_crc32c.value(data) != _CRC_RESIDUE:
            raise self._corrupt(number, slot, "its crc32c does not match")
        # Blosc trusts its header, so the header is held to the chunk's true sizes before anything is decoded.
        length -= _CRC
        if length < blosc.MAX_OVERHEAD:
            raise self._corrupt(number, slot, f"{length} bytes are too few for a Blosc header")
        decoded, encoded = _BLOSC_SIZES(data)
        if decoded != self._chunk_bytes or encoded != length:
            raise self._corrupt(
                number,
                slot,
                f"its Blosc header tells of {encoded} bytes that decode to {decoded}, "
                f"expected {length} and {self._chunk_bytes}",
            )
        try:
            blosc.decompress(data, out)
        except (RuntimeError, ValueError) as error:
            raise self._corrupt(number, slot, f"Blosc cannot decode it ({error})") from error

    def _corrupt(self, number: int, slot: int, reason: str) -> GeoductError:
        key = self._key(number)
        return GeoductError(f"{self._name(number, slot)} of {self.path} (shard {key}) is corrupt: {reason}")

    def _name(self, number: int, slot: int) -> str:
        """What an error calls a chunk: its place in the grid of chunks."""
        inside = np.unravel_index(slot, self.grid)
        shard = np.unravel_index(number, self._shards)
        place = (str(int(s) * g + int(i)) for s, g, i in zip(shard, self.grid, inside, strict=True))
        return f"chunk ({', '.join(place)})"

    def _key(self, number: int) -> str:
        """Path of a shard's file in the array's folder."""
        return str(self._keys.encode_chunk_key(tuple(map(int, np.unravel_index(number, self._shards)))))

    def _open_shard(self, number: int) -> _Shard:
        """Open a shard; two threads may open the same one at once, then the copy that is replaced closes itself."""
        key, count = self._key(number), math.prod(self.grid)
        size = 2 * 8 * count + _CRC
        try:
            shard = _Shard(os.open(self.path / key, os.O_RDONLY | os.O_CLOEXEC), [], [])
        except FileNotFoundError:  # by the specification every chunk of a shard that was never written is fill value
            shard = _Shard(-1, [_MISSING] * count, [_MISSING] * count)
        else:
            end = os.fstat(shard.fd).st_size
            if end < size:
                raise GeoductError(
                    f"shard {key} of {self.path} is truncated: {end} bytes, its index alone takes {size}"
                )
            # of a small shard everything, of others the index at their end
            start = 0 if end <= SMALL_SHARD else end - size
            tail = np.frombuffer(os.pread(shard.fd, end - start, start), "uint8")
            index = tail[-size:]
            if google_crc32c.value(index) != _CRC_RESIDUE:
                raise GeoductError(
                    f"shard {key} of {self.path} is corrupt or truncated: the crc32c of its index does not match"
                )
            entries = index[:-_CRC].view("<u8").reshape(count, 2)
            shard.offsets, shard.lengths = entries[:, 0].tolist(), entries[:, 1].tolist()
            reach = max((o + s for o, s in zip(shard.offsets, shard.lengths, strict=True) if o != _MISSING), default=0)
            if reach > end:
                raise GeoductError(
                    f"shard {key} of {self.path} is corrupt: its index points to byte {reach}, it has {end}"
                )
            if start == 0:
                shard.keep(tail)
        self._open[number] = shard
        # Without a lock, which a fork could inherit held: each of these steps on a dict is atomic.
        for oldest in list(self._open)[:-MAX_OPEN_SHARDS]:
            self._open.pop(oldest, None)
        return shard


class Shards(ShardedArray):
    """A sharded array whose shards are written whole and whose windows are read; a shard is written by one thread."""

    def encode(self, values: Pixels, *, thorough: bool = False) -> bytes | None:
        """One chunk as it is stored, or None if it is all fill value; `values` may be short at far edges.

        A `thorough` one is encoded both as the array says and with lz4hc at level 5 over shuffled bytes, in blocks that
        stay in a core's own cache, and the smaller is kept: worth its time, some ten times as long, where a chunk is
        read far more often than written. Bands of 20 and 60 m on a grid of 10 m repeat their pixels, which lz4 finds in
        bytes but not in bits: real 12-band patches take 17 % less room and decode in 0.6 of the time, while real
        patches of 10 m bands alone stay as they are.
        """
        if not np.any(values != self._fill):
            return None
        whole = np.ascontiguousarray(values, self.dtype)
        if whole.shape != self.chunk:
            whole = np.full(self.chunk, self._fill, self.dtype)
            whole[tuple(slice(n) for n in values.shape)] = values
        *coding, item = self._compression
        tried = [coding, _THOROUGH] if thorough else [coding]
        data: bytes = min((blosc.compress(whole, *each, item) for each in tried), key=len)
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

    def write(
        self, shard: Index, chunks: Mapping[Index, bytes | None], digest: hashlib._Hash | None = None
    ) -> Path | None:
        """Write one shard: its place in the grid of shards, and its encoded chunks by their place in the shard.

        Returns its file, or None where all is fill value, which needs none. A `digest` is given what is written.
        """
        index = np.full((*self.grid, 2), _MISSING, "<u8")
        offset, parts = 0, []
        for place in itertools.product(*map(range, self.grid)):
            if data := chunks.get(place):
                index[place] = offset, len(data)
                parts.append(data)
                offset += len(data)
        if not parts:
            return None
        entries = index.tobytes()
        parts.append(entries + google_crc32c.value(entries).to_bytes(_CRC, "little"))
        number = _number(shard, self._shards)
        file = self.path / self._key(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as out:
            out.writelines(parts)
        if digest is not None:
            for part in parts:
                digest.update(part)
        self._open.pop(number, None)
        return file

    def read(self, *window: slice) -> Pixels:
        """The pixels of a window, one slice an axis with start and stop.

        Raises:
            GeoductError: a chunk or the index of a shard is corrupt or truncated.
        """
        out = np.empty([s.stop - s.start for s in window], self.dtype)
        spans = [range(s.start // c, -(-s.stop // c)) for s, c in zip(window, self.chunk, strict=True)]
        spare = np.empty(self.chunk, self.dtype)
        for place in itertools.product(*spans):
            shard = tuple(n // g for n, g in zip(place, self.grid, strict=True))
            inside = tuple(n % g for n, g in zip(place, self.grid, strict=True))
            source, target = [], []
            for n, c, s in zip(place, self.chunk, window, strict=True):
                first, last = max(n * c, s.start), min((n + 1) * c, s.stop)
                source.append(slice(first - n * c, last - n * c))
                target.append(slice(first - s.start, last - s.start))
            here = out[tuple(target)]
            number, slot = _number(shard, self._shards), _number(inside, self.grid)
            if here.shape == self.chunk and here.flags.c_contiguous:
                self._chunk(number, slot, here)
            else:
                self._chunk(number, slot, spare)
                here[...] = spare[tuple(source)]
        return out


def _told(codecs: tuple[Any, ...]) -> str:
    """Codecs in words, as `zarr.json` has them; of Blosc the name alone, since its settings are free."""
    stated = ((c["name"], c.get("configuration", {})) for c in (codec.to_dict() for codec in codecs))
    return " → ".join(
        name if name == "blosc" else f"{name}({', '.join(f'{k}={v}' for k, v in values.items())})"
        for name, values in stated
    )


def _number(place: Index, grid: Index) -> int:
    """The number of a place in a grid, in C order."""
    number = 0
    for at, count in zip(place, grid, strict=True):
        number = number * count + at
    return number
