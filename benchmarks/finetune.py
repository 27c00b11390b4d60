"""How well the data module feeds fine-tuning: beside the same step on a batch in memory, and beside TerraTorch's own.

`python -m benchmarks.finetune` writes a PatchSet of synthetic patches (six bands of uint16 and a label) and the very
same patches as one uncompressed GeoTIFF an image and one a label. A TerraTorch task (Prithvi, U-Net decoder) is then
trained by a plain Lightning Trainer, epoch after epoch in turn, from one batch that stays in memory (what the device
can do), from `PatchSetDataModule`, and from TerraTorch's `GenericNonGeoSegmentationDataModule` over the GeoTIFFs, with
the same number of workers, flips and turns, and normalisation. "Waiting" is the time from the end of one training step
to the beginning of the next, the transfer to the device included. "Data alone" is an epoch with no network at all.
What counts are ratios within one run: medians over the rounds, the first left out. On a machine that does other work
too, the processor time of an image, over all threads and processes, is the steadier figure. On a GPU tiny, 100M and
300M are run; a CPU runs tiny alone, on half of its cores, so that the other half can read. `--save` keeps the figures,
with the hardware named, under benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import re
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import geopandas
import numpy as np
import rasterio
import torch
from lightning import Callback, LightningDataModule, Trainer
from shapely.geometry import box

from benchmarks.synthetic_patches import BANDS, blocks
from components.artifacts import PatchSet
from components.artifacts.nomenclature import LandClass, Nomenclature
from components.artifacts.patchset import checksum, create_patchset, patches_per_shard, write_index, write_shard
from components.artifacts.shards import Shards
from components.blocks import cores
from components.finetune.bands import published
from components.finetune.data import PatchSetDataModule

RESULTS = Path(__file__).parent / "results"
CLASSES = 9
MODELS = {"tiny": "prithvi_eo_v2_tiny_tl", "100M": "prithvi_eo_v2_100_tl", "300M": "prithvi_eo_v2_300_tl"}
LAYERS = {"tiny": [2, 5, 8, 11], "100M": [2, 5, 8, 11], "300M": [5, 11, 17, 23]}
HLS = published(MODELS["tiny"])
FEEDS = ("one batch in memory", "PatchSetDataModule", "TerraTorch's GeoTIFFs")


def write_patches(folder: Path, count: int, size: int) -> PatchSet:
    """The same patches as `patches`, a PatchSet, and as `tiff/<split>/<number>_{image,label}.tif`; a few are val."""
    keep = [BANDS.index(band) for band in HLS.bands]
    land = Nomenclature("bench", tuple(LandClass(str(i), f"class {i}", f"#{i * 28:02x}8060") for i in range(CLASSES)))
    attributes = {"statistics": {b: {"mean": 2000.0, "std": 700.0} for b in HLS.bands}}
    path = folder / "patches"
    images, labels = map(Shards, create_patchset(path, count, size, HLS.bands, land, attributes))
    shard = patches_per_shard(len(HLS.bands), size)
    splits = np.array(["train"] * (count - 8) + ["val"] * 8)
    for split in ("train", "val"):
        (folder / "tiff" / split).mkdir(parents=True)
    shares, sums = np.empty((count, CLASSES)), np.empty(count, np.uint32)
    for first, image, label in blocks(count, size, shard):
        part = slice(first, first + len(image))
        write_shard(images, labels, first // shard, image[:, keep], label)
        shares[part] = [[(one == c).mean() for c in range(CLASSES)] for one in label]
        sums[part] = [checksum(*patch) for patch in zip(image[:, keep], label, strict=True)]
        for number, (pixels, truth) in enumerate(zip(image[:, keep], label, strict=True), first):
            stem = folder / "tiff" / splits[number] / f"{number:06d}"
            write_tiff(Path(f"{stem}_image.tif"), pixels)
            write_tiff(Path(f"{stem}_label.tif"), truth[None])
    index = {"id": [f"p{i:06d}" for i in range(count)], "split": splits, "block": np.arange(count) // 16}
    index |= {"row": np.arange(count), "col": np.arange(count), "valid_fraction": np.ones(count)}
    index |= {"dominant": shares.argmax(axis=1), "crc32c": sums}
    index |= {f"fraction_{c}": shares[:, c] for c in range(CLASSES)}
    footprints = [box(i, 0, i + 1, 1) for i in range(count)]
    write_index(path, geopandas.GeoDataFrame(index, geometry=footprints, crs="EPSG:32627"))
    PatchSet(path).seal({})
    return PatchSet.open(path)


def write_tiff(path: Path, pixels: np.ndarray) -> None:
    """(band, y, x) as one GeoTIFF, uncompressed: the fastest to read that there is."""
    count, height, width = pixels.shape
    grid = {"crs": "EPSG:32627", "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 7_000_000)}
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=pixels.dtype, **grid
    ) as file:
        file.write(pixels)


class Held(LightningDataModule):
    """One batch again and again: what remains of an epoch when no data is waited for."""

    def __init__(self, batch: dict[str, Any], count: int) -> None:
        super().__init__()
        self.batch, self.count = batch, count

    def train_dataloader(self) -> Held:
        """Itself."""
        return self

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for _ in range(self.count):
            yield dict(self.batch)


class Epoch(NamedTuple):
    """What one epoch took."""

    seconds: float
    waiting: float
    images: int
    processor: float


def processor_time() -> float:
    """Seconds of all threads so far, and of the processes that were started and have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


