"""How much of predict's time is the network's: the bare forward pass on the same tiles, held in memory and normalised,
against the whole of predict, from the Composite on disk to the finished Map; and how its memory grows with the scene.

Both are timed in turn, in one process, on an untrained U-Net over a scene of noise: neither the weights nor the land
change what there is to compute. The seconds of processor time beside those of the clock say the same on a machine that
others use as well. Each process but this one is fresh, so that peak memory is that of one thing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

Precision = Literal["32", "bf16"]

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", **os.environ}
"""As predict sets it for itself: the bare forward pass shall have it no worse."""
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
PATCH = 224
BATCH = 16
OVERLAP = 0.25
HELD = 4
"""Batches that the bare forward pass takes in turn: enough that none is still in the processor's cache."""


def make_scene(path: Path, size: int) -> None:
    """A Composite of `size` x `size` pixels: waves with sensor noise, the same in each shard."""
    import numpy as np
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from components.artifacts.composite import Composite, create_composite
    from components.artifacts.zarrs import SHARD

    grid = GeoBox((size, size), Affine(10, 0, 500_000, 0, -10, 7_100_000), "EPSG:32627")
    reflectance, observations = create_composite(path, grid, BANDS, "2023-06-01T00:00:00Z", "2023-08-31T00:00:00Z")
    edge = np.arange(min(SHARD, size))
    land = 2000 + 700 * np.add.outer(np.sin(edge / 40), np.cos(edge / 33))
    noise = np.random.default_rng(0).normal(0, 40, (len(BANDS), *land.shape))
    shard = (land + noise).astype(np.uint16)
    for y in range(0, size, SHARD):
        for x in range(0, size, SHARD):
            h, w = min(SHARD, size - y), min(SHARD, size - x)
            reflectance[:, y : y + h, x : x + w] = shard[:, :h, :w]
            observations[y : y + h, x : x + w] = 1
    Composite(path).seal({})


def make_model(path: Path) -> None:
    """A U-Net with a ResNet-18 encoder, untrained, for nine classes."""
    import torch

    from components.artifacts.model import Description, Model, write_model
    from components.artifacts.nomenclature import LandClass, Nomenclature
    from components.learning.networks import build, design, weights_of

    torch.manual_seed(0)
    classes = Nomenclature("nine", tuple(LandClass(str(i), f"class {i}", f"#{i * 28:02x}8060") for i in range(9)))
    architecture = design("segmentation", "resnet18", bands=len(BANDS), classes=len(classes))
    statistics = {band: {"mean": 2000.0, "std": 700.0} for band in BANDS}
    description = Description("segmentation", architecture, BANDS, statistics, "standardise", classes, PATCH, "none")
    write_model(path, description, weights_of(build(architecture)))
    Model(path).seal({})


