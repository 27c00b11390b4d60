"""Reads patches out of sharded Zarr v3 arrays at the speed of the codec.

zarr-python and its peers spend most of the time of a small read in their own machinery, not in reading or decoding. A
PatchSet needs none of it: one patch is one chunk. So a shard's index is read once, a chunk is one `pread`, its crc32c
is verified, and Blosc decodes it straight into the caller's array. Reading and decoding release the GIL, so threads
scale. The files stay plain Zarr v3: the metadata are parsed by zarr itself, and a codec chain that this reader does not
know is refused by name.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
import zarr.codecs
from numcodecs import blosc
from numpy.typing import NDArray

from components.errors import GeoductError

MAX_OPEN_SHARDS = 256
"""Shard files held open at a time and per array: well under the usual limit of 1,024 files a process."""

_MISSING = 2**64 - 1  # offset and length of a chunk that was never written (Zarr sharding specification)
_CRC_RESIDUE = 0x48674BC7  # crc32c of any message followed by its own crc32c (RFC 3720, appendix B.4)
_CRC_BYTES = 4
_BLOSC_HEADER = struct.Struct("<4xIII")  # bytes decoded, block size, bytes encoded (c-blosc, README_CHUNK_FORMAT)


class _Shard:
    """An open shard file and its index; the file closes with the last reference, so never under a reading thread."""

    __slots__ = ("fd", "lengths", "offsets")

    def __init__(self, fd: int, offsets: list[int], lengths: list[int]) -> None:
        self.fd, self.offsets, self.lengths = fd, offsets, lengths

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class PatchArray:
    """One array of a PatchSet, `(patch, …)`, whose chunks are single patches and whose shards hold N patches.

    Opening reads the metadata only; shards open on first use. Any number of threads may read at once, a fork inherits
    the open files (`pread` shares no position), and a pickled copy opens its own.

    Args:
        path: local folder of the array, the one that holds its `zarr.json`.

    Raises:
        GeoductError: no Zarr v3 array there, or a layout or codec that is not read directly.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            array = zarr.open_array(self.path, mode="r", zarr_format=3)
        except Exception as error:  # zarr raises KeyError, ValueError, TypeError or its own for a broken zarr.json
            raise GeoductError(f"{self.path} does not open as a Zarr v3 array: {error}") from error
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        self.patches_per_shard, self._index_at_start, self._index_crc, self._chunk_crc = self._layout(array)
        self._fill = array.fill_value
        self._chunk_bytes = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        metadata: Any = array.metadata
        rest = (0,) * (len(self.shape) - 1)
        self._shard_keys = [
            metadata.encode_chunk_key((shard, *rest)) for shard in range(-(-len(self) // self.patches_per_shard))
        ]
        self._shards: dict[int, _Shard] = {}

    def __len__(self) -> int:
        """Number of patches."""
        return self.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_shards": {}}

    def read(self, patch: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Read one patch, `shape[1:]`, into `out` (contiguous, of the array's dtype) or into a new array.

        Raises:
            IndexError: no such patch.
            ValueError: `out` is of another shape or dtype, or not contiguous.
            GeoductError: the chunk or the shard's index is corrupt or truncated.
        """
        if out is None:
            out = np.empty(self.shape[1:], self.dtype)
        self._check(out, self.shape[1:])
        self._read(patch, out)
        return out

    def read_into(self, patches: NDArray[np.integer[Any]], out: NDArray[Any]) -> None:
        """Read `patches` (n,) in this order into `out` (n, …); raises as `read` does."""
        self._check(out, (len(patches), *self.shape[1:]))
        for position, patch in enumerate(patches.tolist()):
            self._read(patch, out[position])

    def _check(self, out: NDArray[Any], shape: tuple[int, ...]) -> None:
        if out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise ValueError(f"out is {out.dtype} {out.shape}, expected contiguous {self.dtype} {shape}")

    def _read(self, patch: int, out: NDArray[Any]) -> None:
        if not 0 <= patch < self.shape[0]:
            raise IndexError(f"patch {patch} of {self.path} does not exist, expected 0 to {len(self) - 1}")
        number, slot = divmod(patch, self.patches_per_shard)
        shard = self._shards.get(number) or self._open(number)
        offset, length = shard.offsets[slot], shard.lengths[slot]
        if offset == _MISSING:
            out[...] = self._fill
            return
        data = os.pread(shard.fd, length, offset)
        if len(data) != length:
            raise self._corrupt(patch, f"the shard ends {length - len(data)} bytes before the chunk does")
        if self._chunk_crc:
            if google_crc32c.value(data) != _CRC_RESIDUE:
                raise self._corrupt(patch, "its crc32c does not match")
            length -= _CRC_BYTES
        # Blosc trusts its header, so the header is held to the chunk's true sizes before anything is decoded.
        if length < blosc.MAX_OVERHEAD:
            raise self._corrupt(patch, f"{length} bytes are too few for a Blosc header")
        decoded, _, encoded = _BLOSC_HEADER.unpack_from(data)
        if decoded != self._chunk_bytes or encoded != length:
            raise self._corrupt(
                patch,
                f"its Blosc header tells of {encoded} bytes that decode to {decoded}, "
                f"expected {length} and {self._chunk_bytes}",
            )
        try:
            blosc.decompress(data, out)
        except (RuntimeError, ValueError) as error:
            raise self._corrupt(patch, f"Blosc cannot decode it ({error})") from error

    def _corrupt(self, patch: int, reason: str) -> GeoductError:
        key = self._shard_keys[patch // self.patches_per_shard]
        return GeoductError(f"patch {patch} of {self.path} (shard {key}) is corrupt: {reason}")

    def _open(self, number: int) -> _Shard:
        """Open a shard; two threads may open the same one at once, then the copy that is replaced closes itself."""
        key = self._shard_keys[number]
        n = self.patches_per_shard
        size = 2 * 8 * n + (_CRC_BYTES if self._index_crc else 0)
        try:
            shard = _Shard(os.open(self.path / key, os.O_RDONLY | os.O_CLOEXEC), [], [])
        except FileNotFoundError:  # by the specification every chunk of a shard that was never written is fill value
            shard = _Shard(-1, [_MISSING] * n, [_MISSING] * n)
        else:
            end = os.fstat(shard.fd).st_size
            if end < size:
                raise GeoductError(
                    f"shard {key} of {self.path} is truncated: {end} bytes, its index alone takes {size}"
                )
            index = os.pread(shard.fd, size, 0 if self._index_at_start else end - size)
            if self._index_crc and google_crc32c.value(index) != _CRC_RESIDUE:
                raise GeoductError(
                    f"shard {key} of {self.path} is corrupt or truncated: the crc32c of its index does not match"
                )
            entries = np.frombuffer(index, "<u8", 2 * n).reshape(n, 2)
            shard.offsets, shard.lengths = entries[:, 0].tolist(), entries[:, 1].tolist()
            reach = max((o + s for o, s in zip(shard.offsets, shard.lengths, strict=True) if o != _MISSING), default=0)
            if reach > end:
                raise GeoductError(
                    f"shard {key} of {self.path} is corrupt: its index points to byte {reach}, it has {end}"
                )
        self._shards[number] = shard
        # Without a lock, which a fork could inherit held: each of these steps on a dict is atomic.
        for oldest in list(self._shards)[:-MAX_OPEN_SHARDS]:
            self._shards.pop(oldest, None)
        return shard

    def _layout(self, array: zarr.Array[Any]) -> tuple[int, bool, bool, bool]:
        """Patches per shard, whether the index is at the start, has a crc32c, and whether chunks have one."""
        metadata: Any = array.metadata
        sharding = metadata.codecs[0]
        if len(metadata.codecs) != 1 or not isinstance(sharding, zarr.codecs.ShardingCodec):
            raise self._refused("codecs", metadata.codecs, "sharding_indexed alone")
        rest = self.shape[1:]
        if not rest or sharding.chunk_shape != (1, *rest) or array.shards is None or array.shards[1:] != rest:
            raise self._refused(
                "chunk and shard shape", (sharding.chunk_shape, array.shards), f"one patch a chunk, (1, {rest})"
            )
        if self.dtype.kind not in "iuf" or sys.byteorder != "little":
            raise self._refused("data type", (self.dtype,), "a numeric type on a little-endian machine")
        chunk_crc = self._chain(sharding.codecs, [zarr.codecs.BytesCodec, zarr.codecs.BloscCodec])
        index_crc = self._chain(sharding.index_codecs, [zarr.codecs.BytesCodec])
        return array.shards[0], sharding.index_location.value == "start", index_crc, chunk_crc

    def _chain(self, codecs: tuple[Any, ...], expected: list[type]) -> bool:
        """Whether the chain is `expected` followed by crc32c; `expected` alone is the other chain that is read."""
        kinds = [type(codec) for codec in codecs]
        big = getattr(getattr(codecs[0], "endian", None), "value", "little") == "big"
        if big or kinds not in (expected, [*expected, zarr.codecs.Crc32cCodec]):
            raise self._refused("codecs", codecs, f"{' → '.join(kind.__name__ for kind in expected)} (→ Crc32cCodec)")
        return kinds != expected

    def _refused(self, what: str, found: tuple[Any, ...], expected: str) -> GeoductError:
        return GeoductError(
            f"{self.path} is not read directly: {what} {', '.join(map(str, found))}; expected {expected}"
        )


class PatchReader:
    """The images and labels of a PatchSet, read together.

    Args:
        path: local folder of the PatchSet.

    Raises:
        GeoductError: an array is missing, is not read directly, or the two do not go together.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.image = PatchArray(self.path / "image")
        self.label = PatchArray(self.path / "label")
        image, label = self.image, self.label
        if len(image.shape) != 4 or label.shape != (image.shape[0], *image.shape[2:]):
            raise GeoductError(
                f"{self.path}: image {image.shape} and label {label.shape} do not go together, "
                "expected (patch, band, y, x) and (patch, y, x)"
            )
        bands = zarr.open_group(self.path, mode="r").attrs.get("bands")
        if not isinstance(bands, list) or len(bands) != image.shape[1]:
            raise GeoductError(f"{self.path}: attribute 'bands' is {bands!r}, expected {image.shape[1]} band names")
        self.bands = tuple(map(str, bands))

    def __len__(self) -> int:
        """Number of patches."""
        return len(self.image)

    @property
    def patches_per_shard(self) -> int:
        """Patches in a full shard of the images."""
        return self.image.patches_per_shard

    def read_into(self, patches: NDArray[np.integer[Any]], images: NDArray[Any], labels: NDArray[Any]) -> None:
        """Read `patches` (n,) into `images` (n, band, y, x) and `labels` (n, y, x), both as stored.

        Raises as `PatchArray.read` does.
        """
        self.image.read_into(patches, images)
        self.label.read_into(patches, labels)