class Watch(Callback):
    """Times each epoch, and the gaps between its training steps."""

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.begun = self.idle_since = self.waiting = self.used = 0.0
        self.images = 0

    def on_train_epoch_start(self, trainer: Trainer, task: Any) -> None:
        self.begun = self.idle_since = now(task.device)
        self.waiting, self.images, self.used = 0.0, 0, processor_time()

    def on_train_batch_start(self, trainer: Trainer, task: Any, batch: Any, number: int) -> None:
        self.waiting += time.perf_counter() - self.idle_since
        self.images += len(batch["image"])

    def on_train_batch_end(self, trainer: Trainer, task: Any, *_: Any) -> None:
        self.idle_since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, task: Any) -> None:
        seconds = now(task.device) - self.begun
        self.epochs.append(Epoch(seconds, self.waiting, self.images, processor_time() - self.used))


def now(device: torch.device) -> float:
    """The time once all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def terratorchs(folder: Path, batch_size: int, workers: int, pinned: bool) -> Any:
    """TerraTorch's own data module over the GeoTIFFs."""
    from albumentations import D4
    from albumentations.pytorch import ToTensorV2
    from terratorch.datamodules import GenericNonGeoSegmentationDataModule

    return GenericNonGeoSegmentationDataModule(
        batch_size,
        workers,
        CLASSES,
        train_data_root=folder / "tiff" / "train",
        val_data_root=folder / "tiff" / "val",
        img_grep="*_image.tif",
        label_grep="*_label.tif",
        means=list(HLS.mean),
        stds=list(HLS.std),
        train_transform=[D4(), ToTensorV2()],
        no_data_replace=0,
        no_label_replace=255,
        pin_memory=pinned,
        check_stackability=False,
    )


def task_of(name: str) -> Any:
    """Prithvi of that size, untrained, with a U-Net decoder."""
    from terratorch.tasks import SemanticSegmentationTask

    torch.manual_seed(0)
    network = {
        "backbone": MODELS[name],
        "backbone_pretrained": False,
        "necks": [
            {"name": "SelectIndices", "indices": LAYERS[name]},
            {"name": "ReshapeTokensToImage"},
            {"name": "LearnedInterpolateToPyramidal"},
        ],
        "decoder": "UNetDecoder",
        "decoder_channels": [128, 64, 32, 16],
        "num_classes": CLASSES,
    }
    return SemanticSegmentationTask(
        model_args=network,
        model_factory="EncoderDecoderFactory",
        loss="ce",
        ignore_index=255,
        optimizer="AdamW",
        lr=1e-4,
    )


