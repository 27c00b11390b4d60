"""One training run by Lightning, from scratch or from where an earlier one stopped, on one rank or on many."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning import LightningDataModule, Trainer
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.callbacks import Callback, EarlyStopping, TQDMProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy, Strategy
from lightning.pytorch.trainer.states import TrainerStatus
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch does not say that it re-exports it

from components.blocks import cores
from components.errors import GeoductError, Halted
from components.learning.checkpoints import Checkpoints, Row
from components.learning.learner import Learner
from components.learning.sharding import Sharded
from components.learning.stopping import Stopping
from components.learning.timing import asked_for
from components.ranks import Ranks

Accelerator = Literal["auto", "cpu", "gpu"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true"]

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
    """Give torch its threads (0 = all cores) and hush Lightning; afterwards all is as before, torch's generator too.

    Products of matrices are computed as exactly as their numbers are given: importing terratorch has torch round them
    to bfloat16 or TF32 where the hardware can, also in networks that have nothing to do with it.
    """
    logger = logging.getLogger("lightning.pytorch")
    level, before = logger.level, torch.get_num_threads()
    count = threads or cores()
    torch.set_num_threads(count)
    exactness = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
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
        torch.set_float32_matmul_precision(exactness)
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


@contextmanager
def _plain_memory(task: Learner, data: LightningDataModule, ranks: Ranks) -> Iterator[None]:
    """Turn an overfull GPU into a sentence that says what would fit."""
    try:
        yield
    except torch.OutOfMemoryError:
        size = int(getattr(data, "batch_size", 1))
        who = f"rank {ranks.rank}: " if ranks.size > 1 else ""
        remedy = (
            f"{size // 2} would need about half of that, which is worth a try with {task.batch_flag}"
            if size > 1
            else "expected a smaller network, smaller patches or another precision"
        )
        raise GeoductError(
            f"{who}the memory of the GPU{_capacity()} is too small for batches of {size} patches; {remedy}"
        ) from None


def _capacity() -> str:
    if not torch.cuda.is_available():
        return ""
    used, whole = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
    return f" ({whole / 2**30:.0f} GiB, of which the network had taken {used / 2**30:.1f})"


def _strategy(ranks: Ranks, idle_weights: bool, sharded: bool) -> Strategy | Literal["auto"]:
    if ranks.size == 1:
        return "auto"
    return Sharded() if sharded else DDPStrategy(find_unused_parameters=idle_weights)


def fit(
    task: Learner,
    data: LightningDataModule,
    folder: Path,
    *,
    ranks: Ranks,
    epochs: int,
    patience: int = 0,
    precision: Precision = "32-true",
    accumulate: int = 1,
    clip: float | None = None,
    clip_by: Literal["norm", "value"] = "norm",
    callbacks: Sequence[Callback] = (),
    logger: Logger | None = None,
    idle_weights: bool = False,
    sharded: bool = False,
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
        patience: stop after so many epochs in which the task's ranking did not improve; 0 = never.
        precision: as Lightning names it; `mixed` computes in the shorter format where torch deems it safe.
        accumulate: batches whose gradients are added up before each step.
        clip: the largest that the gradients may be.
        clip_by: what is limited, their `norm` over all weights or each `value`.
        callbacks: more of them; their state is in the checkpoints.
        logger: told of losses and scores as they come.
        idle_weights: whether weights that learn may have no part in the loss, which several ranks have to look for.
        sharded: whether several ranks divide the network among them; else each has all of it.
        accelerator: what to compute on.
        interval: seconds after which a checkpoint is written within an epoch.

    Raises:
        Halted: the run was asked to stop, or failed behind a checkpoint, which is kept; or its steps are measured.
        GeoductError: it failed before, or cannot begin.
    """
    gpu = _gpu(accelerator, ranks)
    checkpoints = Checkpoints(folder, ranks, task.verb)
    # Whatever counts or averages batches has to have seen this one before a checkpoint is written after it.
    crew: list[Callback] = [*callbacks, checkpoints, Stopping(checkpoints, ranks, interval)]
    if patience:
        crew.append(EarlyStopping(task.ranking[0], mode=task.ranking[1], patience=patience, verbose=False))
    watched = sys.stderr.isatty()
    if watched:
        crew.append(TQDMProgressBar(leave=False))
    timing = asked_for()
    if timing:
        crew.append(timing)
    trainer = Trainer(
        accelerator=accelerator if gpu is None else "gpu",
        devices=1 if gpu is None else [gpu],
        num_nodes=ranks.size,
        strategy=_strategy(ranks, idle_weights, sharded),
        plugins=[_Rank(ranks)],
        precision=precision,
        max_epochs=epochs,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=clip,
        gradient_clip_algorithm=clip_by if clip is not None else None,
        callbacks=crew,
        profiler=timing.clock if timing else None,
        default_root_dir=folder,
        logger=logger or False,
        enable_model_summary=False,
        enable_progress_bar=watched,
        inference_mode=not sharded,  # where weights that were put together could no longer learn
        num_sanity_val_steps=0,
    )
    resumed: Any = checkpoints.resume(epochs)
    try:
        with _process_group(ranks, gpu is not None), _plain_memory(task, data, ranks):
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
