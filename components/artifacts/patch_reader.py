"""Reads patches, one chunk each, out of the arrays of a PatchSet: what the loader and the scores stand on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from components.artifacts.shards import ShardedArray
from components.errors import GeoductError


class PatchArray(ShardedArray):
    """One array of a PatchSet, `(patch, …)`, whose chunks are single patches and whose shards hold N patches.

    Args:
        path: local folder of the array, the one that holds its `zarr.json`.

    Raises:
        GeoductError: no Zarr v3 array there, or a layout or codec that is not read directly.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            array = zarr.open_array(path, mode="r", zarr_format=3)
        except Exception as error:  # zarr raises KeyError, ValueError, TypeError or its own for a broken zarr.json
            raise GeoductError(f"{path} does not open as a Zarr v3 array: {error}") from error
        super().__init__(array)
        one = (1, *self.shape[1:])
        if len(one) == 1 or self.chunk != one or self.shard[1:] != one[1:]:
            raise self._refused("chunk and shard shape", (self.chunk, self.shard), f"one patch a chunk, {one}")
        self.patches_per_shard = self.shard[0]

    def __len__(self) -> int:
        """Number of patches."""
        return self.shape[0]

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
        if not 0 <= patch < self.shape[0]:
            raise self._no_such(patch)
        number, slot = divmod(patch, self.patches_per_shard)
        self._chunk(number, slot, out)
        return out

    def read_into(self, patches: NDArray[np.integer[Any]], out: NDArray[Any]) -> None:
        """Read `patches` (n,) in this order into `out` (n, …); raises as `read` does, and before it reads any."""
        read_together(patches, (self, out))

    def check_all(self, patches: NDArray[np.integer[Any]], out: NDArray[Any]) -> None:
        """Check that `patches` (n,) are there and go into `out` (n, …), before any is read; raises as `read` does."""
        self._check(out, (len(patches), *self.shape[1:]))
        if len(patches) and not 0 <= patches.min() <= patches.max() < self.shape[0]:
            raise self._no_such(int(patches[(patches < 0) | (patches >= self.shape[0])][0]))

    def _check(self, out: NDArray[Any], shape: tuple[int, ...]) -> None:
        if out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise ValueError(f"out is {out.dtype} {out.shape}, expected contiguous {self.dtype} {shape}")

    def _no_such(self, patch: int) -> IndexError:
        return IndexError(f"patch {patch} of {self.path} does not exist, expected 0 to {len(self) - 1}")

    def _name(self, number: int, slot: int) -> str:
        return f"patch {number * self.patches_per_shard + slot}"


def read_together(patches: NDArray[np.integer[Any]], *pairs: tuple[PatchArray, NDArray[Any]]) -> None:
    """Read `patches` (n,) of several arrays, each into its own memory (n, …), patch by patch.

    Not array by array: small chunks, such as those of labels, hold the GIL for most of their time, and one after the
    other they would keep the threads that decode images waiting.

    Raises as `PatchArray.read` does, and before it reads any.
    """
    for array, out in pairs:
        array.check_all(patches, out)
    for position, patch in enumerate(patches.tolist()):
        for array, out in pairs:
            number, slot = divmod(patch, array.patches_per_shard)
            array._chunk(number, slot, out[position])


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

    def read(self, patch: int, image: NDArray[Any], label: NDArray[Any]) -> None:
        """Read one patch into `image` (band, y, x) and `label` (y, x), both as stored.

        Raises as `PatchArray.read` does.
        """
        self.image.read(patch, image)
        self.label.read(patch, label)

    def read_into(self, patches: NDArray[np.integer[Any]], images: NDArray[Any], labels: NDArray[Any]) -> None:
        """Read `patches` (n,) into `images` (n, band, y, x) and `labels` (n, y, x), both as stored.

        Raises as `PatchArray.read` does.
        """
        read_together(patches, (self.label, labels), (self.image, images))
