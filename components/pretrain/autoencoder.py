"""TerraTorch's masked autoencoder of the Prithvi family, and how it learns."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torchmetrics import MeanMetric

from components.errors import GeoductError, nearest
from components.learning.importing import import_terratorch
from components.learning.learner import Learner
from components.learning.loader import Batch
from components.learning.task import schedule_of

ENCODER = "encoder."
"""How the tensors of the part that is kept begin."""

_MAE = "_mae"
"""How TerraTorch ends the name of a backbone that has its decoder with it."""


def arguments_of(*, token: int, width: int | None, depth: int | None, heads: int | None, patch: int) -> dict[str, Any]:
    """What TerraTorch builds the backbone with, beyond the defaults of its name: sizes, and no date and place.

    Raises:
        GeoductError: the sizes do not go together.
    """
    if patch % token:
        raise GeoductError(f"--token is {token}, which does not divide the patches' {patch} pixels; expected a divisor")
    if width is not None and width % 16:
        raise GeoductError(f"--width is {width}; expected a multiple of 16, as the position embedding needs it")
    if width is not None and heads is not None and width % heads:
        raise GeoductError(f"--heads is {heads}, which does not divide --width {width}; expected a divisor")
    sizes = {"embed_dim": width, "depth": depth, "num_heads": heads}
    chosen = {name: value for name, value in sizes.items() if value is not None}
    return {"patch_size": [1, token, token], "coords_encoding": [], **chosen}


def build(backbone: str, bands: Sequence[str], arguments: Mapping[str, Any]) -> nn.Module:
    """TerraTorch's `PrithviMAE` of a backbone, for images (n, band, y, x), with random weights.

    Raises:
        GeoductError: there is no masked autoencoder of that backbone, or the arguments do not build it.
    """
    import_terratorch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from terratorch.registry import TERRATORCH_FULL_MODEL_REGISTRY as MODELS

        known = [name.removesuffix(_MAE) for name in MODELS if name.startswith("prithvi") and name.endswith(_MAE)]
        if backbone not in known:
            raise GeoductError(
                f"--backbone is {backbone!r}, of which there is no masked autoencoder{nearest(backbone, known)}"
            )
        try:
            network: nn.Module = MODELS.build(backbone + _MAE, bands=list(bands), num_frames=1, **arguments)
        except (AssertionError, ValueError, TypeError, RuntimeError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise GeoductError(
                f"the backbone {backbone!r} cannot be built from {dict(arguments)}: {reason[0]}"
            ) from None
    return network


class Autoencoder(Learner):
    """Trains a masked autoencoder: the loss is the mean squared error over what was hidden, in standard deviations.

    Args:
        network: TerraTorch's `PrithviMAE`.
        ids: names of all patches of the PatchSet by number, for messages.
        learning_rate: the largest of the schedule.
        weight_decay: of AdamW, which leaves biases and norms alone.
        warmup: share of all steps in which the learning rate climbs.
        seed: of the masks, anew each batch; those of the val split are the same in each epoch.
    """

    verb = "pretrain"
    ranking = ("val_loss", "min")

    def __init__(
        self,
        network: nn.Module,
        *,
        ids: Sequence[str],
        learning_rate: float,
        weight_decay: float,
        warmup: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.network, self.ids, self.seed = network, ids, seed
        self.learning_rate, self.weight_decay, self.warmup = learning_rate, weight_decay, warmup
        self.scores = {}
        self.train_loss, self.val_loss = MeanMetric(), MeanMetric()

    def trained(self) -> nn.Module:
        return self.network

    def names(self, batch: Batch) -> Sequence[str]:
        return [self.ids[number] for number in batch["index"].tolist()]

    def training_step(self, batch: Batch, number: int) -> torch.Tensor:
        image = batch["image"]
        return self.learned(self.network(image)[0]["loss"], len(image), batch, number)

    def validation_step(self, batch: Batch, number: int) -> None:
        # What is hidden follows from the batch's number, so that one epoch is judged by the same as another.
        torch.manual_seed(hash((self.seed, self.global_rank, number)) % 2**63)
        image = batch["image"]
        self.val_loss.update(self.network(image)[0]["loss"], len(image))

    def on_validation_epoch_end(self) -> None:
        self.scores = {
            "train_loss": float(self.train_loss.compute()),
            "val_loss": float(self.val_loss.compute()),
            "learning_rate": float(self.trainer.optimizers[0].param_groups[0]["lr"]),
        }
        self.log_dict(self.scores, prog_bar=True)
        for metric in (self.train_loss, self.val_loss):
            metric.reset()

    def configure_optimizers(self) -> Any:
        parameters = list(self.network.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        # The second moment as in He et al. 2022, "Masked autoencoders are scalable vision learners", table 8.
        optimiser = torch.optim.AdamW(groups, lr=self.learning_rate, betas=(0.9, 0.95), fused=True)
        data = self.datamodule
        steps = (self.trainer.max_epochs or 0) * len(data.train_dataloader())
        factor = schedule_of("cosine", steps, self.warmup)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
