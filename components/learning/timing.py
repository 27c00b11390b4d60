"""Where the time of a training step goes, measured in a run that is made for nothing else; see `geoduct scaling`.

Blocks of three kinds of steps take turns, so that what else the machine does meets all three alike:

- plain: as always; they give the samples a second;
- parted: the same, but on a GPU each part waits until the work that it queued is done, so that its time is its own;
- apart: parted, but the ranks do not exchange gradients (DDP's `no_sync`). What forward and backward pass take longer
  when they do is communication: the transfer that computing does not hide, and waiting for slower ranks.

The weights of the ranks drift apart in the third kind, so the run ends without a Model.
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.nn.parallel import DistributedDataParallel

from components.blocks import cores
from components.errors import STOPPED, GeoductError, Halted
from components.progress import TIMES_FILE, TIMES_STEPS

KINDS = ("plain", "parted", "apart")
PARTS = ("data", "forward", "backward", "optimiser", "agreement")
"""What a step consists of, beside the rest of the loop. Agreement: the ranks ask each other whether to stop."""

BLOCK = 4
"""Steps of one kind in a row. The first is not counted: it waits for what the block before has left undone."""

STEPS = 12
"""Steps of each kind that count, if the environment does not say how many."""

_ACTIONS = (
    (re.compile(r"\.train_dataloader_next$|\.batch_to_device$"), "data"),
    (re.compile(r"^\[Strategy\]\w+\.training_step$"), "forward"),
    (re.compile(r"^\[Strategy\]\w+\.backward$"), "backward"),
    (re.compile(r"^\[LightningModule\]\w+\.optimizer_step$"), "optimiser"),
    (re.compile(r"^\[Callback\]Stopping\b.*\.on_train_batch_end$"), "agreement"),
)
"""How Lightning's profilers are told of them. What happens within one and is none of these itself belongs to it."""


class _Clock(Profiler):
    """Adds up the seconds of each part since the last `take`."""

    def __init__(self) -> None:
        super().__init__()
        self.gpu = False
        """Whether to wait for the GPU wherever a part begins or ends."""
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._stack: list[str | None] = [None]
        self._since = 0.0

    def start(self, action_name: str) -> None:
        part = next((part for pattern, part in _ACTIONS if pattern.search(action_name)), self._stack[-1])
        self._charge(part)
        self._stack.append(part)

    def stop(self, action_name: str) -> None:
        # Lightning starts some actions before we are there, and stops them afterwards.
        if len(self._stack) > 1:
            self._charge(self._stack[-2])
            self._stack.pop()

    def _charge(self, coming: str | None) -> None:
        running = self._stack[-1]
        if running == coming:
            return
        if self.gpu:
            torch.cuda.synchronize()
        now = time.perf_counter()
        if running is not None:
            self._seconds[running] += now - self._since
        self._since = now

    def take(self) -> dict[str, float]:
        """The seconds of each part so far; begins anew."""
        self._charge(None)
        taken, self._seconds = self._seconds, dict.fromkeys(PARTS, 0.0)
        return taken


class Timing(Callback):
    """Measures steps, writes them down, and ends the run. Has to be the last of the callbacks.

    Args:
        file: rank 0 writes here, as JSON: what it ran on, and a row a step.
        steps: so many of each kind are counted.
    """

    def __init__(self, file: Path, steps: int) -> None:
        self.file, self.steps = file, steps
        self.clock = _Clock()
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self._kinds: tuple[str, ...] = KINDS
        self._gpu = self._first = False
        self._number = 0
        self._since = 0.0
        self._apart = ExitStack()

    @property
    def _kind(self) -> str:
        return self._kinds[self._number // BLOCK % len(self._kinds)]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.accumulate_grad_batches != 1:
            raise GeoductError(
                f"gradients of {trainer.accumulate_grad_batches} batches are added up before a step; expected 1 where "
                "steps are measured (for finetune: --override trainer.accumulate_grad_batches=1)"
            )
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise GeoductError(
                "the ranks divide the network among them, so that no step does without exchange; expected strategy ddp "
                "where steps are measured (for finetune: --override trainer.strategy=ddp)"
            )
        # Nobody to exchange with.
        self._kinds = KINDS if trainer.world_size > 1 else KINDS[:2]
        self.rows = {kind: [] for kind in self._kinds}
        self._gpu = pl_module.device.type == "cuda"

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first = True
        self._since = time.perf_counter()
        self.clock.take()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        model = trainer.strategy.model
        if self._kind == "apart" and isinstance(model, DistributedDataParallel):
            self._apart.enter_context(model.no_sync())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._apart.close()
        place = self._number % BLOCK
        if self._gpu and (self._kind != "plain" or place in (0, BLOCK - 1)):
            torch.cuda.synchronize()
        now = time.perf_counter()
        seconds, parts = now - self._since, self.clock.take()
        # The first round warms up; an epoch's first step waits for readers that have only just begun.
        if self._number >= BLOCK * len(self._kinds) and place and not self._first:
            samples = len(batch["image"]) * trainer.world_size
            self.rows[self._kind].append({"samples": samples, "seconds": seconds, **parts})
        self._number += 1
        self._since, self._first = now, False
        self.clock.gpu = self._gpu and self._kind != "plain"
        if all(len(rows) >= self.steps for rows in self.rows.values()):
            self._end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        raise GeoductError(f"the run ended before {self.steps} steps of each kind were measured; expected more epochs")

    def _end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        nodes = [platform.node()] * trainer.world_size
        if trainer.world_size > 1:
            dist.all_gather_object(nodes, platform.node())
        if trainer.global_rank == 0:
            told = {
                "ranks": trainer.world_size,
                "nodes": len(set(nodes)),
                "gpu": torch.cuda.get_device_name(pl_module.device) if self._gpu else None,
                "cpu": _cpu(),
                "cores": cores(),
                "threads": torch.get_num_threads(),
                "load": os.getloadavg()[0],
                "torch": torch.__version__,
                "steps": self.rows,
            }
            partial = self.file.with_name(f".{self.file.name}.partial")
            partial.write_text(json.dumps(told))
            partial.replace(self.file)
        raise Halted(f"{self.steps} steps of each kind are measured, as asked", STOPPED)


def _cpu() -> str:
    about = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*:\s*(.+)", about.read_text()) if about.exists() else None
    return named[1] if named else platform.machine()


def asked_for() -> Timing | None:
    """What the environment asks to be measured, if anything."""
    file = os.environ.get(TIMES_FILE)
    return Timing(Path(file), int(os.environ.get(TIMES_STEPS, STEPS))) if file else None
