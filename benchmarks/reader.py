"""How fast patches come off the disk: Geoduct's reader beside memmap, zarr-python, tensorstore and one TIFF a band.

`python -m benchmarks.reader` writes 4,096 synthetic patches (image 12 × 120 × 120 uint16, label uint8) into a temporary
folder, then lets every way read in turn, round after round, from a warm page cache. What counts are ratios within one
run: medians over the rounds, in patches a second. "Random item" is one image and label at a time, from the main thread.
"Shuffled epoch" is the same shuffled order for all, in batches of 64 images and labels as torch tensors as stored, with
two workers, into memory that is used again. zarr-python and tensorstore are tried in several ways, and the fastest of
each counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import tensorstore
import torch
import zarr
from numpy.typing import NDArray

from benchmarks.synthetic_patches import BANDS, write_stores
from components.artifacts.patch_order import Indices, shuffled_order
from components.artifacts.patch_reader import PatchReader
from components.learning.loader import BatchMemory, PatchLoader

BATCH, WORKERS, SIZE, TIFF_PATCHES = 64, 2, 120, 64
NAMES = ("image", "label")
Pair = tuple[NDArray[np.uint16], NDArray[np.uint8]]
Item = Callable[[int], Iterable[Any]]
Epoch = Callable[[Indices], Iterable[torch.Tensor]]


def batch_memory() -> tuple[BatchMemory, BatchMemory]:
    return (
        BatchMemory((BATCH, len(BANDS), SIZE, SIZE), torch.uint16),
        BatchMemory((BATCH, SIZE, SIZE), torch.uint8),
    )


def in_threads(read: Callable[[Indices, Pair], object]) -> Epoch:
    """Batches that `read` fills in two threads, four ahead, as Geoduct's own loader does it."""
    memory = batch_memory()

    def batch(part: Indices) -> torch.Tensor:
        images, labels = (m.take(len(part)) for m in memory)
        read(part, (images.numpy(), labels.numpy()))
        return images

    def epoch(order: Indices) -> Iterator[torch.Tensor]:
        with ThreadPoolExecutor(WORKERS) as pool:
            parts = iter(np.split(order, range(BATCH, len(order), BATCH)))
            pending = deque(pool.submit(batch, part) for _, part in zip(range(2 * WORKERS), parts, strict=False))
            while pending:
                yield pending.popleft().result()
                pending.extend(pool.submit(batch, part) for _, part in zip(range(1), parts, strict=False))

    return epoch


def item_by_item(read: Item) -> Callable[[Indices, Pair], None]:
    def fill(part: Indices, out: Pair) -> None:
        for position, patch in enumerate(part.tolist()):
            for array, values in zip(out, read(patch), strict=True):
                array[position] = values

    return fill


