"""How the baseline learns from patches: the loss, the optimiser and its schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from components.artifacts.nomenclature import IGNORE
from components.learning.learner import Learner
from components.learning.loader import Batch

Schedule = Literal["cosine", "onecycle", "constant"]


def schedule_of(schedule: Schedule, steps: int, warmup: float) -> Callable[[int], float]:
    """Learning rate of a step as a share of the largest, over `steps` steps of which the share `warmup` climbs.

    `constant` and `cosine` climb in a straight line from 0; `cosine` then falls to 0. `onecycle` climbs and falls along
    cosines, from 1/25 to 1 to 1/10000 (Smith & Topin 2018, "Super-convergence", with torch's factors).
    """
    rise = warmup * steps

    def bend(start: float, end: float, share: float) -> float:
        return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2

    def factor(step: int) -> float:
        if step < rise:
            return bend(1 / 25, 1.0, step / rise) if schedule == "onecycle" else (step + 1) / (rise + 1)
        if schedule == "constant":
            return 1.0
        return bend(1.0, 1e-4 if schedule == "onecycle" else 0.0, (step - rise) / max(steps - rise, 1))

    return factor


class PatchTask(Learner):
    """Trains a network to give a class to each pixel, or to each patch.

    Args:
        network: from a normalised image (n, band, y, x) to logits (n, class, …).
        classes: how many.
        ids: names of all patches of the PatchSet by number, for messages.
        dominant: (patch,) int64, class index by the patch's number: the truth, if each patch is to get one class;
            otherwise the label of each pixel is.
        learning_rate: the largest of the schedule.
        weight_decay: of AdamW.
        schedule: how the learning rate goes.
        warmup: share of all steps in which it climbs.
        weights: (class,) float32, of each class in the loss; all alike if not given.
        label_smoothing: share of the truth that is spread over all classes; for labels known to be noisy.
        channels_last: lay images out as most convolutions are fastest.
        seed: of what the network itself draws (dropout), anew each batch.
    """

    dominant: torch.Tensor | None

    def __init__(
        self,
        network: nn.Module,
        *,
        classes: int,
        ids: Sequence[str],
        dominant: torch.Tensor | None = None,
        learning_rate: float,
        weight_decay: float = 0.0,
        schedule: Schedule = "constant",
        warmup: float = 0.0,
        weights: torch.Tensor | None = None,
        label_smoothing: float = 0.0,
        channels_last: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.layout)  # type: ignore[call-overload]  # torch's stubs lack it
        self.register_buffer("dominant", dominant, persistent=False)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.schedule, self.warmup = schedule, warmup
        self.loss = nn.CrossEntropyLoss(weight=weights, ignore_index=IGNORE, label_smoothing=label_smoothing)
        self.ids = ids
        self.begin(classes=classes, seed=seed)

    def trained(self) -> nn.Module:
        """The network."""
        network: nn.Module = self.network
        return network

    def names(self, batch: Batch) -> list[str]:
        """The ids of a batch's patches."""
        return [self.ids[number] for number in batch["index"].tolist()]

    def truth(self, batch: Batch) -> torch.Tensor:
        """Class indices of a batch, int64, with the shape of the logits less the class axis; 255 = ignore."""
        return batch["mask"] if self.dominant is None else self.dominant[batch["index"]]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(image.contiguous(memory_format=self.layout))
        return logits.float()

    def training_step(self, batch: Batch, number: int) -> torch.Tensor:
        truth = self.truth(batch)
        logits = self(batch["image"])
        labels = int((truth != IGNORE).sum())
        # The mean over no pixel would be NaN: such a batch has nothing to teach.
        loss: torch.Tensor = self.loss(logits, truth) if labels else logits.sum() * 0
        return self.learned(loss, labels, batch, number)

    def validation_step(self, batch: Batch, number: int) -> None:
        truth = self.truth(batch)
        logits = self(batch["image"])
        labels = int((truth != IGNORE).sum())
        if labels:
            self.judged(self.loss(logits, truth), labels, logits, truth)

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )
        # Not Lightning's estimated_stepping_batches, which sets the loader up before its position is restored.
        data = self.datamodule
        steps = (self.trainer.max_epochs or 0) * len(data.train_dataloader())
        factor = schedule_of(self.schedule, steps, self.warmup)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
