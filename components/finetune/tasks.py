"""TerraTorch's tasks with what our `fit` asks of them, and with what their YAML could not say so far.

Each is a subclass of the TerraTorch task of its kind, with the same network, loss and optimiser; a YAML may name one by
`class_path: components.finetune.tasks.SegmentationTask`, for `terratorch fit` as well as for `geoduct finetune`. What
is added:

- weights: the path of a Weights artifact, loaded into the backbone before LoRA is laid around it;
- layer_decay: the learning rate falls by this factor from each block of the backbone to the one before it;
- schedule, warmup: of the learning rate by the step, as in `train`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from terratorch.models.model import ModelOutput
from terratorch.models.utils import extract_prefix_keys
from terratorch.registry import BACKBONE_REGISTRY
from terratorch.tasks import ClassificationTask as TerraTorchClassificationTask
from terratorch.tasks import MultiLabelClassificationTask as TerraTorchMultilabelTask
from terratorch.tasks import SemanticSegmentationTask as TerraTorchSegmentationTask
from terratorch.tasks.optimizer_factory import optimizer_factory
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torchmetrics import Metric

from components.artifacts.nomenclature import IGNORE
from components.artifacts.weights import Weights
from components.errors import GeoductError
from components.finetune.optimisers import blocks, layer_groups
from components.finetune.weights import Matched, load_backbone
from components.learning.checkpoints import averaged
from components.learning.foundation import require_parts
from components.learning.learner import Learner
from components.learning.sets import SetScores
from components.learning.sharding import align_buffers, shard
from components.learning.task import Schedule, schedule_of


def backbone_arguments(model_args: Mapping[str, Any]) -> dict[str, Any]:
    """What of a factory's arguments is for the backbone, less where its weights come from."""
    found = dict(model_args.get("backbone_kwargs") or extract_prefix_keys(dict(model_args), "backbone_")[0])
    found.pop("ckpt_path", None)
    return found


def bands_of(model_args: Mapping[str, Any]) -> list[str] | None:
    """The names of the bands that a backbone is told to take, if it is told any."""
    own = backbone_arguments(model_args)
    bands = own.get("bands", own.get("model_bands"))
    if isinstance(bands, dict) and len(bands) == 1:
        [bands] = bands.values()  # by modality, as TerraMind's are
    return [str(band) for band in bands] if isinstance(bands, list) else None


_OWN = ("image", "mask", "label", "filename")
"""Entries of a batch that are not for the network."""


