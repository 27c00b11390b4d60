"""What a training run leaves on disk after each epoch, so that a killed one goes on as if nothing had happened."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from safetensors.torch import save_file

from components.learning.task import PatchTask

MONITOR = "val_macro_f1"
"""The score that decides which epoch is best, and when there is nothing more to gain."""

Row = dict[str, float]
"""One epoch of the history: `epoch`, counted from 0, and the task's scores."""


class Checkpoints(Checkpoint):
    """Keeps the weights of the best epoch and all that the next epoch needs, each file whole or absent.

    The best weights are written first and under a name of their own, so that the checkpoint never speaks of weights
    that are not there. Of this callback it holds the history, the best epoch, and whether training was over.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history: list[Row] = []
        self.best: int | None = None
        self.over = False

    @property
    def last(self) -> Path:
        """The checkpoint to resume from, once there is one."""
        return self.folder / "last.ckpt"

    def weights(self, epoch: int) -> Path:
        """The weights of an epoch, if it was the best."""
        return self.folder / f"best-{epoch}.safetensors"

    def read(self) -> None:
        """Take the history over from the checkpoint: training may have run in other processes.

        The checkpoint holds tensors and plain values only; anything else is refused by torch.
        """
        self.load_state_dict(torch.load(self.last, weights_only=True)["callbacks"][self.state_key])

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "best": self.best, "over": self.over}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history, self.best, self.over = list(state["history"]), state["best"], state["over"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Early stopping may have spoken just before the kill; Lightning itself forgets that.
        trainer.should_stop = trainer.should_stop or self.over

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, PatchTask)
        epoch, previous = trainer.current_epoch, self.best
        row: Row = {"epoch": epoch, **pl_module.scores}
        improved = previous is None or row[MONITOR] > self.history[previous][MONITOR]
        self.history.append(row)
        self.best = epoch if improved else previous
        self.over = trainer.should_stop
        if trainer.is_global_zero and improved:
            self.folder.mkdir(parents=True, exist_ok=True)
            tensors = {name: t.detach().cpu().contiguous() for name, t in pl_module.network.state_dict().items()}
            _whole(self.weights(epoch), lambda path: save_file(tensors, path))
        _whole(self.last, trainer.save_checkpoint, rename=trainer.is_global_zero)  # every rank takes part in saving
        if trainer.is_global_zero:
            if improved and previous is not None:
                self.weights(previous).unlink(missing_ok=True)
            _tell(trainer, row, improved)


def _whole(path: Path, write: Callable[[Path], None], *, rename: bool = True) -> None:
    """Write a file beside its place and move it there, so that a kill leaves the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    write(partial)
    if rename:
        partial.replace(path)


def _tell(trainer: Trainer, row: Row, improved: bool) -> None:
    line = (
        f"train: epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: loss {row['train_loss']:.4f}, "
        f"val loss {row['val_loss']:.4f}, macro-F1 {row['val_macro_f1']:.4f}, accuracy {row['val_accuracy']:.4f}"
        f"{' (best so far)' if improved else ''}"
    )
    bar = trainer.progress_bar_callback
    if isinstance(bar, ProgressBar):
        bar.print(line)
    else:
        print(line, file=sys.stderr, flush=True)