def time_both(model: Path, scene: Path, scratch: Path, rounds: int, precision: Precision) -> dict[str, object]:
    """Seconds of the bare forward pass and of the whole of predict, in turn; `… cpu` of processor time, all threads."""
    import numpy as np
    import torch

    from components.artifacts import Composite, Map, Model
    from components.learning.normalisation import normalise
    from components.learning.predictor import Predictor
    from components.predict.run import predict_map
    from components.predict.tiles import axis

    opened, composite = Model.open(model), Composite.open(scene)
    predictor = Predictor(opened, bf16=precision == "bf16")
    array = composite.array("reflectance")
    starts = axis(array.shape[1], PATCH, OVERLAP).starts
    tiles = [(y, x) for y in starts for x in starts]
    images = torch.empty((HELD, BATCH, len(BANDS), PATCH, PATCH)).contiguous()
    for number, (y, x) in enumerate(tiles[: HELD * BATCH]):
        held = np.empty(images.shape[2:], np.float32)
        normalise(np.asarray(array[:, y : y + PATCH, x : x + PATCH]), predictor.scaling, held)
        images[number // BATCH, number % BATCH] = torch.from_numpy(held)
    batches = [image.contiguous(memory_format=torch.channels_last) for image in images]
    count = -(-len(tiles) // BATCH)

    def bare() -> None:
        for number in range(count):
            predictor.forward(batches[number % HELD])

    def whole() -> None:
        out = Map(scratch / "map")
        predict_map(opened, composite, out, overlap=OVERLAP, batch_size=BATCH, precision=precision)
        shutil.rmtree(out.path)

    predictor.forward(batches[0])
    times: dict[str, list[float]] = {"forward": [], "predict": [], "forward cpu": [], "predict cpu": []}
    for _ in range(rounds):
        for name, run in (("forward", bare), ("predict", whole)):
            start, used = time.perf_counter(), time.process_time()
            run()
            times[name].append(time.perf_counter() - start)
            times[f"{name} cpu"].append(time.process_time() - used)
    return {"tiles": len(tiles), "threads": torch.get_num_threads(), **times}


def peak_memory(model: Path, scene: Path, scratch: Path, precision: str) -> float:
    """Peak resident memory of `geoduct predict`, in MB."""
    arguments = {"model": model, "composite": scene, "map": scratch / "map", "overlap": OVERLAP, "precision": precision}
    flags = [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
    process = subprocess.Popen([sys.executable, "-m", "components", "predict", *flags], cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"predict ended with status {status}")
    shutil.rmtree(scratch / "map")
    return usage.ru_maxrss / 1024


def part(name: str, *arguments: object) -> str:
    """Run one function of this file in a process of its own; what it printed."""
    code = f"import sys; from benchmarks import predict as b; from pathlib import Path; b.{name}"
    call = code + "(" + ", ".join(f"Path({str(a)!r})" if isinstance(a, Path) else repr(a) for a in arguments) + ")"
    done = subprocess.run(
        [sys.executable, "-c", call], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    return done.stdout


def print_times(model: Path, scene: Path, scratch: Path, rounds: int, precision: Precision) -> None:
    """`time_both`, as JSON on standard output."""
    print(json.dumps(time_both(model, scene, scratch, rounds, precision)))


def main() -> None:
    """Print a table and one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size", type=int, default=5490, help="edge of the scene that is timed, in pixels")
    options.add_argument("--rounds", type=int, default=3, help="how often each is timed")
    options.add_argument("--memory-size", type=int, default=2745, help="edge of the 1x scene of the memory test")
    options.add_argument("--precision", choices=["32", "bf16"], default="32")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="geoduct-bench-") as folder:
        scratch = Path(folder)
        part("make_model", scratch / "model")
        result: dict[str, object] = {"size": given.size, "precision": given.precision}
        if given.rounds:
            part("make_scene", scratch / "scene", given.size)
            timed = part("print_times", scratch / "model", scratch / "scene", scratch, given.rounds, given.precision)
            found = json.loads(timed.splitlines()[-1])
            result |= found
            for suffix in ("", " cpu"):
                pairs = zip(found[f"forward{suffix}"], found[f"predict{suffix}"], strict=True)
                result[f"ratio{suffix}"] = statistics.median(a / b for a, b in pairs)
            title = f"predict, {given.size} x {given.size}"
            print(f"{title:<36}{'median s':>10}{'cpu s':>10}{'tiles/s':>10}")
            for name in ("forward", "predict"):
                seconds = statistics.median(found[name])
                used = statistics.median(found[f"{name} cpu"])
                print(f"{name:<36}{seconds:>10.1f}{used:>10.1f}{found['tiles'] / seconds:>10.1f}")
            print(f"{'forward / predict (bound 0.85)':<36}{result['ratio']:>10.2f}{result['ratio cpu']:>10.2f}")
        if given.memory_size:
            peaks = []
            for factor in (1, 4):
                scene = scratch / f"scene-{factor}"
                part("make_scene", scene, factor * given.memory_size)
                peaks.append(peak_memory(scratch / "model", scene, scratch, given.precision))
                shutil.rmtree(scene)
            result |= {"peak_mb": peaks, "memory_size": given.memory_size}
            print(
                f"{'peak memory at 1x, MB':<36}{peaks[0]:>10.0f}\n{'peak memory at 16x area, MB':<36}{peaks[1]:>10.0f}"
            )
            print(f"{'16x / 1x (bound 1.2)':<36}{peaks[1] / peaks[0]:>10.2f}")
        print(json.dumps(result))


if __name__ == "__main__":
    main()
