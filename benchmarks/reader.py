"""How fast patches come off the disk: Geoduct's reader beside memmap, zarr-python, tensorstore and one TIFF a band.

`python -m benchmarks.reader` writes 4,096 synthetic patches (image 12 × 120 × 120 uint16, label uint8) into a temporary
folder, then lets every way read in turn, round after round, from a warm page cache. What counts are ratios: each is
taken within a round, whose ways follow one another within seconds, and its median over the rounds is told. "Random
item" is one image and label at a time, from the main thread. "Shuffled epoch" is the same shuffled order for all, in
batches of 64 images and labels as torch tensors as stored, with two workers, into memory that is used again. Each way
has a process of its own, as it would have with its user: in one process they would inherit one another's heap, and a
fork the others' pages. On a machine that does other work too, the processor time of an epoch is the steadier figure.
zarr-python and tensorstore are tried in several ways, and the best of each counts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

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
from components.progress import track

BATCH, WORKERS, SIZE, TIFF_PATCHES = 64, 2, 120, 64
NAMES = ("image", "label")
Pair = tuple[NDArray[np.uint16], NDArray[np.uint8]]
Item = Callable[[int], Iterable[Any]]  # image and label of a patch
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
            out[0][position], out[1][position] = read(patch)

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
    out: Pair = (np.empty(image.shape[1:], np.uint16), np.empty(label.shape[1:], np.uint8))
    loader = PatchLoader(reader, np.arange(count), batch_size=BATCH, workers=WORKERS)

    def ours(_: Indices) -> Iterator[torch.Tensor]:
        return (batch["image"] for batch in loader)

    def torch_loader(order: Indices) -> Iterator[torch.Tensor]:
        batches = torch.utils.data.DataLoader(
            _Items(reader, order), batch_size=BATCH, num_workers=WORKERS, multiprocessing_context="fork"
        )
        return (images for images, _ in batches)

    def tiffs(patch: int) -> Pair:
        for band, name in enumerate(BANDS):
            with rasterio.open(folder / "tiff" / f"{patch % TIFF_PATCHES}_{name}.tif") as file:
                file.read(1, out=out[0][band])
        with rasterio.open(folder / "tiff" / f"{patch % TIFF_PATCHES}_label.tif") as file:
            return out[0], file.read(1)

    def memmap_batch(part: Indices, out: Pair) -> None:
        np.take(image, part, 0, out=out[0], mode="clip")
        np.take(label, part, 0, out=out[1], mode="clip")

    def zarr_batch(part: Indices, out: Pair) -> None:
        out[0][...], out[1][...] = (array.oindex[part] for array in zarrs)

    def tensorstore_batch(part: Indices, out: Pair) -> None:
        futures = [store[part].read() for store in stores]
        out[0][...], out[1][...] = (future.result() for future in futures)

    def tensorstore_into(part: Indices, out: Pair) -> None:
        targets = [tensorstore.array(values, copy=False) for values in out]
        for future in [t.write(s[part]) for t, s in zip(targets, stores, strict=True)]:
            future.result()

    items: dict[str, Item] = {
        "geoduct": lambda i: (reader.image.read(i, out[0]), reader.label.read(i, out[1])),
        "memmap, raw": lambda i: (image[i].copy(), label[i].copy()),
        "zarr-python": lambda i: [array[i] for array in zarrs],
        "tensorstore": lambda i: [future.result() for future in [store[i].read() for store in stores]],
        "rasterio, a TIFF a band": tiffs,
    }
    epochs: dict[str, tuple[Epoch, int]] = {
        "geoduct": (ours, 1),
        "memmap, raw": (in_threads(memmap_batch), 1),
        "geoduct below DataLoader": (torch_loader, 4),
        "zarr-python": (in_threads(item_by_item(items["zarr-python"])), 16),
        "zarr-python, batch": (in_threads(zarr_batch), 32),
        "tensorstore": (in_threads(item_by_item(items["tensorstore"])), 4),
        "tensorstore, batch": (in_threads(tensorstore_batch), 1),
        "tensorstore, batch in place": (in_threads(tensorstore_into), 1),
        "rasterio, a TIFF a band": (in_threads(item_by_item(tiffs)), 32),
    }
    return items, epochs


class Sample(NamedTuple):
    """What one round of one way took: patches a second, and processor time in microseconds a patch."""

    rate: float
    cpu: float


def sample(work: Callable[[], int]) -> Sample:
    """Time `work`, which returns how many patches it read; its child processes count if they have ended."""
    wall, cpu = time.perf_counter(), processor_time()
    patches = work()
    return Sample(patches / (time.perf_counter() - wall), (processor_time() - cpu) / patches * 1e6)


def processor_time() -> float:
    """Seconds of processor time of this process and its ended children; `os.times` counts in hundredths only."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure(folder: Path, count: int, rounds: int) -> tuple[dict[str, list[Sample]], dict[str, list[Sample]]]:
    """One sample a round of each way, one item at a time and over a shuffled epoch, in an order drawn for the round."""
    items, epochs = ways(folder, count)
    context = multiprocessing.get_context("spawn")
    ends = {name: context.Pipe() for name in epochs}
    processes = [context.Process(target=serve, args=(folder, count, name, ends[name][1])) for name in ends]
    for process in processes:
        process.start()

    def ask(name: str, what: str, turn: int) -> Sample:
        ends[name][0].send((what, turn))
        return ends[name][0].recv()

    item_samples: dict[str, list[Sample]] = {name: [] for name in items}
    epoch_samples: dict[str, list[Sample]] = {name: [] for name in epochs}
    for turn in track(range(rounds + 1), label="rounds"):
        for kind, samples in (("item", item_samples), ("epoch", epoch_samples)):
            for name in np.random.default_rng(turn).permutation(list(samples)).tolist():
                sample = ask(name, kind, turn)
                if turn:  # the first round opens files and touches memory for the first time
                    samples[name].append(sample)
    for name, process in zip(ends, processes, strict=True):
        ends[name][0].send(None)
        process.join()
    return item_samples, epoch_samples


