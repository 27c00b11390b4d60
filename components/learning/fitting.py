"""One training run by Lightning, from scratch or from where an earlier one stopped, on one rank or on many."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning import Trainer
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.callbacks import Callback, EarlyStopping, TQDMProgressBar
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import TrainerStatus
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch does not say that it re-exports it

from components.blocks import cores
from components.errors import GeoductError, Halted
from components.learning.checkpoints import MONITOR, Checkpoints, Row
from components.learning.datamodule import PatchDataModule
from components.learning.stopping import Stopping
from components.learning.task import PatchTask
from components.ranks import Ranks

Accelerator = Literal["auto", "cpu", "gpu"]
Precision = Literal["32", "bf16"]

CHECKPOINT_INTERVAL = 900.0
"""Seconds of work that a killed node may cost."""

_COLLECTIVE_TIMEOUT = timedelta(minutes=10)
"""Longer than rank 0 writes a checkpoint. A rank that died is noticed at once, see `components.ranks`."""


@dataclass(frozen=True)
class Fitted:
    """A finished run: the number of the best epoch, the file of its weights, and the history of all epochs."""

    best: int
    weights: Path
    history: list[Row]


_THREADS = "OMP_NUM_THREADS"
"""Where this is not set, Lightning gives several ranks all cores between them, whatever torch has been told."""


@contextmanager
def session(threads: int) -> Iterator[None]:
    """Give torch its threads (0 = all cores) and hush Lightning; afterwards all is as before, torch's generator too."""
    logger = logging.getLogger("lightning.pytorch")
    level, before = logger.level, torch.get_num_threads()
    count = threads or cores()
    torch.set_num_threads(count)
    told = os.environ.get(_THREADS)
    os.environ[_THREADS] = str(count)
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            logger.setLevel(logging.ERROR)
            warnings.filterwarnings("ignore", module=r"lightning\..*|torchmetrics\..*")
            yield
    finally:
        logger.setLevel(level)
        torch.set_num_threads(before)
        os.environ.pop(_THREADS)
        if told is not None:
            os.environ[_THREADS] = told


class _Rank(ClusterEnvironment):
    """What Lightning asks about the ranks, which are there already; each counts as a node with one device.

    Lightning's own environments guess from the variables of a batch system, and the one for SLURM calls `scontrol`,
    which a container has not.
    """

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self.ranks.address

    @property
    def main_port(self) -> int:
        raise RuntimeError("Lightning asked for a port, but the process group is made before it starts")

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.ranks.size

    def set_world_size(self, size: int) -> None:
        assert size == self.ranks.size

    def global_rank(self) -> int:
        return self.ranks.rank

    def set_global_rank(self, rank: int) -> None:
        assert rank == self.ranks.rank

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return self.ranks.rank


@contextmanager
def _process_group(ranks: Ranks, gpu: bool) -> Iterator[None]:
    """torch's own connections between the ranks, on a port that rank 0 finds free."""
    if ranks.size == 1:
        yield
        return
    leads = ranks.rank == 0
    port = ranks.share(None) if not leads else 0
    store = TCPStore(ranks.address, port, ranks.size, leads, _COLLECTIVE_TIMEOUT, wait_for_workers=False)
    if leads:
        ranks.share(store.port)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if gpu else "gloo",
        store=store,
        rank=ranks.rank,
        world_size=ranks.size,
        timeout=_COLLECTIVE_TIMEOUT,
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def _gpu(accelerator: Accelerator, ranks: Ranks) -> int | None:
    """The number of this rank's GPU, if it is to compute on one.

    Raises:
        GeoductError: the machine has fewer GPUs than ranks.
    """
    count = 0 if accelerator == "cpu" else torch.cuda.device_count()
    if count == 1:
        return 0  # a batch system may show each task a GPU of its own
    if count > ranks.local:
        return ranks.local
    if count or accelerator == "gpu":
        raise GeoductError(
            f"rank {ranks.rank} is number {ranks.local + 1} on its machine, which has {count} GPUs; expected one a rank"
            " (or --accelerator cpu)"
        )
    return None


def fit(
    task: PatchTask,
    data: PatchDataModule,
    folder: Path,
    *,
    ranks: Ranks,
    epochs: int,
    patience: int,
    precision: Precision = "32",
    accelerator: Accelerator = "auto",
    interval: float = CHECKPOINT_INTERVAL,
) -> Fitted:
    """Train; every rank of the run calls this with the same arguments.

    Args:
        task: the network and how it learns.
        data: the patches.
        folder: of the checkpoints; a run that was stopped is taken up from what it left there.
        ranks: who shares each epoch's batches; the gradients are averaged over them.
        epochs: at most so many.
        patience: stop after so many epochs in which the macro-F1 of the val split did not improve; 0 = never.
        precision: `bf16` computes in bfloat16 where torch deems it safe.
        accelerator: what to compute on.
        interval: seconds after which a checkpoint is written within an epoch.

    Raises:
        Halted: the run was asked to stop, or failed behind a checkpoint, which is kept.
        GeoductError: it failed before, or cannot begin.
    """
    gpu = _gpu(accelerator, ranks)
    checkpoints = Checkpoints(folder, ranks)
    callbacks: list[Callback] = [checkpoints, Stopping(checkpoints, ranks, interval)]
    if patience:
        callbacks.append(EarlyStopping(MONITOR, mode="max", patience=patience, verbose=False))
    watched = sys.stderr.isatty()
    if watched:
        callbacks.append(TQDMProgressBar(leave=False))
    trainer = Trainer(
        accelerator=accelerator if gpu is None else "gpu",
        devices=1 if gpu is None else [gpu],
        num_nodes=ranks.size,
        strategy=DDPStrategy() if ranks.size > 1 else "auto",
        plugins=[_Rank(ranks)],
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        max_epochs=epochs,
        callbacks=callbacks,
        default_root_dir=folder,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=watched,
        num_sanity_val_steps=0,
    )
    resumed: Any = checkpoints.resume(epochs)
    try:
        with _process_group(ranks, gpu is not None):
            trainer.fit(task, datamodule=data, ckpt_path=resumed, weights_only=True)
    except Halted:
        raise
    except GeoductError as error:
        if checkpoints.last is None:
            raise
        raise Halted(
            f"{error}; the state {checkpoints.last} is kept, and the same command goes on from there, while one with "
            "other parameters starts anew"
        ) from error
    except SystemExit:
        if trainer.state.status is TrainerStatus.INTERRUPTED:
            raise KeyboardInterrupt from None
        raise
    assert checkpoints.best is not None
    return Fitted(checkpoints.best, checkpoints.weights(checkpoints.best), checkpoints.history)
