"""One training run by Lightning, from scratch or from where a killed one stopped."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback, EarlyStopping, TQDMProgressBar
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.exceptions import SIGTERMException
from safetensors.numpy import load_file

from components.artifacts.model import Weights
from components.blocks import cores
from components.errors import GeoductError
from components.learning.datamodule import PatchDataModule
from components.learning.task import PatchTask
from components.train.checkpoints import MONITOR, Checkpoints, Row

Accelerator = Literal["auto", "cpu", "gpu"]
Precision = Literal["32", "bf16"]

TERMINATED = 128 + 15
"""Exit code of a process that SIGTERM ended."""


def _hush() -> None:
    """Keep Lightning's asides off the screen."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*|torchmetrics\..*")


@contextmanager
def session(threads: int) -> Iterator[None]:
    """Give torch its threads (0 = all cores) and hush Lightning; afterwards all is as before, torch's generator too."""
    logger = logging.getLogger("lightning.pytorch")
    level, before = logger.level, torch.get_num_threads()
    torch.set_num_threads(threads or cores())
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            _hush()
            yield
    finally:
        logger.setLevel(level)
        torch.set_num_threads(before)


class _Worker(Callback):
    """Sets up the processes of a run on several devices as `session` does theirs; the threads are shared out."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        _hush()
        torch.set_num_threads(self.threads)


def fit(
    task: PatchTask,
    data: PatchDataModule,
    folder: Path,
    *,
    epochs: int,
    patience: int,
    precision: Precision = "32",
    accelerator: Accelerator = "auto",
    devices: int = 1,
) -> tuple[int, Weights, list[Row]]:
    """Train, and return the number of the best epoch, its weights, and the history of all.

    Args:
        task: the network and how it learns.
        data: the patches.
        folder: of the checkpoints; a run that was killed is taken up from what it left there.
        epochs: at most so many.
        patience: stop after so many epochs in which the macro-F1 of the val split did not improve; 0 = never.
        precision: `bf16` computes in bfloat16 where torch deems it safe.
        accelerator: what to compute on.
        devices: how many of them, on this machine.

    Raises:
        GeoductError: the loss is no longer finite, or the machine lacks the accelerator.
    """
    if accelerator == "gpu" and torch.cuda.device_count() < devices:
        raise GeoductError(f"--accelerator gpu --devices {devices}: this machine has {torch.cuda.device_count()} GPUs")
    checkpoints = Checkpoints(folder)
    callbacks: list[Callback] = [checkpoints]
    if patience:
        callbacks.append(EarlyStopping(MONITOR, mode="max", patience=patience, verbose=False))
    if devices > 1:
        callbacks.append(_Worker(max(1, torch.get_num_threads() // devices)))
    watched = sys.stderr.isatty()
    if watched:
        callbacks.append(TQDMProgressBar(leave=False))
    trainer = Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy="ddp_spawn" if devices > 1 else "auto",
        # One process, whatever variables a batch system has set around it.
        plugins=[LightningEnvironment()],
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        max_epochs=epochs,
        callbacks=callbacks,
        default_root_dir=folder,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=watched,
        num_sanity_val_steps=0,
    )
    resumed: Any = checkpoints.last if checkpoints.last.is_file() else None
    try:
        trainer.fit(task, datamodule=data, ckpt_path=resumed, weights_only=True)
    except SIGTERMException:
        raise SystemExit(TERMINATED) from None  # Lightning's own would end with 0, as if all were well
    except SystemExit:
        if trainer.state.status is TrainerStatus.INTERRUPTED:
            raise KeyboardInterrupt from None
        raise
    checkpoints.read()
    assert checkpoints.best is not None
    return checkpoints.best, load_file(checkpoints.weights(checkpoints.best)), checkpoints.history
