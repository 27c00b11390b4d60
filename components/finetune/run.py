"""A run of fine-tuning: from the YAML, patches and weights to a Model and its records."""

from __future__ import annotations

import hashlib
import json
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import load_file

from components.artifacts import Model, PatchSet
from components.artifacts.model import CURVES, PERFORMANCE, RUN, TENSORBOARD, Description, write_model
from components.artifacts.weights import Weights
from components.errors import GeoductError
from components.finetune.adapters import merge
from components.finetune.config import Plan, build
from components.learning.fitting import Accelerator, Fitted, fit, session
from components.learning.history import write_curves, write_history
from components.learning.networks import build as build_network
from components.learning.networks import load_weights, weights_of
from components.learning.performance import Performance
from components.progress import say
from components.ranks import Ranks
from components.storage import remove


def tune(
    patches: PatchSet,
    weights: Weights | None,
    model: Model,
    ranks: Ranks,
    *,
    said: dict[str, Any],
    config: str,
    accelerator: Accelerator,
    threads: int,
) -> None:
    """Fit what the YAML `config` describes and write the Model; `said` is what `read` made of it.

    Raises:
        GeoductError: the YAML, the weights or the patches do not go together, or the run fails.
    """
    folder = _folder(model.path, said, ranks)
    with session(threads), _hushed():
        plan = build(said, patches, weights, config)
        _tell(plan, config, ranks)
        # Sharding changes the one that learns for good, and averaging copies it.
        network = deepcopy(plan.learner.trained())
        performance = Performance()
        fitted = fit(
            plan.learner,
            plan.data,
            folder,
            ranks=ranks,
            idle_weights=True,
            logger=TensorBoardLogger(model.path, name="", version=TENSORBOARD),
            accelerator=accelerator,
            **{**plan.settings, "callbacks": [*plan.settings["callbacks"], performance]},
        )
        if ranks.rank:
            return
        network.load_state_dict(load_file(fitted.weights))
        tensors = weights_of(merge(network))
        _write(plan, patches, model, {f"network.{name}": values for name, values in tensors.items()}, fitted)
    performance.write(model.path / PERFORMANCE)
    (model.path / RUN).write_text(json.dumps(_summary(plan, fitted, performance, ranks), indent=1, default=str) + "\n")
    for left in model.path.glob("checkpoints-*"):
        remove(left)


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep quiet what Lightning's and TerraTorch's parsers and factories remark, for as long as they build."""
    loggers = [logging.getLogger(name) for name in ("lightning.fabric", "terratorch")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are using PEFT without a pretrained backbone")
            # Of tensors that might be changed in place; TerraTorch's decoders get copies of them.
            warnings.filterwarnings("ignore", message=r"FSDP2-wrapped module \(FSDPNeckSequential\)")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _folder(model: Path, config: dict[str, Any], ranks: Ranks) -> Path:
    """Where the checkpoints of this very configuration are; those of another one, left by a run that stopped, go."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:12]
    folder = model / f"checkpoints-{digest}"
    if ranks.rank == 0:
        for other in model.glob("checkpoints-*"):
            if other != folder:
                say("finetune: the configuration has changed since the run was stopped; beginning anew")
                remove(other)
    return folder


def _tell(plan: Plan, config: str, ranks: Ranks) -> None:
    if ranks.rank:
        return
    if plan.passed_over:
        say(f"finetune: passing over {', '.join(plan.passed_over)} of {config}: Geoduct has its own")
    asked = {
        "date": ("temporal_encoding", plan.data.moments),
        "coordinates": ("location_encoding", plan.data.locations),
    }
    for key, (encodes, given) in asked.items():  # Prithvi takes them as well where it makes no use of them
        if given is not None and any(getattr(part, encodes, True) is False for part in plan.learner.modules()):
            say(f"finetune: passing over data.init_args.{key} of {config}: the backbone was built not to encode it")
    if plan.settings["sharded"] and ranks.size == 1:
        say("finetune: there is one rank, which has nobody to divide the network with")
    learning = sum(p.numel() for p in plan.learner.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in plan.learner.parameters())
    backbone = plan.learner.model_args["backbone"]
    began = "from chance" if plan.learner.matched is None else f"from weights ({plan.learner.matched})"
    say(f"finetune: {backbone} {began}; {learning / 1e6:.2f} of {whole / 1e6:.2f} million weights learn")


def _write(plan: Plan, patches: PatchSet, model: Model, tensors: Any, fitted: Fitted) -> None:
    """Write the Model, after a look whether its architecture takes the tensors."""
    network = build_network(plan.architecture)
    try:
        load_weights(network, tensors, "the trained network")
    except GeoductError as error:
        raise GeoductError(f"{error}; TerraTorch built another network for training than without weights") from None
    description = Description(
        task=plan.task,
        architecture=plan.architecture,
        bands=tuple(plan.data.bands),
        statistics=plan.data.statistics,
        normalisation=plan.data.normalisation,
        nomenclature=patches.nomenclature,
        size=patches.size,
        patches=patches.digest,
        min_fraction=plan.data.min_fraction,
    )
    write_model(model.path, description, tensors)
    write_history(model.history, fitted.history)
    write_curves(model.path / CURVES, fitted.history, fitted.best)


def _summary(plan: Plan, fitted: Fitted, performance: Performance, ranks: Ranks) -> dict[str, Any]:
    return {
        "hyperparameters": plan.hyperparameters,
        "passed_over": list(plan.passed_over),
        "backbone": plan.learner.model_args["backbone"],
        "weights": None if plan.learner.matched is None else asdict(plan.learner.matched),
        "weights_that_learn": sum(p.numel() for p in plan.learner.parameters() if p.requires_grad),
        "epochs": len(fitted.history),
        "best": fitted.history[fitted.best],
        "seconds": performance.seconds,
        "ranks": ranks.size,
        "strategy": None if ranks.size == 1 else "fsdp2" if plan.settings["sharded"] else "ddp",
        "device": performance.device,
        "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
