"""Does pre-training on unlabelled images pay? One small backbone, fine-tuned with a tenth of the labels, from weights
that Geoduct made itself by masked autoencoding on the same archive, and from chance.

From the sample archive to the scores nothing is taken from elsewhere. Both arms share patches, labels, settings and
seeds, and differ in the backbone's first weights alone; a seed draws the labelled blocks, the head's weights and the
order. Pre-training sees the land of the train split, as the patches show it and on each date by itself, no label, and
nothing of the test split, on which both are judged. Each arm learns at the rate of a short list that served it best on
the val split with the first seed: what suits weights that have learned something is not what suits chance. A folder
that holds some of the results already is gone on with: `python -m benchmarks.pretraining --folder X`. It takes about
an hour of one core, so `make bench` leaves it out.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from scipy import stats

ARMS = ("scratch", "pretrained")
SCORES = ("macro_f1", "miou", "accuracy")
RATES = (1e-3, 3e-3, 6e-3)
TOKEN, WIDTH, DEPTH, HEADS = 8, 96, 4, 4
BACKBONE = "prithvi_eo_v2_tiny_tl"
STRIDE = 27
"""Distance between the windows that pre-training cuts from the dates, in pixels: no multiple of a token's edge, so that
tokens hold the land's borders at every place of theirs."""


def config(bands: list[str], classes: int, size: int, epochs: int) -> dict[str, Any]:
    """The run of both arms: tokens of all blocks, a light U-Net decoder, AdamW with a cosine schedule.

    Of all blocks, since a masked autoencoder's last one need not keep what a token itself shows: it is never asked for.
    """
    return {
        "seed_everything": 0,
        "model": {
            "class_path": "components.finetune.tasks.SegmentationTask",
            "init_args": {
                "model_factory": "EncoderDecoderFactory",
                "model_args": {
                    "backbone": BACKBONE,
                    "backbone_pretrained": False,
                    "backbone_bands": bands,
                    "backbone_img_size": size,
                    "backbone_patch_size": [1, TOKEN, TOKEN],
                    "backbone_embed_dim": WIDTH,
                    "backbone_depth": DEPTH,
                    "backbone_num_heads": HEADS,
                    "backbone_coords_encoding": [],
                    "necks": [
                        {"name": "SelectIndices", "indices": list(range(DEPTH))},
                        {"name": "ReshapeTokensToImage"},
                        {"name": "LearnedInterpolateToPyramidal"},
                    ],
                    "decoder": "UNetDecoder",
                    "decoder_channels": [64, 48, 32, 32],
                    "num_classes": classes,
                },
                "loss": "ce",
                "ignore_index": 255,
                "optimizer": "AdamW",
                "lr": RATES[0],
                "optimizer_hparams": {"weight_decay": 0.05},
                "schedule": "cosine",
                "warmup": 0.1,
                "plot_on_val": False,
            },
        },
        "data": {
            "class_path": "components.finetune.data.PatchSetDataModule",
            "init_args": {"patches": "none", "task": "segmentation", "batch_size": 16, "workers": 1},
        },
        "trainer": {"max_epochs": epochs, "gradient_clip_val": 1.0},
    }


def make(path: Path, work: Callable[[], None]) -> Path:
    """Do the work whose result is `path`, unless an earlier run has done it."""
    if not (path / "geoduct.json").is_file():
        work()
    return path


def prepare(folder: Path, size: int, patch_size: int) -> Path:
    """From nothing to patches."""
    from components.acquire import acquire
    from components.composite import composite
    from components.label import label
    from components.patch import patch
    from components.simulate import simulate

    archive = make(folder / "archive", lambda: simulate(folder / "archive", size=size))
    scenes = make(folder / "scenes", lambda: acquire(archive, folder / "scenes"))
    image = make(folder / "composite", lambda: composite(scenes, folder / "composite"))
    labels = make(
        folder / "labels",
        lambda: label(image, archive / "corine.tif", folder / "labels", nomenclature="corine-2"),
    )
    return make(
        folder / "patches",
        lambda: patch(image, labels, folder / "patches", size=patch_size, stride=patch_size, block=1280.0),
    )


def best_on_val(model: Path) -> float:
    """The macro-F1 on the val split of the epoch that a Model was kept of."""
    with (model / "history.csv").open() as file:
        return max(float(row["val_macro_f1"]) for row in csv.DictReader(file))


