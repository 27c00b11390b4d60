"""Ends a training run before a batch system does: after the same batch on every rank, with a checkpoint.

SLURM ends a job at its walltime, a cloud takes its machine back, a user wants to go home: the file that
`GEODUCT_STOP_FILE` names appears, or SIGUSR1 or SIGTERM comes. One rank alone may hear of it, so after each batch the
ranks agree on the strongest wish among them.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from enum import IntEnum
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from components.errors import STOPPED, Halted
from components.learning.checkpoints import Checkpoints
from components.learning.learner import Learner
from components.ranks import Ranks

STOP_FILE = "GEODUCT_STOP_FILE"
"""Environment variable: the path of a file whose appearance asks the run to stop."""

LOOK_INTERVAL = 1.0
"""Seconds between two looks for that file; on a parallel file system each one is a request to a server."""


class Wish(IntEnum):
    """What a rank wants to happen after a batch, the strongest last."""

    GO_ON = 0
    SAVE = 1
    STOP = 2
    TERMINATE = 3


class Stopping(Callback):
    """Saves every so often and when the run is to stop.

    Within an epoch the run stops after the optimiser's next step, with a checkpoint. After the last batch it stops once
    the epoch is validated, for whose time the warning has to be long enough.

    Args:
        checkpoints: of the run.
        ranks: of the run.
        interval: seconds after which a checkpoint is written within an epoch.
    """

    def __init__(self, checkpoints: Checkpoints, ranks: Ranks, interval: float) -> None:
        self.checkpoints, self.ranks, self.interval = checkpoints, ranks, interval
        self.wish = Wish.GO_ON
        self._looked = -LOOK_INTERVAL
        self._moved = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # In place of Lightning's, which would start a collective of its own in the middle of another; when the run is
        # over Lightning puts back those of before.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: self._hear(Wish.TERMINATE))
            signal.signal(signal.SIGUSR1, lambda *_: self._hear(Wish.STOP))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not before a batch of our own: a run that is stopped again and again still gains one each time.
        if self._moved:
            self._leave(self._agree())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Learner)
        self._moved = True
        # Gradients that wait for more batches are in no checkpoint.
        if batch_idx + 1 == trainer.num_training_batches or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        wish = self._agree()
        if wish >= Wish.SAVE:
            self.checkpoints.save(trainer, pl_module, trainer.current_epoch, batch_idx + 1)
        self._leave(wish)

    def _hear(self, wish: Wish) -> None:
        self.wish = max(self.wish, wish)

    def _agree(self) -> Wish:
        """The strongest wish of all ranks; every rank asks after the same batch."""
        now = time.monotonic()
        if now - self._looked >= LOOK_INTERVAL:
            self._looked = now
            if (name := os.environ.get(STOP_FILE)) and Path(name).exists():
                self._hear(Wish.STOP)
        wish = self.wish
        if now - self.checkpoints.saved >= self.interval:
            wish = max(wish, Wish.SAVE)
        if self.ranks.size == 1:
            return wish
        strongest = torch.tensor(int(wish))
        dist.all_reduce(strongest, dist.ReduceOp.MAX)
        return Wish(int(strongest))

    def _leave(self, wish: Wish) -> None:
        if wish >= Wish.STOP:
            code = STOPPED if wish is Wish.STOP else 128 + signal.SIGTERM
            raise Halted(
                f"{self.checkpoints.verb}: stopped {self.checkpoints.last}; the same command goes on from there", code
            )
