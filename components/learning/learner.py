"""What `fit` asks of whatever it trains, and what every task does alike: an epoch's scores, and where chance begins.

The baseline's task and those over TerraTorch's differ in network, loss and optimiser. Their scores are the same, so
that histories and reports can be compared.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from lightning import LightningModule
from torch import nn
from torchmetrics import MeanMetric, Metric
from torchmetrics.functional.classification import multiclass_confusion_matrix

from components.artifacts.nomenclature import IGNORE
from components.errors import GeoductError

SCORES = ("train_loss", "val_loss", "val_macro_f1", "val_accuracy", "val_macro_ap", "learning_rate")
"""What an epoch may end with, in the order of histories; which of them, `Learner.told` says."""


def macro_f1(confusion: torch.Tensor) -> float:
    """Mean F1 over the classes that occur, of a confusion matrix (truth, prediction); 0 if none occurs."""
    hits = confusion.diagonal().double()
    truth, predicted = confusion.sum(dim=1).double(), confusion.sum(dim=0).double()
    f1 = (2 * hits / (truth + predicted).clamp(min=1))[truth > 0]
    return float(f1.mean()) if len(f1) else 0.0


class ConfusionScores(Metric):
    """Macro-F1 and accuracy of the answers so far, by the names that they have in a history.

    `update` takes logits (n, class, …) and truth (n, …), class indices of which those that are `IGNORE` do not count.
    """

    full_state_update = False
    confusion: torch.Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.add_state("confusion", default=torch.zeros(classes, classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, logits: torch.Tensor, truth: torch.Tensor) -> None:
        """Count the answers of a batch."""
        self.confusion += multiclass_confusion_matrix(logits, truth, self.classes, ignore_index=IGNORE)

    def compute(self) -> dict[str, float]:
        """The scores of all answers."""
        return {
            "val_macro_f1": macro_f1(self.confusion),
            "val_accuracy": float(self.confusion.diagonal().sum() / self.confusion.sum().clamp(min=1)),
        }


class Learner(LightningModule):
    """A task that `fit` can stop, take up again and rank by its scores.

    A subclass calls `begin` before it is fitted, and `learned` and `judged` in its steps.
    """

    verb = "train"
    """The component, as messages name it."""
    rate_flag = "--learning-rate"
    """What a user changes to learn more slowly."""
    batch_flag = "--batch-size"
    """What a user changes to take fewer patches at a time."""

    ranking: tuple[str, Literal["min", "max"]] = ("val_macro_f1", "max")
    """The score that decides which epoch is best, and when there is nothing more to gain; and which way."""

    told: ClassVar[tuple[str, ...]] = ("train_loss", "val_loss", "val_macro_f1", "val_accuracy", "learning_rate")
    """The names of its `scores`."""

    begun = False
    """Whether it was made ready by `begin`."""
    scores: dict[str, float]
    """Of the epoch that ended last, by the names in `told`, unless a subclass has others."""
    train_loss: MeanMetric
    """Over the batches of the epoch so far, weighted by their labels."""

    @property
    def datamodule(self) -> Any:
        """The data of the run; there once it is fitted."""
        trainer: Any = self.trainer  # Lightning sets its datamodule without declaring it
        return trainer.datamodule

    @abstractmethod
    def trained(self) -> nn.Module:
        """The network whose tensors a finished run keeps."""

    @abstractmethod
    def names(self, batch: Any) -> Sequence[str]:
        """The ids of a batch's patches."""

    def begin(self, *, classes: int, seed: int) -> None:
        """Make ready: how many classes there are, and the seed of what the network draws."""
        self.seed = seed
        self.begun = True
        self.scores = {}
        # Their own look for NaN would make a GPU wait after each batch.
        self.train_loss, self.val_loss = MeanMetric(nan_strategy="disable"), MeanMetric(nan_strategy="disable")
        self.answers = self.scoring(classes)

    def scoring(self, classes: int) -> Metric:
        """What gathers the answers on the val split, `(logits, truth)`, and computes scores by name."""
        return ConfusionScores(classes)

    def on_train_epoch_start(self) -> None:
        # Order, turns and dropout follow from numbers alone: a run that resumes needs no generator's state.
        loader: Any = self.trainer.train_dataloader
        loader.set_epoch(self.current_epoch)

    def on_train_batch_start(self, batch: Any, number: int) -> None:
        torch.manual_seed(hash((self.seed, self.current_epoch, self.global_rank, number)) % 2**63)

    def learned(self, loss: torch.Tensor, labels: int | torch.Tensor, batch: Any, number: int) -> torch.Tensor:
        """Take a training batch's loss, the mean over so many labels, into the score, and hand it back.

        Raises:
            GeoductError: it is not finite.
        """
        if not torch.isfinite(loss):
            names = ", ".join(self.names(batch))
            raise GeoductError(
                f"the loss became {loss.item()} in epoch {self.current_epoch + 1}, batch {number + 1} (patches {names})"
                f"; choose a smaller {self.rate_flag}, or look at these patches"
            )
        self.train_loss.update(loss.detach(), labels)
        return loss

    def judged(self, loss: torch.Tensor, labels: int | torch.Tensor, logits: torch.Tensor, truth: torch.Tensor) -> None:
        """Take a validation batch's loss, the mean over so many labels, and its logits into the scores."""
        self.val_loss.update(loss, labels)
        self.answers.update(logits, truth)

    def on_validation_epoch_end(self) -> None:
        rate = max(group["lr"] for group in self.trainer.optimizers[0].param_groups)
        self.scores = {
            "train_loss": float(self.train_loss.compute()),
            "val_loss": float(self.val_loss.compute()),
            **self.answers.compute(),
            "learning_rate": float(rate),
        }
        self.log_dict(self.scores, prog_bar=True)
        for metric in (self.train_loss, self.val_loss, self.answers):
            metric.reset()
