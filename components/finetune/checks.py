"""What of a YAML can be told wrong before anything is built, or right after: each mistake in one sentence.

TerraTorch itself tells of most of them in tracebacks, hours later or not at all.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from terratorch.models.backbones import prithvi_mae, prithvi_vit
from terratorch.tasks.optimizer_factory import optimizer_factory

from components.artifacts.model import Task
from components.artifacts.nomenclature import IGNORE
from components.artifacts.patchset import PatchSet
from components.artifacts.weights import Weights
from components.errors import GeoductError, nearest
from components.finetune import tasks
from components.finetune.weights import terratorch_names
from components.learning.foundation import FACTORY

LOSS = "bce"
"""TerraTorch's loss that takes each class on its own; of the others that it lets through most do not, and balanced_bce
is no number where a batch holds none of the classes, or all."""

ELEMENTWISE = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "RMSprop", "SGD")
"""Optimisers that change each weight by what they know of it alone, so that parts of a tensor serve as well."""


def known_keys(found: Mapping[str, Any], known: Sequence[str], prefix: str, where: str) -> None:
    for key in found:
        if key not in known:
            raise GeoductError(f"{where}: unknown key {prefix + str(key)!r}{nearest(str(key), known)}")


def parameters(kind: type) -> list[str]:
    """Names of the arguments of a class, those that it hands on to its bases too."""
    names = {
        name: None
        for base in kind.__mro__
        if (init := vars(base).get("__init__")) is not None
        for name, parameter in inspect.signature(init).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and name != "self"
    }
    return list(names)


def check_model(arguments: dict[str, Any], kind: Task, patches: PatchSet, weights: Weights | None, where: str) -> None:
    """What of `model.init_args` can be told wrong before anything is built."""
    prefix = f"{where}: model.init_args."
    network = arguments.get("model_args")
    if not isinstance(network, dict) or not isinstance(network.get("backbone"), str):
        raise GeoductError(f"{prefix}model_args names no backbone; expected one of TerraTorch's registry")
    if arguments.get("model_factory") != FACTORY:
        raise GeoductError(f"{prefix}model_factory is {arguments.get('model_factory')!r}; expected {FACTORY}")
    if arguments.get("aux_heads"):
        raise GeoductError(f"{prefix}aux_heads are not part of a Model; expected none")
    classes, found = len(patches.nomenclature), network.get("num_classes")
    if found != classes:
        names = ", ".join(c.name for c in patches.nomenclature)
        raise GeoductError(
            f"{prefix}model_args.num_classes is {found}, but the nomenclature of {patches.path} has {classes} classes "
            f"({names}); expected {classes}"
        )
    if kind == "segmentation" and arguments.get("ignore_index") != IGNORE:
        raise GeoductError(
            f"{prefix}ignore_index is {arguments.get('ignore_index')}, but pixels without a label are {IGNORE}; "
            f"expected {IGNORE}"
        )
    if kind == "multilabel":
        _check_sets(arguments, prefix)
    weighted = arguments.get("class_weights")
    if isinstance(weighted, list) and len(weighted) != classes:
        raise GeoductError(
            f"{prefix}class_weights has {len(weighted)} numbers; expected {classes}, one for each class of the "
            "nomenclature"
        )
    _check_backbone(network, prefix)
    if weights is not None and weights.pretraining.backbone != network["backbone"].removeprefix("terratorch_"):
        raise GeoductError(
            f"{prefix}model_args.backbone is {network['backbone']!r}, but {weights.path} are weights of "
            f"{weights.pretraining.backbone!r}; expected those of the same"
        )
    _check_optimiser(arguments, prefix)
    if network.get("peft_config") and arguments.get("freeze_backbone"):
        raise GeoductError(f"{prefix}freeze_backbone is true and model_args has a peft_config; expected one of them")
    if weights is None and network.get("peft_config") and not network.get("backbone_pretrained"):
        raise GeoductError(
            f"{prefix}model_args.peft_config adapts a backbone that begins from chance; expected --weights"
        )


def _check_sets(arguments: Mapping[str, Any], prefix: str) -> None:
    """TerraTorch's multilabel task has the arguments of its classification, and does nothing about some of them."""
    loss = arguments.get("loss", "ce")
    names = [loss] if isinstance(loss, str) else list(loss) if isinstance(loss, list | dict) else []
    if "class_path" not in names and (strange := [name for name in names if name != LOSS]):
        raise GeoductError(
            f"{prefix}loss is {strange[0]!r}, by which sets of classes are not learned here; expected {LOSS}"
        )
    for key in ("class_weights", "custom_loss"):
        if arguments.get(key):
            raise GeoductError(f"{prefix}{key} is given, which TerraTorch's multilabel task passes over; expected none")


