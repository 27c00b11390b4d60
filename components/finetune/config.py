"""A YAML of TerraTorch as a run of ours: read by TerraTorch's own parser, checked, and built.

Mistakes in it are the user's most frequent ones, and TerraTorch tells of them in tracebacks or not at all; here each is
one sentence that names the key.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, LearningRateMonitor, ProgressBar, TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from terratorch.tasks.base_task import TerraTorchTask

from components.artifacts.model import Architecture, Task
from components.artifacts.patchset import PatchSet
from components.artifacts.weights import Weights
from components.errors import GeoductError, nearest
from components.finetune import tasks
from components.finetune.checks import (
    check_bands,
    check_beside,
    check_model,
    check_monitors,
    check_overrides,
    check_sharding,
    known_keys,
    parameters,
    words_of,
)
from components.finetune.frames import check_frames
from components.learning.foundation import architecture_of
from components.learning.sharding import Sharded

TASKS: Mapping[str, tuple[Task, type[tasks.Tuned]]] = {
    "SemanticSegmentationTask": ("segmentation", tasks.SegmentationTask),
    "SegmentationTask": ("segmentation", tasks.SegmentationTask),
    "ClassificationTask": ("classification", tasks.ClassificationTask),
    "MultiLabelClassificationTask": ("multilabel", tasks.MultilabelTask),
    "MultilabelTask": ("multilabel", tasks.MultilabelTask),
}
"""Class of a task, as a YAML names it → what it learns, and our class of it."""

DATA = "components.finetune.data.PatchSetDataModule"

_HONOURED = {
    "max_epochs": "epochs",
    "precision": "precision",
    "accumulate_grad_batches": "accumulate",
    "gradient_clip_val": "clip",
    "gradient_clip_algorithm": "clip_by",
    "callbacks": "callbacks",
}
"""Keys under `trainer` and what they are called in `fit`; Geoduct itself decides the others."""
_PRECISIONS: Mapping[Any, str] = {
    None: "32-true",
    32: "32-true",
    "32": "32-true",
    "32-true": "32-true",
    16: "16-mixed",
    "16": "16-mixed",
    "16-mixed": "16-mixed",
    "bf16": "bf16-mixed",
    "bf16-mixed": "bf16-mixed",
    "bf16-true": "bf16-true",
}
_TOP = ("seed_everything", "model", "data", "trainer", "optimizer", "lr_scheduler")
_IGNORED_TOP = (
    "ckpt_path",
    "predict_output_dir",
    "out_dtype",
    "deploy_config_file",
    "output_file_prefix",
    "custom_modules_path",
)


@dataclass(frozen=True)
class Plan:
    """A run, built: `settings` are `fit`'s; `hyperparameters` the YAML after overrides; `passed_over` its idle keys."""

    task: Task
    learner: tasks.Tuned
    data: Any
    architecture: Architecture
    settings: dict[str, Any]
    hyperparameters: dict[str, Any]
    passed_over: tuple[str, ...]


def build(said: Mapping[str, Any], patches: PatchSet, weights: Weights | None, where: str) -> Plan:
    """Check a configuration against the patches and build all that it names, seeded as it says.

    Args:
        said: the configuration, as `components.finetune.reading.read` gave it.
        patches: what is learned from, in place of `data.init_args.patches`.
        weights: for the backbone, if any.
        where: the file, for messages.

    Raises:
        GeoductError: a key is unknown, a value does not fit, or TerraTorch cannot build it; the sentence says which.
    """
    config = deepcopy(dict(said))
    idle = tuple(key for key in _IGNORED_TOP if config.pop(key, None) is not None)
    known_keys(config, _TOP, "", where)
    kind, learner_class = _task(config, where)
    arguments = config["model"].setdefault("init_args", {})
    known_keys(arguments, parameters(learner_class), "model.init_args.", where)
    check_model(arguments, kind, patches, weights, where)
    _data(config, kind, where)
    config["data"]["init_args"]["patches"] = str(patches.path)
    config["model"]["class_path"] = f"{learner_class.__module__}.{learner_class.__name__}"
    if weights is not None:
        arguments["weights"] = str(weights.path)
        arguments["model_args"]["backbone_pretrained"] = False
    elif arguments["model_args"].get("backbone_pretrained"):
        raise GeoductError(
            f"{where}: model.init_args.model_args.backbone_pretrained is true, but no --weights are given, and a run "
            f"downloads nothing; stage them by geoduct weights fetch {arguments['model_args']['backbone']}, or set it "
            "to false to begin from chance"
        )
    if weights is not None:
        _statistics(config["data"]["init_args"], weights)
    settings, dropped = _settings(config.setdefault("trainer", {}), where)
    if settings["sharded"]:
        check_sharding(arguments, config.get("optimizer"), settings["precision"], where)
    if "optimizer" in config and (arguments.get("layer_decay", 1) != 1 or arguments.get("schedule")):
        raise GeoductError(
            f"{where}: optimizer stands at the top, where layer_decay and schedule of model.init_args do not reach it; "
            "expected model.init_args.optimizer and optimizer_hparams"
        )
    hyperparameters = deepcopy(config)  # the parser puts objects of its own into what it is given
    built = _built(config, where)
    settings["callbacks"] = [c for c in built.callbacks if not isinstance(c, _OURS)]
    dropped += [type(c).__name__ for c in built.callbacks if isinstance(c, _OURS)]
    check_monitors(settings["callbacks"], learner_class.told, where)
    check_overrides(built.model, arguments, where)
    network: dict[str, Any] = arguments["model_args"]
    data: Any = built.data
    check_bands(network, data, weights, where)
    check_frames(network["backbone"], tasks.backbone_arguments(network), network.get("necks"), data.frames, where)
    check_beside(built.model, {"date": data.moments is not None, "coordinates": data.locations is not None}, where)
    _try(built.model, built.data, where)
    return Plan(
        kind,
        built.model,
        built.data,
        architecture_of(kind, patches.size, network, data.frames, data.moments, data.place),
        settings,
        hyperparameters,
        (*idle, *dropped),
    )


