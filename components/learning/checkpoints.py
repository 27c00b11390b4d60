"""What a training run leaves on disk, so that a stopped or killed one goes on as if nothing had happened.

A checkpoint is written after each epoch, every so often within one, and when the run is asked to stop; the last two
are kept, for a file system may lose the end of a file that was being written when a node went down.
"""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging
from safetensors.torch import save_file
from torch import nn
from torch.distributed.tensor import DTensor

from components.errors import GeoductError, Halted
from components.learning.learner import Learner
from components.learning.sharding import whole
from components.progress import EPOCHS_FILE, say
from components.ranks import Ranks

KEPT = 2
"""So many checkpoints stay. Best weights too: the two checkpoints lie at most one epoch's end apart."""

Row = dict[str, float]
"""One epoch of the history: `epoch`, counted from 0, and the task's scores."""


class Checkpoints(Checkpoint):
    """Keeps the weights of the best epoch and all that the next batch needs, each file whole or absent.

    The best weights are written first and under a name of their own, so that the checkpoint never speaks of weights
    that are not there. Of this callback it holds the history, the best epoch, whether training was over, how many ranks
    there were, and within an epoch each rank's loss so far.

    Args:
        folder: of the checkpoints; every rank sees it, rank 0 writes.
        ranks: of the run.
        verb: the component, as messages name it.
    """

    def __init__(self, folder: Path, ranks: Ranks, verb: str) -> None:
        self.folder, self.ranks, self.verb = folder, ranks, verb
        self.history: list[Row] = []
        self.best: int | None = None
        self.over = False
        self.losses: list[list[float]] = []
        """Within an epoch: mean loss and number of labels so far, a row a rank."""
        self.last: str | None = None
        """Where the newest checkpoint stands, in words."""
        self.saved = time.monotonic()

    def weights(self, epoch: int) -> Path:
        """The weights of an epoch, if it was the best."""
        return self.folder / f"best-{epoch:05d}.safetensors"

    def resume(self, epochs: int) -> Path | None:
        """The newest checkpoint that can be read, or none; what is newer is cleared away.

        Raises:
            GeoductError: it is of another number of ranks, whose batches were other ones, or not every rank sees it.
        """
        found = self._newest() if self.ranks.rank == 0 else None
        name: str | None = self.ranks.share(found.name if found else None)
        if name is None:
            return None
        epoch, batch = map(int, name.removesuffix(".ckpt").split("-"))
        self.last = _stand(epoch, epochs, batch)
        if self.ranks.rank == 0:
            say(f"{self.verb}: going on {self.last}")
        elif not (self.folder / name).is_file():
            raise GeoductError(
                f"rank {self.ranks.rank} does not see {self.folder / name}; expected --model on a file system that all "
                "ranks share"
            )
        return self.folder / name

    def _newest(self) -> Path | None:
        for path in sorted(self.folder.glob("*.ckpt"), reverse=True):
            if fault := _damage(path):
                say(f"{self.verb}: passing over {path}, which is damaged ({fault})")
                path.unlink()
                continue
            state = torch.load(path, map_location="cpu", weights_only=True)["callbacks"][self.state_key]
            if state["ranks"] != self.ranks.size:
                raise Halted(
                    f"{self.folder.parent} was begun with {state['ranks']} ranks, now there are {self.ranks.size}, and "
                    "their batches differ; start as many as before, or remove that folder to begin anew"
                )
            for weights in self.folder.glob("best-*"):
                if weights > self.weights(state["best"] if state["best"] is not None else -1):
                    weights.unlink()
            return path
        return None

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": self.history,
            "best": self.best,
            "over": self.over,
            "ranks": self.ranks.size,
            "losses": self.losses,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history, self.best, self.over = list(state["history"]), state["best"], state["over"]
        self.losses = state["losses"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        self.saved = time.monotonic()
        # Early stopping may have spoken just before the kill; Lightning itself forgets that.
        trainer.should_stop = trainer.should_stop or self.over
        if self.losses:
            mean, labels = self.losses[self.ranks.rank]
            pl_module.train_loss.mean_value.fill_(mean)
            pl_module.train_loss.weight.fill_(labels)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        epoch, previous = trainer.current_epoch, self.best
        row: Row = {"epoch": epoch, **pl_module.scores}
        score, way = pl_module.ranking
        sign = 1 if way == "max" else -1
        improved = previous is None or sign * row[score] > sign * self.history[previous][score]
        self.history.append(row)
        self.best = epoch if improved else previous
        self.over = trainer.should_stop
        if improved:
            # The network whose scores the epoch ended with.
            network = (averaged(trainer) or pl_module).trained()
            found = whole(network.state_dict())
            if trainer.is_global_zero:
                self.folder.mkdir(parents=True, exist_ok=True)
                tensors = {name: t.detach().cpu().contiguous() for name, t in found.items()}
                _whole(self.weights(epoch), lambda path: save_file(tensors, path))
        self.save(trainer, pl_module, epoch + 1, 0)
        if trainer.is_global_zero:
            _tell(self.verb, trainer, row, improved)
            if name := os.environ.get(EPOCHS_FILE):
                _whole(Path(name), self._write_history)

    def _write_history(self, path: Path) -> None:
        path.write_text(json.dumps(self.history), encoding="utf-8")

    def save(self, trainer: Trainer, task: Learner, epoch: int, batch: int) -> None:
        """Write a checkpoint after `epoch` whole epochs and `batch` batches of the next; every rank takes part.

        Raises:
            GeoductError: the weights are no longer finite.
        """
        if not _finite(task.trained(), self.ranks):
            raise GeoductError(
                f"the weights overflowed {_stand(epoch, None, batch)}; choose a smaller {task.rate_flag}"
            )
        self.losses = _losses(task, self.ranks) if batch else []
        path = self.folder / f"{epoch:05d}-{batch:07d}.ckpt"
        _whole(path, trainer.save_checkpoint, rename=trainer.is_global_zero)
        self.last, self.saved = (
            _stand(epoch, trainer.max_epochs, batch, int(trainer.num_training_batches)),
            time.monotonic(),
        )
        if trainer.is_global_zero:
            for pattern in ("*.ckpt", "best-*"):
                for old in sorted(self.folder.glob(pattern))[:-KEPT]:
                    old.unlink()


def averaged(trainer: Trainer) -> Learner | None:
    """The task with the running average of the weights, where one is kept."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set by a connector that mypy does not follow
        if isinstance(callback, WeightAveraging) and callback._average_model is not None:
            average = callback._average_model.module
            assert isinstance(average, Learner)
            return average
    return None


def _finite(network: nn.Module, ranks: Ranks) -> bool:
    """Whether all weights are numbers; each rank looks at those that it has, and all learn the same."""
    local = [p.to_local() if isinstance(p, DTensor) else p for p in network.parameters()]
    finite = torch.tensor(int(all(torch.isfinite(p).all() for p in local)))
    if ranks.size > 1:
        dist.all_reduce(finite, dist.ReduceOp.MIN)
    return bool(finite)


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, if anything: torch itself does not look at the checksums that it writes."""
    try:
        with zipfile.ZipFile(path) as file:
            spoilt = file.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        return str(error)
    return spoilt and f"{spoilt} differs from its checksum"


def _stand(epoch: int, epochs: int | None, batch: int, batches: int | None = None) -> str:
    """Where a checkpoint stands: `after epoch 3 of 20`, or `in epoch 4 of 20, after batch 17 of 40`."""
    whole = f" of {epochs}" if epochs else ""
    if batch == 0:
        return f"after epoch {epoch}{whole}"
    return f"in epoch {epoch + 1}{whole}, after batch {batch}" + (f" of {batches}" if batches else "")


def _losses(task: Learner, ranks: Ranks) -> list[list[float]]:
    mine = torch.stack([task.train_loss.mean_value, task.train_loss.weight]).float().cpu()
    rows = [mine]
    if ranks.size > 1:
        rows = [torch.empty_like(mine) for _ in range(ranks.size)]
        dist.all_gather(rows, mine)
    return [row.tolist() for row in rows]


def _whole(path: Path, write: Callable[[Path], None], *, rename: bool = True) -> None:
    """Write a file beside its place and move it there, so that a kill leaves the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    write(partial)
    if rename:
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)


def _tell(verb: str, trainer: Trainer, row: Row, improved: bool) -> None:
    words = {"val_loss": "val loss", "val_macro_f1": "macro-F1", "val_accuracy": "accuracy", "val_macro_ap": "mean AP"}
    scores = "".join(f", {word} {row[score]:.4f}" for score, word in words.items() if score in row)
    say(
        f"{verb}: epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: loss {row['train_loss']:.4f}{scores}"
        f"{' (best so far)' if improved else ''}"
    )