def learn(folder: Path, patches: Path, arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Pre-train once, fine-tune both arms with each seed, and evaluate them: the reports' metrics by arm."""
    from components.artifacts import PatchSet
    from components.evaluate import evaluate
    from components.finetune import finetune
    from components.finetune.weights import terratorch_names
    from components.pretrain import pretrain

    weights = make(
        folder / "weights",
        lambda: pretrain(
            patches,
            folder / "scenes",
            folder / "weights",
            stride=STRIDE,
            # On one scale for all, ice and cloud would outweigh what tells one field from another.
            even_tokens=True,
            backbone=BACKBONE,
            token=TOKEN,
            width=WIDTH,
            depth=DEPTH,
            heads=HEADS,
            decoder_width=64,
            epochs=arguments.pretrain_epochs,
            learning_rate=2e-3,
        ),
    )
    opened = PatchSet.open(patches)
    said = config(list(terratorch_names(opened.bands)), len(opened.nomenclature), opened.size, arguments.epochs)
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(said, sort_keys=False))
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for arm in ARMS:
        given = {"weights": weights} if arm == "pretrained" else {}

        def tuned(rate: float, seed: int, arm: str = arm, given: dict[str, Path] = given) -> Path:
            drawn = (
                f"seed_everything={seed}",
                f"data.init_args.seed={seed}",
                f"data.init_args.share={arguments.share}",
            )
            model = folder / f"{arm}-{rate:g}-{seed}"
            override = (*drawn, f"model.init_args.lr={rate:g}")
            return make(model, lambda: finetune(patches, model=model, config=str(file), override=override, **given))

        chosen = max(RATES, key=lambda rate: best_on_val(tuned(rate, 0)))
        for seed in range(arguments.seeds):
            model, report = tuned(chosen, seed), folder / f"{arm}-{seed}-report"
            make(report, partial(evaluate, model, patches, report))
            found[arm].append({**json.loads((report / "metrics.json").read_text()), "learning_rate": chosen})
    return found


def summary(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Scores of each seed, their means, and the paired difference with its 95 % interval over the seeds."""
    told: dict[str, Any] = {}
    for score in SCORES:
        values = {arm: [round(metrics["model"][score], 4) for metrics in found[arm]] for arm in ARMS}
        gains = [after - before for before, after in zip(values["scratch"], values["pretrained"], strict=True)]
        told[score] = {**values, "gain": round(statistics.mean(gains), 4)}
        if len(gains) > 1:
            spread = stats.t.ppf(0.975, len(gains) - 1) * statistics.stdev(gains) / len(gains) ** 0.5
            told[score]["gain_interval"] = [round(statistics.mean(gains) + sign * spread, 4) for sign in (-1, 1)]
    told["learning_rate"] = {arm: found[arm][0]["learning_rate"] for arm in ARMS}
    told["test_bootstrap"] = {
        arm: [{score: metrics["interval"][score] for score in SCORES} for metrics in found[arm]] for arm in ARMS
    }
    return told


def table(told: dict[str, Any]) -> str:
    """The scores as one prints them."""
    wide = 6 * max(len(told[SCORES[0]][arm]) for arm in ARMS) + 6
    lines = [f"{'test split':<12}{'from chance':>{wide}}{'pre-trained':>{wide}}{'gain':>9}   95 % over seeds (t)"]
    for score in SCORES:
        row = told[score]
        arms = "".join(f"{' '.join(f'{value:.3f}' for value in row[arm]):>{wide}}" for arm in ARMS)
        low, high = row.get("gain_interval", (float("nan"),) * 2)
        lines.append(f"{score:<12}{arms}{row['gain']:>+9.3f}   {low:+.3f} to {high:+.3f}")
    lines.append(
        "learning rate, chosen on the val split: " + ", ".join(f"{a} {r:g}" for a, r in told["learning_rate"].items())
    )
    return "\n".join(lines)


def hardware() -> str:
    """The processor, by its own name."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, one thread of {os.cpu_count()}"


def main() -> None:
    """Run what is missing, print the table, and write it to `--result`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where everything is put and kept; a temporary one by default")
    parser.add_argument("--result", type=Path, help="JSON file to write")
    parser.add_argument("--size", type=int, default=2048, help="edge of the simulated scenes in pixels")
    parser.add_argument("--patch", type=int, default=64, help="edge of a patch in pixels")
    parser.add_argument("--pretrain-epochs", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=40, help="of fine-tuning")
    parser.add_argument("--share", type=float, default=0.1, help="of the train patches whose labels are used")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        patches = prepare(folder, arguments.size, arguments.patch)
        told = summary(learn(folder, patches, arguments))
        from components.artifacts import PatchSet

        opened = PatchSet.open(patches)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("folder", "result")}
    told |= {"settings": settings, "patches": opened.digest, "hardware": hardware()}
    print(f"{table(told)}\n{told['hardware']}")
    if arguments.result:
        arguments.result.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
