"""How fast an epoch went and what it waited for, a row each: what to look at before asking for more GPUs."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

COLUMNS = (
    "epoch",
    "samples",
    "seconds",
    "samples_per_second",
    "data_wait_share",
    "validation_seconds",
    "peak_memory_gib",
    "gpu_utilisation",
)

LOOK_INTERVAL = 1.0
"""Seconds between two looks at how busy the GPU is."""


class Performance(Callback):
    """Measures the training of each epoch, as rank 0 sees it.

    `samples` are those of all ranks; `seconds` is the time of the training batches, data included, less validation;
    `data_wait_share` is the part of it that passed between the end of a batch and the start of the next, waiting for
    data and for what is done between batches. On a GPU a batch ends when its work is queued: a wait that the queue
    hides costs nothing and does not show as long as the GPU is busy, which `gpu_utilisation` (0 to 1) tells. Peak
    memory is that of the GPU, or empty. An epoch that was taken up in its middle counts from there.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.seconds = 0.0
        """Of all epochs, validation and checkpoints included, over all jobs of the run."""
        self.device = "cpu"
        self._started = self._began = self._ended = self._judging = self._looked = 0.0
        self._work = self._wait = self._validation = 0.0
        self._samples = 0
        self._busy: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self.seconds + time.monotonic() - self._started}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows, self.seconds = list(state["rows"]), float(state["seconds"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.monotonic()
        if pl_module.device.type == "cuda":
            self.device = torch.cuda.get_device_name(pl_module.device)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds += time.monotonic() - self._started

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended = time.monotonic()
        self._work = self._wait = self._validation = 0.0
        self._samples, self._busy = 0, []
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._began = time.monotonic()
        self._wait += self._began - self._ended
        self._samples += len(batch["image"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._ended = time.monotonic()
        self._work += self._ended - self._began
        if pl_module.device.type == "cuda" and self._ended - self._looked >= LOOK_INTERVAL:
            self._looked = self._ended
            self._look(pl_module.device)

    def _look(self, device: torch.device) -> None:
        try:
            self._busy.append(torch.cuda.utilization(device) / 100)
        except Exception:  # NVML has an error of its own for each driver and slice of a GPU that does not tell
            self._looked = float("inf")

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._judging = time.monotonic()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation = time.monotonic() - self._judging

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        spent = max(self._work + self._wait, 1e-9)
        samples = self._samples * trainer.world_size
        gpu = pl_module.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(pl_module.device) / 2**30 if gpu else None
        self.rows.append(
            {
                "epoch": trainer.current_epoch,
                "samples": samples,
                "seconds": round(spent, 4),
                "samples_per_second": round(samples / spent, 3),
                "data_wait_share": round(self._wait / spent, 4),
                "validation_seconds": round(self._validation, 4),
                "peak_memory_gib": "" if peak is None else round(peak, 3),
                "gpu_utilisation": round(sum(self._busy) / len(self._busy), 3) if self._busy else "",
            }
        )

    def write(self, path: Path) -> None:
        """Write a row an epoch."""
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
