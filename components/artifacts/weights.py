"""Weights: the tensors of a pre-trained backbone, and where they come from. Plain numbers and JSON, no pickled code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from components.artifacts.base import Artifact, read_object
from components.errors import GeoductError

DESCRIPTION = "weights.json"
TENSORS = "weights.safetensors"


@dataclass(frozen=True)
class Origin:
    """Where weights come from, in words (`text`) and, as far as there are such, by URL, revision, licence and file.

    `sha256` is that of the file they were read from, in hexadecimal.
    """

    text: str
    url: str | None = None
    revision: str | None = None
    licence: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Pretraining:
    """What `weights.json` says.

    `backbone` is a name in TerraTorch's registry, `arguments` what it is built with beyond that name's defaults;
    `bands` are named as TerraTorch names them, in the tensors' order; `size` is the edge, in pixels, of the images it
    learned from; `statistics` holds mean and standard deviation of those images by band, in DN, where they are known.

    Raises:
        GeoductError: there is no band, or one has no finite mean and positive standard deviation where others have.
    """

    backbone: str
    bands: tuple[str, ...]
    size: int
    origin: Origin
    arguments: Mapping[str, Any] = field(default_factory=dict)
    statistics: Mapping[str, Mapping[str, float]] | None = None

    def __post_init__(self) -> None:
        if not self.bands or len(set(self.bands)) < len(self.bands):
            raise GeoductError(f"the bands of weights are {list(self.bands)}; expected one or more, each once")
        if self.statistics is None:
            return
        for band in self.bands:
            found = self.statistics.get(band, {})
            if not (abs(found.get("mean", float("inf"))) < float("inf") and 0 < found.get("std", 0) < float("inf")):
                raise GeoductError(f"the weights' statistics of band {band} are {dict(found)}; expected mean and std")

    def to_dict(self) -> dict[str, Any]:
        """As `weights.json` holds it."""
        return {
            "backbone": self.backbone,
            "arguments": dict(self.arguments),
            "bands": list(self.bands),
            "size": self.size,
            "statistics": self.statistics and {band: dict(self.statistics[band]) for band in self.bands},
            "origin": asdict(self.origin),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Pretraining:
        """Read what `to_dict` wrote.

        Raises:
            GeoductError: a field is missing or malformed.
        """
        try:
            statistics = stored["statistics"]
            return cls(
                backbone=str(stored["backbone"]),
                bands=tuple(map(str, stored["bands"])),
                size=int(stored["size"]),
                origin=Origin(**stored["origin"]),
                arguments=dict(stored["arguments"]),
                statistics=None
                if statistics is None
                else {
                    str(band): {str(name): float(value) for name, value in values.items()}
                    for band, values in statistics.items()
                },
            )
        except KeyError as error:
            raise GeoductError(f"the field {error} is missing") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise GeoductError(f"a field is malformed ({error})") from None


class Weights(Artifact):
    """A folder: `weights.safetensors`, with tensors named as TerraTorch's backbone names them, and `weights.json`."""

    kind = "Weights"

    @cached_property
    def pretraining(self) -> Pretraining:
        """What `weights.json` says.

        Raises:
            GeoductError: the file is missing, is not JSON, or a field of it is missing or malformed.
        """
        file = self.path / DESCRIPTION
        stored = read_object(file, "Weights are described there")
        try:
            return Pretraining.from_dict(stored)
        except GeoductError as error:
            raise GeoductError(f"{file}: {error}") from None

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Read the tensors.

        Raises:
            GeoductError: the file is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        file = self.path / TENSORS
        try:
            return dict(load_file(file))
        except (OSError, SafetensorError) as error:
            raise GeoductError(f"{file} is not a readable safetensors file: {error}") from None

    def validate(self) -> None:
        """Check `weights.json` and that the tensors are there; they are checked when they are loaded."""
        _ = self.pretraining
        if not (self.path / TENSORS).is_file():
            raise GeoductError(f"{self.path} has no {TENSORS}")


def write_weights(path: Path, pretraining: Pretraining, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write `weights.json` and `weights.safetensors` into the folder `path`, which is made if need be.

    The same description and tensors give the same bytes.
    """
    import numpy as np
    from safetensors.numpy import save

    path.mkdir(parents=True, exist_ok=True)
    # Not save_file: it makes a file that only its owner can read, whatever the umask.
    (path / TENSORS).write_bytes(save({name: np.asarray(values, order="C") for name, values in tensors.items()}))
    (path / DESCRIPTION).write_text(json.dumps(pretraining.to_dict(), indent=1) + "\n")
