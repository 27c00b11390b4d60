"""Model: a trained network and all that is needed to use it right. Plain numbers and JSON, never pickled code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from components.artifacts.base import Artifact
from components.artifacts.nomenclature import Nomenclature
from components.artifacts.tensors import Tensors, parse_statistics, read_description, read_tensors, write
from components.errors import GeoductError

DESCRIPTION = "model.json"
WEIGHTS = "model.safetensors"
HISTORY = "history.csv"
CURVES = "curves"
RUN = "run.json"
PERFORMANCE = "performance.csv"
TENSORBOARD = "tensorboard"
"""Records of a run of `finetune`: what it was told, a row an epoch of how fast it went, curves by the step."""

Task = Literal["segmentation", "classification", "multilabel"]
"""What a model gives: a class to each pixel, one to the patch as a whole, or the set of classes that a patch holds."""
Normalisation = Literal["standardise", "minmax", "percentile"]

NEEDED: dict[Normalisation, tuple[str, str]] = {
    "standardise": ("mean", "std"),
    "minmax": ("min", "max"),
    "percentile": ("p02", "p98"),
}
"""The statistics that each normalisation rests on."""


@dataclass(frozen=True)
class Architecture:
    """A network before training: the `name` of its family and the `arguments` it is built with, as JSON holds them."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """What `model.json` says.

    `bands` are in the network's order; `statistics` in DN by band, as in the PatchSet; `size` is the patch's edge in
    pixels; `patches` the digest of the PatchSet it was trained on. `min_fraction`, for multilabel alone, is the share
    of a patch's pixels from which on the patch was said to hold a class.

    Raises:
        GeoductError: no band, no such task or normalisation, a band without the statistics that are needed, or a
            multilabel model that does not say what it learned.
    """

    task: Task
    architecture: Architecture
    bands: tuple[str, ...]
    statistics: Mapping[str, Mapping[str, float]]
    normalisation: Normalisation
    nomenclature: Nomenclature
    size: int
    patches: str
    min_fraction: float | None = None

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise GeoductError(f"a model's task is {self.task!r}; expected one of {', '.join(get_args(Task))}")
        if (self.task == "multilabel") != (self.min_fraction is not None and 0 < self.min_fraction <= 1):
            expected = "more than 0, at most 1" if self.task == "multilabel" else "none, which is for multilabel alone"
            raise GeoductError(f"a {self.task} model's min_fraction is {self.min_fraction}; expected {expected}")
        if self.normalisation not in NEEDED:
            raise GeoductError(
                f"a model's normalisation is {self.normalisation!r}; expected one of {', '.join(NEEDED)}"
            )
        if not self.bands or len(set(self.bands)) < len(self.bands):
            raise GeoductError(f"a model's bands are {list(self.bands)}; expected one or more, each once")
        for band in self.bands:
            for name in NEEDED[self.normalisation]:
                value = self.statistics.get(band, {}).get(name)
                if value is None or not np.isfinite(value):
                    raise GeoductError(
                        f"band {band} has no finite {name!r} in its statistics; "
                        f"the normalisation {self.normalisation!r} needs it"
                    )

    def to_dict(self) -> dict[str, Any]:
        """As `model.json` holds it."""
        return {
            "task": self.task,
            "architecture": {"name": self.architecture.name, "arguments": dict(self.architecture.arguments)},
            "bands": list(self.bands),
            "statistics": {band: dict(self.statistics[band]) for band in self.bands},
            "normalisation": self.normalisation,
            "nomenclature": self.nomenclature.to_dict(),
            "size": self.size,
            "patches": self.patches,
            **({} if self.min_fraction is None else {"min_fraction": self.min_fraction}),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Description:
        """Understand what `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: a field is missing or malformed.
            GeoductError: the fields do not go together.
        """
        architecture = stored["architecture"]
        return cls(
            task=stored["task"],
            architecture=Architecture(str(architecture["name"]), dict(architecture["arguments"])),
            bands=tuple(map(str, stored["bands"])),
            statistics=parse_statistics(stored["statistics"]),
            normalisation=stored["normalisation"],
            nomenclature=Nomenclature.from_dict(stored["nomenclature"]),
            size=int(stored["size"]),
            patches=str(stored["patches"]),
            min_fraction=float(stored["min_fraction"]) if "min_fraction" in stored else None,
        )


class Model(Artifact):
    """A folder: `model.safetensors`, `model.json`, `history.csv` (a row an epoch) and `curves/` (as dvclive writes).

    One of `finetune` has records of its run as well; two equal runs give the same digest.
    """

    kind = "Model"
    records = (RUN, PERFORMANCE, TENSORBOARD)

    @cached_property
    def description(self) -> Description:
        """What `model.json` says.

        Raises:
            GeoductError: the file is missing, is not JSON, or a field of it is missing or malformed.
        """
        return read_description(self.path / DESCRIPTION, "a Model is described there", Description.from_dict)

    @property
    def task(self) -> Task:
        """What the model gives a class to."""
        return self.description.task

    @property
    def architecture(self) -> Architecture:
        """The network's family and arguments."""
        return self.description.architecture

    @property
    def bands(self) -> list[str]:
        """Names of the bands, in the network's order."""
        return list(self.description.bands)

    @property
    def statistics(self) -> dict[str, dict[str, float]]:
        """Per band, in DN, of the train split that the model learned from."""
        return {band: dict(values) for band, values in self.description.statistics.items()}

    @property
    def normalisation(self) -> Normalisation:
        """How pixels are brought to the network's scale."""
        return self.description.normalisation

    @property
    def nomenclature(self) -> Nomenclature:
        """The classes, in order of the logits."""
        return self.description.nomenclature

    @property
    def size(self) -> int:
        """Edge of the patches it learned from, in pixels."""
        return self.description.size

    @property
    def min_fraction(self) -> float | None:
        """Share of a patch's pixels from which on it was said to hold a class; none unless the task is multilabel."""
        return self.description.min_fraction

    @property
    def history(self) -> Path:
        """CSV of the epochs: losses, scores and learning rate; a model that was not trained by Geoduct has none."""
        return self.path / HISTORY

    def weights(self) -> dict[str, NDArray[Any]]:
        """Read the network's tensors.

        Raises:
            GeoductError: the file is missing or damaged.
        """
        return read_tensors(self.path / WEIGHTS)

    def validate(self) -> None:
        """Check `model.json` and that the weights are there; the tensors are checked when they are loaded."""
        _ = self.description
        if not (self.path / WEIGHTS).is_file():
            raise GeoductError(f"{self.path} has no {WEIGHTS}")

    def require_bands(self, available: Sequence[str], where: str | Path) -> None:
        """Refuse pixels that lack a band of this model; `where` names them in the sentence.

        Raises:
            GeoductError: a band is missing.
        """
        if missing := [band for band in self.bands if band not in available]:
            raise GeoductError(
                f"{where} has no band {', '.join(missing)}, which the model {self.path} needs; "
                f"it has {', '.join(available)}"
            )


def write_model(path: Path, description: Description, weights: Tensors) -> None:
    """Write `model.json` and `model.safetensors` into the folder `path`, which is made if need be.

    The same description and weights give the same bytes.
    """
    write(path / DESCRIPTION, description.to_dict(), path / WEIGHTS, weights)