class Tuned(Learner):
    """What the tasks of this module add to TerraTorch's.

    Args:
        layer_decay: 1 leaves all rates alike; 0.6 to 0.9 are usual for transformers.
        schedule: how the learning rate goes over the run; without one, as `scheduler` says.
        warmup: share of all steps in which it climbs; with a `schedule`.
        weights: path of a Weights artifact for the backbone.
    """

    verb = "finetune"
    rate_flag = "learning rate (model.init_args.lr)"
    batch_flag = "--override data.init_args.batch_size=…"

    truth_name: str
    """Which entry of a batch is the truth."""
    model: Any
    model_args: dict[str, Any]

    def __init__(
        self,
        *,
        layer_decay: float = 1.0,
        schedule: Schedule | None = None,
        warmup: float = 0.0,
        weights: str | None = None,
        **kwargs: Any,
    ) -> None:
        if not 0 <= warmup < 1:
            raise GeoductError(f"model.init_args.warmup is {warmup:g}; expected a share of the run, 0 to less than 1")
        self.layer_decay, self.schedule, self.warmup, self.weights = layer_decay, schedule, warmup, weights
        self.matched: Matched | None = None
        """How the tensors of `weights` met those of the backbone; none without weights."""
        super().__init__(**kwargs)

    def configure_models(self) -> None:
        """Build the network; the backbone first and on its own, so that weights are there before LoRA is."""
        args = self.model_args
        require_parts(args)
        if self.weights is not None:
            own = backbone_arguments(args)
            # Taken apart like this by TerraTorch's factory too; what is left is for the wrapper that it may lay around.
            own = {name: value for name, value in own.items() if not name.startswith(("temporal_", "use_temporal"))}
            backbone = BACKBONE_REGISTRY.build(args["backbone"], **{**own, "pretrained": False})
            self.matched = load_backbone(backbone, Weights.open(self.weights), bands_of(args))
            self.model_args = {**args, "backbone": backbone}
        super().configure_models()  # type: ignore[misc]  # TerraTorch's task, which the subclasses name
        self.model_args = args

    def setup(self, stage: str) -> None:
        """Lightning calls this once the data are known."""
        data = self.datamodule
        self.begin(classes=int(self.model_args["num_classes"]), seed=int(getattr(data, "seed", 0)))

    def configure_model(self) -> None:
        """Divide the network among the ranks, where the strategy is FSDP2, and the average of its weights alike."""
        trainer = self.trainer
        # Lightning also asks for this before it copies the network for the average, and again for each of its loops.
        if not self.begun or not isinstance(trainer.strategy, ModelParallelStrategy):
            return
        for task in (self, averaged(trainer)):
            if task is not None and not any(isinstance(part, FSDPModule) for part in task.trained().modules()):
                shard(task.trained(), blocks(task.trained()), trainer.strategy.device_mesh["data_parallel"])

    def trained(self) -> nn.Module:
        """TerraTorch's model: backbone, neck, decoder and head."""
        network: nn.Module = self.model
        return network

    def names(self, batch: Any) -> Sequence[str]:
        """The ids of a batch's patches."""
        names: Sequence[str] = batch["filename"]
        return names

    def train(self, mode: bool = True) -> Tuned:
        """Like any module's, but a frozen backbone stays as in evaluation: nothing in it drops out or adapts."""
        super().train(mode)
        if self.hparams.get("freeze_backbone"):
            self.model.encoder.eval()
        return self

    def on_fit_start(self) -> None:
        self.train()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # They stand in the YAML, and may hold objects that only pickle could bring back.
        for name in ("hyper_parameters", "hparams_name", "hparams_type"):
            checkpoint.pop(name, None)

    def training_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> torch.Tensor:
        truth = batch[self.truth_name]
        loss = self._losses(self._output(batch), truth, self.train_loss_handler)
        self.log("train/loss", loss, batch_size=len(truth))
        return self.learned(loss, (truth != IGNORE).sum(), batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        truth = batch[self.truth_name]
        output = self._output(batch)
        loss = self._losses(output, truth, self.val_loss_handler)
        self.log("val/loss", loss, batch_size=len(truth), sync_dist=True)
        self.judged(loss, (truth != IGNORE).sum(), output.output, truth)

    def on_train_epoch_end(self) -> None:
        """In place of TerraTorch's, whose scores cost more than a step of a small network."""

    def on_validation_epoch_start(self) -> None:
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            align_buffers(self.trained())

    def on_validation_epoch_end(self) -> None:
        Learner.on_validation_epoch_end(self)

    def configure_optimizers(self) -> Any:
        """TerraTorch's optimiser, over the parameters grouped by layer if there is a decay, with our schedule."""
        settings = self.hparams
        if self.layer_decay == 1 and self.schedule is None:
            return super().configure_optimizers()
        if self.schedule is not None and settings.get("scheduler"):
            raise GeoductError(
                f"model.init_args has schedule {self.schedule!r} and scheduler {settings['scheduler']!r}; expected one"
            )
        if self.layer_decay != 1 and settings.get("lr_overrides"):
            raise GeoductError("model.init_args has layer_decay and lr_overrides; expected one of them")
        rate = float(settings["lr"])
        parameters = self.parameters() if self.layer_decay == 1 else layer_groups(self.model, rate, self.layer_decay)
        chosen = optimizer_factory(
            settings["optimizer"] or "Adam",
            rate,
            parameters,
            settings["optimizer_hparams"],
            settings["scheduler"],
            self.monitor,
            settings["scheduler_hparams"],
        )
        if self.schedule is not None:
            factor = schedule_of(self.schedule, self._steps(), self.warmup)
            scheduler = torch.optim.lr_scheduler.LambdaLR(chosen["optimizer"], factor)
            chosen["lr_scheduler"] = {"scheduler": scheduler, "interval": "step"}
        return chosen

    def _steps(self) -> int:
        # Not Lightning's estimated_stepping_batches, which sets the loader up before its position is restored.
        data = self.datamodule
        batches = len(data.train_dataloader())
        return (self.trainer.max_epochs or 0) * -(-batches // self.trainer.accumulate_grad_batches)

    def _output(self, batch: Any) -> ModelOutput:
        output: ModelOutput = self(batch["image"], **{name: batch[name] for name in batch if name not in _OWN})
        return output

    def _losses(self, output: ModelOutput, truth: torch.Tensor, handler: Any) -> torch.Tensor:
        """TerraTorch's loss: of the head, plus those of auxiliary heads by their weights."""
        loss: torch.Tensor = handler.compute_loss(output, truth, self.criterion, self.aux_loss)["loss"]
        return loss


class SegmentationTask(Tuned, TerraTorchSegmentationTask):  # type: ignore[misc]  # terratorch has no types
    """TerraTorch's SemanticSegmentationTask: a class for each pixel."""

    truth_name = "mask"


class ClassificationTask(Tuned, TerraTorchClassificationTask):  # type: ignore[misc]  # terratorch has no types
    """TerraTorch's ClassificationTask: a class for each patch."""

    truth_name = "label"


class MultilabelTask(Tuned, TerraTorchMultilabelTask):  # type: ignore[misc]  # terratorch has no types
    """TerraTorch's MultiLabelClassificationTask: the set of classes that a patch holds."""

    truth_name = "label"
    told = ("train_loss", "val_loss", "val_macro_f1", "val_macro_ap", "learning_rate")

    def scoring(self, classes: int) -> Metric:
        """Macro-F1 and mean average precision, each class on its own."""
        return SetScores()