class _Items(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Geoduct's reader below torch's own DataLoader, to show what its worker processes cost."""

    def __init__(self, reader: PatchReader, order: Indices) -> None:
        self.reader, self.order = reader, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        patch = int(self.order[position])
        return torch.from_numpy(self.reader.image.read(patch)), torch.from_numpy(self.reader.label.read(patch))


def tensorstores(path: Path) -> list[Any]:
    spec = {"driver": "zarr3", "context": {"cache_pool": {"total_bytes_limit": 0}}}
    return [
        tensorstore.open({**spec, "kvstore": {"driver": "file", "path": str(path / name)}}, read=True).result()
        for name in NAMES
    ]


def ways(folder: Path, count: int) -> tuple[dict[str, Item], dict[str, tuple[Epoch, int]]]:
    """The ways to read one item; the ways to read an epoch, each with n: a round of it visits 1/n of the patches."""
    path = folder / "patches.zarr"
    reader = PatchReader(path)
    image = np.memmap(folder / "image.bin", np.uint16, "r", shape=(count, len(BANDS), SIZE, SIZE))
    label = np.memmap(folder / "label.bin", np.uint8, "r", shape=(count, SIZE, SIZE))
    zarrs: list[Any] = [zarr.open_array(path / name, mode="r") for name in NAMES]
    stores = tensorstores(path)
    out = np.empty(image.shape[1:], np.uint16), np.empty(label.shape[1:], np.uint8)
    loader = PatchLoader(reader, np.arange(count // 2), batch_size=BATCH, workers=WORKERS)

    def ours(_: Indices) -> Iterator[torch.Tensor]:
        return (batch["image"] for batch in loader)

    def torch_loader(order: Indices) -> Iterator[torch.Tensor]:
        batches = torch.utils.data.DataLoader(_Items(reader, order), batch_size=BATCH, num_workers=WORKERS)
        return (images for images, _ in batches)

    def tiffs(patch: int) -> Pair:
        for band, name in enumerate(BANDS):
            with rasterio.open(folder / "tiff" / f"{patch % TIFF_PATCHES}_{name}.tif") as file:
                file.read(1, out=out[0][band])
        with rasterio.open(folder / "tiff" / f"{patch % TIFF_PATCHES}_label.tif") as file:
            return out[0], file.read(1)

    def memmap_batch(part: Indices, out: Pair) -> None:
        for array, values in zip((image, label), out, strict=True):
            np.take(array, part, 0, out=values, mode="clip")

    def zarr_batch(part: Indices, out: Pair) -> None:
        for array, values in zip(zarrs, out, strict=True):
            values[...] = array.oindex[part]

    def tensorstore_batch(part: Indices, out: Pair) -> None:
        futures = [store[part].read() for store in stores]
        for future, values in zip(futures, out, strict=True):
            values[...] = future.result()

    def tensorstore_into(part: Indices, out: Pair) -> None:
        targets = [tensorstore.array(values, copy=False) for values in out]
        for future in [t.write(s[part]) for t, s in zip(targets, stores, strict=True)]:
            future.result()

    items: dict[str, Item] = {
        "geoduct": lambda i: (reader.image.read(i, out[0]), reader.label.read(i, out[1])),
        "memmap, raw": lambda i: (np.copyto(out[0], image[i]), np.copyto(out[1], label[i])),
        "zarr-python": lambda i: [array[i] for array in zarrs],
        "tensorstore": lambda i: [future.result() for future in [store[i].read() for store in stores]],
        "rasterio, a TIFF a band": tiffs,
    }
    epochs: dict[str, tuple[Epoch, int]] = {
        "geoduct": (ours, 2),
        "memmap, raw": (in_threads(memmap_batch), 2),
        "geoduct below DataLoader": (torch_loader, 4),
        "zarr-python": (in_threads(item_by_item(items["zarr-python"])), 16),
        "zarr-python, batch": (in_threads(zarr_batch), 32),
        "tensorstore": (in_threads(item_by_item(items["tensorstore"])), 4),
        "tensorstore, batch": (in_threads(tensorstore_batch), 2),
        "tensorstore, batch in place": (in_threads(tensorstore_into), 2),
        "rasterio, a TIFF a band": (in_threads(item_by_item(tiffs)), 32),
    }
    return items, epochs


def rate(work: Callable[[], int]) -> float:
    """Patches a second of `work`, which returns how many it read."""
    begin = time.perf_counter()
    return work() / (time.perf_counter() - begin)


def measure(folder: Path, count: int, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Median patches a second of each way, one item at a time and over a shuffled epoch; the ways take turns."""
    items, epochs = ways(folder, count)
    shard = PatchReader(folder / "patches.zarr").patches_per_shard
    item_rates: dict[str, list[float]] = {name: [] for name in items}
    epoch_rates: dict[str, list[float]] = {name: [] for name in epochs}
    for turn in range(rounds + 1):
        picks = np.random.default_rng(turn).integers(0, count, 400).tolist()
        for name, read in items.items():
            some = picks[:20] if "TIFF" in name else picks
            item_rates[name].append(rate(lambda read=read, some=some: len([read(i) for i in some])))
        order = shuffled_order(np.arange(count // 2), shard, seed=0, epoch=turn)
        for name, (epoch, share) in epochs.items():
            part = order[: max(2 * BATCH, count // share)]
            epoch_rates[name].append(rate(lambda epoch=epoch, part=part: sum(len(b) for b in epoch(part))))
    # The first round opens files and fills memory; it does not count.
    first, second = ({n: statistics.median(r[1:]) for n, r in rates.items()} for rates in (item_rates, epoch_rates))
    return first, second


def fastest(epochs: dict[str, float], library: str) -> float:
    return max(rate for name, rate in epochs.items() if name.startswith(library))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    patches = int(os.environ.get("GEODUCT_BENCH_PATCHES", "4096"))
    parser.add_argument("--patches", type=int, default=patches, help="patches in the store; from GEODUCT_BENCH_PATCHES")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(WORKERS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ratio = write_stores(folder, options.patches, SIZE, TIFF_PATCHES)
        items, epochs = measure(folder, options.patches, options.rounds)
    print(f"{options.patches} patches of {len(BANDS)}×{SIZE}×{SIZE} uint16 at {ratio:.2f}:1, {options.rounds} rounds")
    print(f"{'patches/s':28s} {'random item':>11s} {'geoduct is':>11s} {'shuffled epoch':>15s} {'geoduct is':>11s}")
    for name, epoch in epochs.items():
        item = items.get(name)
        left = f"{item:11,.0f} {items['geoduct'] / item:10.2f}×" if item else f"{'–':>11s} {'':11s}"
        print(f"{name:28s} {left} {epoch:15,.0f} {epochs['geoduct'] / epoch:10.2f}×")
    peers = {
        "zarr-python": "zarr_python",
        "tensorstore": "tensorstore",
        "memmap, raw": "memmap",
        "rasterio": "rasterio",
    }
    ratios = {f"item_over_{key}": items["geoduct"] / fastest(items, name) for name, key in peers.items()}
    ratios |= {f"epoch_over_{key}": epochs["geoduct"] / fastest(epochs, name) for name, key in peers.items()}
    print(json.dumps({"benchmark": "reader", **{name: round(value, 2) for name, value in ratios.items()}}))


if __name__ == "__main__":
    main()
