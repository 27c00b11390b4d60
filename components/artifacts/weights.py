"""Weights: the tensors of a pre-trained backbone, and where they come from. Plain numbers and JSON, no pickled code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from components.artifacts.base import Artifact
from components.artifacts.tensors import Tensors, parse_statistics, read_description, read_tensors, write
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
        """Understand what `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: a field is missing or malformed.
            GeoductError: the fields do not go together.
        """
        statistics = stored["statistics"]
        return cls(
            backbone=str(stored["backbone"]),
            bands=tuple(map(str, stored["bands"])),
            size=int(stored["size"]),
            origin=Origin(**stored["origin"]),
            arguments=dict(stored["arguments"]),
            statistics=None if statistics is None else parse_statistics(statistics),
        )


class Weights(Artifact):
    """A folder: `weights.safetensors`, with tensors named as TerraTorch's backbone names them, and `weights.json`."""

    kind = "Weights"

    @cached_property
    def pretraining(self) -> Pretraining:
        """What `weights.json` says.

        Raises:
            GeoductError: the file is missing, is not JSON, or a field of it is missing or malformed.
        """
        return read_description(self.path / DESCRIPTION, "Weights are described there", Pretraining.from_dict)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Read the tensors.

        Raises:
            GeoductError: the file is missing or damaged.
        """
        return read_tensors(self.path / TENSORS)

    def validate(self) -> None:
        """Check `weights.json` and that the tensors are there; they are checked when they are loaded."""
        _ = self.pretraining
        if not (self.path / TENSORS).is_file():
            raise GeoductError(f"{self.path} has no {TENSORS}")


def write_weights(path: Path, pretraining: Pretraining, tensors: Tensors) -> None:
    """Write `weights.json` and `weights.safetensors` into the folder `path`, which is made if need be.

    The same description and tensors give the same bytes.
    """
    write(path / DESCRIPTION, pretraining.to_dict(), path / TENSORS, tensors)