def fit(task: Any, data: LightningDataModule, steps: int, gpu: bool) -> Epoch:
    """One epoch of so many steps (0 = all) by a plain Trainer, without validation."""
    watch = Watch()
    Trainer(
        accelerator="gpu" if gpu else "cpu",
        devices=1,
        precision="bf16-mixed" if gpu else "32-true",
        max_epochs=1,
        limit_train_batches=steps or 1.0,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(task, datamodule=data)
    return watch.epochs[0]


def alone(loader: Any, finish: Callable[[dict[str, Any]], Any]) -> Epoch:
    """One epoch of batches, each normalised, and nothing done with them."""
    begun, used, images = time.perf_counter(), processor_time(), 0
    for batch in loader:
        images += len(finish(batch)["image"])
    seconds = time.perf_counter() - begun
    return Epoch(seconds, seconds, images, processor_time() - used)


def measure(folder: Path, patches: PatchSet, models: list[str], given: argparse.Namespace, gpu: bool) -> dict[str, Any]:
    """Images a second and share of waiting, by model and feed; `data alone` stands beside the models."""
    prithvi = {"normalisation": "backbone", "backbone": MODELS["tiny"]}
    ours = PatchSetDataModule(patches, task="segmentation", batch_size=given.batch, workers=given.workers, **prithvi)
    theirs = terratorchs(folder, given.batch, given.workers, gpu)
    theirs.setup("fit")
    found: dict[str, Any] = {
        "data alone": collect(
            {
                FEEDS[1]: lambda: alone(ours.train_dataloader(), lambda batch: batch),
                FEEDS[2]: lambda: alone(theirs.train_dataloader(), theirs.aug),
            },
            3,
        )
    }
    first = next(iter(ours.train_dataloader()))
    steps = len(ours.train_dataloader())
    for name in models:
        task = task_of(name)
        device = torch.device("cuda" if gpu else "cpu")
        held = Held({key: first[key].to(device) for key in ("image", "mask")}, steps)
        feeds = {FEEDS[0]: held, FEEDS[1]: ours, FEEDS[2]: theirs}
        try:
            found[name] = collect(
                {feed: lambda task=task, data=data: fit(task, data, given.steps, gpu) for feed, data in feeds.items()},
                given.rounds,
            )
        except torch.OutOfMemoryError:
            found[name] = f"did not fit into the memory of the GPU at a batch size of {given.batch}"
        del task
    return found


def collect(runs: dict[str, Callable[[], Epoch]], rounds: int) -> dict[str, dict[str, float]]:
    """Run each in turn, round after round; medians without the first round, which warms up."""
    epochs: dict[str, list[Epoch]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            epochs[name].append(run())
    return {
        name: {
            "images_per_second": round(statistics.median(e.images / e.seconds for e in kept[1:]), 2),
            "waiting": round(statistics.median(e.waiting / e.seconds for e in kept[1:]), 4),
            "processor_ms_per_image": round(statistics.median(e.processor / e.images for e in kept[1:]) * 1e3, 3),
        }
        for name, kept in epochs.items()
    }


def hardware(gpu: bool) -> dict[str, Any]:
    """What this runs on."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "cpu": cpu.group(1) if cpu else platform.machine(),
        "cores": cores(),
        "load average at the start": round(os.getloadavg()[0], 1),
        "versions": {name: version(name) for name in ("torch", "lightning", "terratorch", "zarr", "rasterio")},
    }


def table(found: dict[str, Any]) -> str:
    """The figures and the two ratios that matter."""
    columns = f"{'images/s':>10s}{'waiting':>10s}{'/ in memory':>13s}{'/ GeoTIFFs':>12s}{'cpu ms/image':>14s}"
    lines = [f"{'':14s}{'fed by':24s}{columns}"]
    for model, feeds in found.items():
        if isinstance(feeds, str):
            lines.append(f"{model:14s}{feeds}")
            continue
        memory, tiffs = (feeds.get(FEEDS[i], {}).get("images_per_second") for i in (0, 2))
        for feed, figures in feeds.items():
            rate = figures["images_per_second"]
            ratios = [f"{rate / other:.2f}" if other else "–" for other in (memory, tiffs)]
            waiting = f"{figures['waiting']:.1%}" if memory else "–"
            lines.append(
                f"{model:14s}{feed:24s}{rate:10.1f}{waiting:>10s}{ratios[0]:>13s}{ratios[1]:>12s}{figures['processor_ms_per_image']:14.2f}"
            )
    return "\n".join(lines)


def main() -> None:
    """Print a table and one line of JSON; keep both if asked to."""
    gpu = torch.cuda.is_available()
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("--patches", type=int, default=2056 if gpu else 136, help="8 of them are not trained on")
    options.add_argument("--size", type=int, default=224 if gpu else 112, help="edge of a patch in pixels")
    options.add_argument("--batch", type=int, default=64 if gpu else 8, help="patches in a batch")
    options.add_argument("--steps", type=int, default=0 if gpu else 6, help="of an epoch with a network; 0 = all")
    options.add_argument("--rounds", type=int, default=3 if gpu else 2, help="epochs that count, of each feed")
    options.add_argument("--workers", type=int, default=cores(), help="threads of ours, processes of TerraTorch's")
    options.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS) if gpu else ["tiny"])
    options.add_argument("--save", action="store_true", help=f"keep the result under {RESULTS.name}/")
    given = options.parse_args()
    if not gpu:
        torch.set_num_threads(max(1, cores() // 2))
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    result: dict[str, Any] = {"benchmark": "finetune", "hardware": hardware(gpu), "options": vars(given)}
    with tempfile.TemporaryDirectory(prefix="geoduct-bench-") as scratch:
        folder = Path(scratch)
        patches = write_patches(folder, given.patches, given.size)
        result["found"] = measure(folder, patches, given.models, given, gpu)
    if left := [name for name in MODELS if name not in given.models]:
        result["not run"] = f"{', '.join(left)}: " + ("not asked for" if gpu else "a step takes too long on a CPU")
    title = f"{result['hardware']['gpu'] or result['hardware']['cpu']}, {cores()} cores"
    load = result["hardware"]["load average at the start"]
    text = f"{title}, load average {load}; {given.patches - 8} patches of 6×{given.size}×{given.size}, batches of "
    text += f"{given.batch}\n{table(result['found'])}" + (f"\nnot run: {result['not run']}" if left else "") + "\n"
    print(text, end="")
    print(json.dumps(result))
    if given.save:
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"finetune-{slug}.json").write_text(json.dumps(result, indent=1) + "\n")
        (RESULTS / f"finetune-{slug}.txt").write_text(text)


if __name__ == "__main__":
    main()