def serve(folder: Path, count: int, name: str, asked: Connection) -> None:
    """Read in one way whenever asked, in a process of its own."""
    torch.set_num_threads(WORKERS)
    items, epochs = ways(folder, count)
    shard = PatchReader(folder / "patches.zarr").patches_per_shard
    while question := asked.recv():
        what, turn = question
        if what == "item":
            picks = np.random.default_rng(turn).integers(0, count, 400).tolist()
            work = partial(read_items, items[name], picks[:20] if "TIFF" in name else picks)
        else:
            epoch, share = epochs[name]
            order = shuffled_order(np.arange(count), shard, seed=0, epoch=turn)
            work = partial(read_epoch, epoch, order[: max(2 * BATCH, count // share)])
        asked.send(sample(work))


def read_items(read: Item, patches: list[int]) -> int:
    for patch in patches:
        read(patch)
    return len(patches)


def read_epoch(epoch: Epoch, order: Indices) -> int:
    return sum(len(images) for images in epoch(order))


def middle(samples: list[Sample]) -> Sample:
    """The median rate and the median processor time."""
    return Sample(*(statistics.median(values) for values in zip(*samples, strict=True)))


def faster(ours: list[Sample], peer: list[Sample]) -> float:
    """How many times as many patches a second as a peer: the median of the rounds' ratios."""
    return statistics.median(one.rate / other.rate for one, other in zip(ours, peer, strict=True))


def lighter(ours: list[Sample], peer: list[Sample]) -> float:
    """How many times our processor time a peer takes: the median of the rounds' ratios."""
    return statistics.median(other.cpu / one.cpu for one, other in zip(ours, peer, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    patches = int(os.environ.get("GEODUCT_BENCH_PATCHES", "4096"))
    parser.add_argument("--patches", type=int, default=patches, help="patches in the store; from GEODUCT_BENCH_PATCHES")
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ratio = write_stores(folder, options.patches, SIZE, TIFF_PATCHES)
        items, epochs = measure(folder, options.patches, options.rounds)
    print(f"{options.patches} patches of {len(BANDS)}×{SIZE}×{SIZE} uint16 at {ratio:.2f}:1, {options.rounds} rounds")
    print(f"{'':28s} {'random item':>20s} {'shuffled epoch':>20s} {'its processor time':>20s}")
    our_items, our_epochs = items["geoduct"], epochs["geoduct"]
    for name, rounds in epochs.items():
        found = items.get(name)
        item = f"{middle(found).rate:8,.0f}/s {faster(our_items, found):8.2f}×" if found else "–"
        epoch = f"{middle(rounds).rate:8,.0f}/s {faster(our_epochs, rounds):8.2f}×"
        cpu = f"{middle(rounds).cpu:8,.0f} µs {lighter(our_epochs, rounds):7.2f}×"
        print(f"{name:28s} {item:>20s} {epoch:>20s} {cpu:>20s}")
    peers = {
        "zarr-python": "zarr_python",
        "tensorstore": "tensorstore",
        "memmap, raw": "memmap",
        "rasterio": "rasterio",
    }
    ratios: dict[str, float] = {}
    for library, key in peers.items():  # of each library the best of its ways
        tried = [rounds for name, rounds in epochs.items() if name.startswith(library)]
        ratios[f"item_over_{key}"] = min(faster(our_items, f) for name, f in items.items() if name.startswith(library))
        ratios[f"epoch_over_{key}"] = min(faster(our_epochs, rounds) for rounds in tried)
        ratios[f"epoch_processor_time_{key}_over_ours"] = min(lighter(our_epochs, rounds) for rounds in tried)
    print(json.dumps({"benchmark": "reader", **{name: round(value, 2) for name, value in ratios.items()}}))


if __name__ == "__main__":
    main()
