"""Patches for benchmarks: smooth fields that bands share, band gains and sensor noise, so that codecs meet the entropy
of real reflectance (lz4 with bitshuffle 1.5 for bands of 10 m), made at the speed of writing them. Bands of 20 and 60 m
lie on the grid of 10 m as `acquire` brings them there, each pixel repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from components.artifacts.patchset import patches_per_shard, write_shard
from components.artifacts.shards import Shards
from components.artifacts.zarrs import consolidate, create_array, create_group
from components.progress import track

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
_PIXEL = np.array((6, 1, 1, 1, 2, 2, 2, 1, 2, 6, 2, 2))  # edge of a band's pixel, in pixels of 10 m
_NOISE = 30.0  # DN; with this and the fields below lz4-5 with bitshuffle reaches 1.55 on bands of 10 m
_KNOTS = 8  # coarse cells along an edge


def blocks(
    count: int, size: int, step: int, seed: int = 0
) -> Iterator[tuple[int, NDArray[np.uint16], NDArray[np.uint8]]]:
    """Yield (first patch, images (n, band, y, x) uint16 DN, labels (n, y, x) uint8) of `step` patches at a time."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(2**22, dtype=np.float32) * np.float32(_NOISE)
    at = np.linspace(0, _KNOTS - 1, size, dtype=np.float32)[:, None]
    up = np.clip(1 - abs(at - np.arange(_KNOTS, dtype=np.float32)), 0, 1)  # linear interpolation, (size, knots)
    gains = rng.uniform(0.2, 1.0, (len(BANDS), 3)).astype(np.float32)
    levels = np.linspace(900, 2600, len(BANDS), dtype=np.float32)[:, None, None]
    pixels = len(BANDS) * size * size
    for first in range(0, count, step):
        n = min(step, count - first)
        images = np.empty((n, len(BANDS), size, size), np.uint16)
        labels = np.empty((n, size, size), np.uint8)
        for i in range(n):
            fields = up @ rng.normal(0, 350, (3, _KNOTS, _KNOTS)).astype(np.float32) @ up.T
            start = int(rng.integers(0, len(noise) - pixels))
            image = levels + np.tensordot(gains, fields, 1) + noise[start : start + pixels].reshape(images.shape[1:])
            for band, edge in enumerate(_PIXEL):
                held = np.arange(size) // edge * edge
                images[i, band] = np.clip(image[band, held[:, None], held], 1, 16000)
            labels[i] = np.clip(fields[0] // 150 + 4, 0, 8)
        yield first, images, labels


def write_stores(folder: Path, count: int, size: int, tiff_patches: int) -> float:
    """Write the same patches several ways and return how much smaller the chunks of images are than their pixels.

    `patches.zarr` is the house layout, `image.bin` and `label.bin` are the bare arrays, `tiff/<patch>_<band>.tif` and
    `tiff/<patch>_label.tif` hold the first `tiff_patches` patches.
    """
    shard = patches_per_shard(len(BANDS), size)
    path = folder / "patches.zarr"
    group = create_group(path, {"bands": list(BANDS)})
    dims = {"image": ("patch", "band", "y", "x"), "label": ("patch", "y", "x")}
    shapes = {"image": (len(BANDS), size, size), "label": (size, size)}
    arrays: dict[str, Any] = {
        name: create_array(
            group,
            name,
            shape=(count, *shapes[name]),
            dtype=dtype,
            dims=dims[name],
            chunks=(1, *shapes[name]),
            shards=(shard, *shapes[name]),
        )
        for name, dtype in (("image", "uint16"), ("label", "uint8"))
    }
    consolidate(path)
    image, label = Shards(arrays["image"]), Shards(arrays["label"])
    (folder / "tiff").mkdir()
    with (folder / "image.bin").open("wb") as raw_images, (folder / "label.bin").open("wb") as raw_labels:
        parts = blocks(count, size, shard)
        for first, images, labels in track(parts, total=-(-count // shard), label="write patches"):
            write_shard(image, label, first // shard, images, labels)
            raw_images.write(images.tobytes())
            raw_labels.write(labels.tobytes())
            for i in range(min(len(images), tiff_patches - first)):
                for name, pixels in zip((*BANDS, "label"), (*images[i], labels[i]), strict=True):
                    _write_tiff(folder / "tiff" / f"{first + i}_{name}.tif", pixels)
    encoded = sum(file.stat().st_size for file in (path / "image" / "c").rglob("*") if file.is_file())
    return (folder / "image.bin").stat().st_size / encoded


def _write_tiff(path: Path, pixels: NDArray[Any]) -> None:
    height, width = pixels.shape
    transform = rasterio.Affine(10, 0, 500_000, 0, -10, 7_000_000)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype=pixels.dtype,
        crs="EPSG:32627",
        transform=transform,
    ) as file:
        file.write(pixels, 1)