def _check_backbone(network: Mapping[str, Any], prefix: str) -> None:
    """Prithvi takes arguments of any name, and does nothing about those that it does not know."""
    if not network["backbone"].removeprefix("terratorch_").startswith("prithvi_eo_"):
        return
    known = {
        name
        for builder in (prithvi_vit._create_prithvi, prithvi_mae.PrithviViT.__init__)
        for name in inspect.signature(builder).parameters
    } | {"bands", "pretrained", "out_indices"}
    where = "backbone_kwargs." if network.get("backbone_kwargs") else "backbone_"
    for name in tasks.backbone_arguments(network):
        # TerraTorch's own wrapper for images of several times takes those
        if name not in known and name != "use_temporal" and not name.startswith("temporal_"):
            raise GeoductError(f"{prefix}model_args: unknown key {where + name!r}{nearest(name, known)}")


def _check_optimiser(arguments: Mapping[str, Any], prefix: str) -> None:
    """TerraTorch looks the optimiser up when training begins; a trial of it costs nothing."""
    for key, known in (("optimizer", torch.optim), ("scheduler", torch.optim.lr_scheduler)):
        name = arguments.get(key)
        if name is not None and not hasattr(known, str(name)):
            raise GeoductError(f"{prefix}{key} is {name!r}{nearest(str(name), vars(known))}")
    settings, rate = arguments.get("optimizer_hparams") or {}, arguments.get("lr", 1e-3)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise GeoductError(f"{prefix}lr is {rate!r}; expected a number above 0")
    weight, name = [torch.nn.Parameter(torch.zeros(1))], arguments.get("optimizer") or "Adam"
    for key, scheduler in (("optimizer_hparams", None), ("scheduler_hparams", arguments.get("scheduler"))):
        later = deepcopy(arguments.get("scheduler_hparams"))  # TerraTorch writes into it
        try:
            optimizer_factory(name, rate, weight, settings, scheduler, "val/loss", later)
        except (TypeError, ValueError, AssertionError, LookupError, AttributeError) as error:
            raise GeoductError(f"{prefix}{key}: {words_of(error)}") from None


def check_sharding(arguments: Mapping[str, Any], own: Any, precision: str, where: str) -> None:
    """What does not go with a network that the ranks divide among them."""
    if precision == "16-mixed":
        raise GeoductError(
            f"{where}: trainer.precision is 16-mixed and trainer.strategy fsdp2, whose ranks do not agree on the scale "
            "of gradients; expected bf16-mixed"
        )
    name = (own or {}).get("class_path") if isinstance(own, Mapping) else own
    name = str(name or arguments.get("optimizer") or "Adam").rpartition(".")[2]
    if name not in ELEMENTWISE:
        raise GeoductError(
            f"{where}: the optimiser {name} may look beyond the part of the weights that a rank has with "
            f"trainer.strategy fsdp2; expected one of {', '.join(ELEMENTWISE)}"
        )


def check_overrides(learner: torch.nn.Module, arguments: Mapping[str, Any], where: str) -> None:
    """Rates of one's own that meet no weight would be passed over in silence."""
    names = [name for name, _ in learner.named_parameters()]
    for part in arguments.get("lr_overrides") or {}:
        if not any(part in name for name in names):
            near = nearest(part, {word for name in names for word in name.split(".") if not word.isdigit()})
            raise GeoductError(f"{where}: model.init_args.lr_overrides: {part!r} is in the name of no weight{near}")


def words_of(error: BaseException) -> str:
    """An error of a parser in one line."""
    return re.sub(r"\s+", " ", str(error) or type(error).__name__).strip()


def check_monitors(callbacks: Sequence[Callback], scores: Sequence[str], where: str) -> None:
    """Callbacks can watch the losses and the scores of an epoch, which depend on the task."""
    known = ("train/loss", "val/loss", *scores)
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if monitor is not None and monitor not in known:
            near = difflib.get_close_matches(str(monitor), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise GeoductError(f"{where}: {type(callback).__name__} monitors {monitor!r}{hint}")


def check_bands(network: Mapping[str, Any], data: Any, weights: Weights | None, where: str) -> None:
    wanted = tasks.bands_of(network) or (None if weights is None else list(weights.pretraining.bands))
    given = data.frame_bands
    if wanted is not None and terratorch_names(wanted) != terratorch_names(given):
        raise GeoductError(
            f"{where}: the backbone takes {len(wanted)} bands ({', '.join(wanted)}), but the data module gives "
            f"{len(given)} ({', '.join(given)}); expected data.init_args.bands to name the same in that order"
        )


def check_beside(network: torch.nn.Module, given: Mapping[str, bool], where: str) -> None:
    """Refuse dates or places that Prithvi, as it is built, would pass over in silence.

    Args:
        network: what learns.
        given: whether the data give dates (`date`) and places (`coordinates`).
        where: the file, for messages.

    Raises:
        GeoductError: they do, and the backbone encodes none.
    """
    backbones = [part for part in network.modules() if isinstance(part, prithvi_mae.PrithviViT)]
    for key, word, encodes in (
        ("date", "time", any(part.temporal_encoding for part in backbones)),
        ("coordinates", "location", any(part.location_encoding for part in backbones)),
    ):
        if backbones and given[key] and not encodes:
            raise GeoductError(
                f"{where}: data.init_args.{key} is given, but the backbone makes nothing of it; expected "
                f"{word!r} in model.init_args.model_args.backbone_coords_encoding, or no {key}"
            )