_OURS = (Checkpoint, ProgressBar, TQDMProgressBar, LearningRateMonitor)
"""Callbacks that Geoduct has its own of."""


def _section(config: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    section = config.get(name)
    if not isinstance(section, dict) or not isinstance(section.get("class_path"), str):
        raise GeoductError(f"{where}: {name} has no class_path; expected class_path and init_args")
    known_keys(section, ("class_path", "init_args"), f"{name}.", where)
    return section


def _task(config: Mapping[str, Any], where: str) -> tuple[Task, type[tasks.Tuned]]:
    name = _section(config, "model", where)["class_path"].rpartition(".")[2]
    if name in TASKS:
        return TASKS[name]
    others = {kind.__name__ for kind in _subclasses(TerraTorchTask)} - TASKS.keys()
    if name in others:
        raise GeoductError(
            f"{where}: model.class_path is {name}, which geoduct finetune does not train: a Model gives classes, by "
            "SemanticSegmentationTask, ClassificationTask or MultiLabelClassificationTask; terratorch fit takes the "
            "same file"
        )
    raise GeoductError(f"{where}: model.class_path is {name!r}{nearest(name, TASKS)}")


def _subclasses(kind: type) -> set[type]:
    children: list[type] = kind.__subclasses__()
    return {found for child in children for found in {child, *_subclasses(child)}}


def _data(config: Mapping[str, Any], kind: Task, where: str) -> None:
    from components.finetune.data import PatchSetDataModule

    section = _section(config, "data", where)
    if section["class_path"].rpartition(".")[2] != "PatchSetDataModule":
        raise GeoductError(
            f"{where}: data.class_path is {section['class_path']!r}; expected {DATA}, which reads PatchSets"
        )
    section["class_path"] = DATA
    arguments = section.setdefault("init_args", {})
    known_keys(arguments, parameters(PatchSetDataModule), "data.init_args.", where)
    if arguments.get("task") != kind:
        raise GeoductError(
            f"{where}: data.init_args.task is {arguments.get('task')!r}, but model.class_path learns {kind}; expected "
            f"{kind!r}"
        )


def _settings(trainer: dict[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """`fit`'s settings of the `trainer` section, and the keys that Geoduct decides by itself."""
    defaults = {name: p.default for name, p in inspect.signature(Trainer.__init__).parameters.items() if name != "self"}
    known_keys(trainer, list(defaults), "trainer.", where)
    chosen = {ours: trainer[theirs] for theirs, ours in _HONOURED.items() if trainer.get(theirs) is not None}
    for name, low in (("max_epochs", 1), ("accumulate_grad_batches", 1)):
        value = trainer.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise GeoductError(f"{where}: trainer.{name} is {value!r}; expected an integer, at least {low}")
    if "epochs" not in chosen:
        raise GeoductError(f"{where}: trainer.max_epochs is missing; expected how many epochs to train at most")
    if chosen.get("precision") not in _PRECISIONS:
        raise GeoductError(
            f"{where}: trainer.precision is {chosen.get('precision')!r}; expected one of "
            + ", ".join(sorted(set(_PRECISIONS.values())))
        )
    chosen["precision"] = _PRECISIONS[chosen.get("precision")]
    clip = chosen.get("clip")
    if clip is not None and (isinstance(clip, bool) or not isinstance(clip, int | float) or clip <= 0):
        raise GeoductError(f"{where}: trainer.gradient_clip_val is {clip!r}; expected a number above 0, or null")
    if chosen.get("clip_by", "norm") not in ("norm", "value"):
        raise GeoductError(f"{where}: trainer.gradient_clip_algorithm is {chosen['clip_by']!r}; expected norm or value")
    dropped = [
        f"trainer.{name}"
        for name, value in trainer.items()
        if name not in (*_HONOURED, "strategy") and value != defaults[name]
    ]
    chosen["sharded"] = _sharded(trainer.get("strategy"), where)
    # Not Lightning's to build: what it would take for its own run would end here in loggers and folders.
    for name in [name for name in trainer if name not in _HONOURED]:
        del trainer[name]
    return chosen, dropped


def _sharded(strategy: Any, where: str) -> bool:
    """Whether the ranks are to divide the network among them.

    `fsdp2` is a word of ours; Lightning's parser, which the word means nothing to, takes the class.
    """
    name = strategy.get("class_path") if isinstance(strategy, dict) else strategy
    if isinstance(strategy, dict) and strategy.get("init_args"):
        raise GeoductError(f"{where}: trainer.strategy.init_args are given; expected none: Geoduct knows its ranks")
    if name in ("fsdp2", f"{Sharded.__module__}.{Sharded.__name__}"):
        return True
    if name in (None, "auto") or str(name).rpartition(".")[2].lower().startswith("ddp"):
        return False
    raise GeoductError(
        f"{where}: trainer.strategy is {name!r}; expected auto, ddp, or fsdp2, in a file for terratorch too "
        f"class_path: {Sharded.__module__}.{Sharded.__name__}"
    )


class _Reader(LightningCLI):
    """TerraTorch's command line, as far as the model, the data and the callbacks; `fit` makes the trainer."""

    config_init: Any
    model: tasks.Tuned
    data: LightningDataModule
    callbacks: list[Callback]

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(
            model_class=TerraTorchTask,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_callback=None,
            parser_kwargs={"exit_on_error": False},
            args=dict(config),
            run=False,
        )
        self.data = self.datamodule

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_object(args)

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        found = self.config_init["trainer"].get("callbacks") or []
        self.callbacks = found if isinstance(found, list) else [found]


def _built(config: Mapping[str, Any], where: str) -> _Reader:
    try:
        return _Reader(config)
    except GeoductError:
        raise
    except Exception as error:
        # The parser lays its own errors around those of the classes that it builds.
        for cause in _causes(error):
            if isinstance(cause, GeoductError | torch.OutOfMemoryError | OSError):
                raise cause from None
        raise GeoductError(
            f"{where}: TerraTorch cannot build what it describes: {words_of(_causes(error)[-1])}"
        ) from error


def _causes(error: BaseException) -> list[BaseException]:
    """An error and those that it came from, the first cause last."""
    found = [error]
    while (cause := found[-1].__cause__ or found[-1].__context__) is not None:
        found.append(cause)
    return found


def _statistics(data: dict[str, Any], weights: Weights) -> None:
    """Weights that bring the statistics of their pretraining are met with pixels on that scale, if the YAML asks so."""
    told = weights.pretraining.statistics
    if data.get("normalisation") == "backbone" and told is not None and data.get("statistics") is None:
        data["statistics"] = {band: dict(values) for band, values in told.items()}


def _try(learner: tasks.Tuned, data: Any, where: str) -> None:
    """One patch through the network: what does not fit is told now, not after hours in a queue."""
    size, frames = data.patches.size, data.frames
    given = data.inputs(torch.zeros(1, len(data.bands), size, size), torch.zeros(1, dtype=torch.int64))
    learner.eval()
    try:
        with torch.inference_mode(), torch.random.fork_rng():
            learner(given.pop("image"), **given)
    except (AssertionError, RuntimeError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        bands = f"{len(data.frame_bands)} bands" + (f" in {frames} frames" if frames > 1 else "")
        beside = f" with {' and '.join(given)}" if given else ""
        raise GeoductError(
            f"{where}: the backbone {learner.model_args['backbone']!r} does not take patches of {bands} and "
            f"{size} x {size} pixels{beside}: {words_of(error)}"
        ) from error
    learner.train()
