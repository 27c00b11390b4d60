"""The epochs of a training run as files: one CSV, and the curves that `dvc plots` shows."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from components.learning.checkpoints import Row
from components.learning.learner import SCORES

METRICS = {
    "train_loss": "train/loss",
    "val_loss": "val/loss",
    "val_macro_f1": "val/macro_f1",
    "val_accuracy": "val/accuracy",
    "val_macro_ap": "val/macro_ap",
    "learning_rate": "learning_rate",
}
"""Score → its name among dvclive's metrics, which is also its file's."""


def write_history(path: Path, history: Sequence[Row]) -> None:
    """Write a row an epoch: `epoch`, counted from 0, and the task's scores."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", *(name for name in SCORES if name in history[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in history)


def write_curves(folder: Path, history: Sequence[Row], best: int) -> None:
    """Write dvclive's files: `plots/metrics/**.tsv`, a column `step` and one of values, and `metrics.json`.

    `metrics.json` holds the scores of the epoch `best`, whose weights are kept. dvclive's `Live` would look for a Git
    repository around, make it a DVC one if need be, and stage files under `dvc exp run`; its metric writer does not.
    """
    from dvclive.plots.metric import Metric

    summary: dict[str, float] = {"step": best}
    for score, name in METRICS.items():
        if score not in history[0]:
            continue
        metric = Metric(name, str(folder / "plots"))
        for row in history:
            metric.step = int(row["epoch"])
            metric.dump(row[score])
        summary[score] = history[best][score]
    (folder / "metrics.json").write_text(json.dumps(summary, indent=1) + "\n")
