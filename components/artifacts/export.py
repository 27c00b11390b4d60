"""Export: a trained network as files that other runtimes take, with pixels as stored going in."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from components.artifacts.base import Artifact, read_object
from components.artifacts.nomenclature import Nomenclature
from components.errors import GeoductError

DESCRIPTION = "export.json"
ONNX = "model.onnx"
TORCH = "model.pt2"

_FIELDS = ("task", "input", "output", "bands", "normalisation", "nomenclature", "model", "checks")


class Export(Artifact):
    """A folder: `model.onnx`, `model.pt2` (torch.export) and `export.json`, which says what goes in and comes out.

    Both take DN as stored, uint16 (batch, band, y, x) with 0 = nodata: normalisation is part of the network.
    """

    kind = "Export"

    @cached_property
    def description(self) -> dict[str, Any]:
        """What `export.json` says: `task`, `input`, `output`, `bands`, `normalisation`, `nomenclature`, the digest of
        the `model`, and the `checks` against it.

        Raises:
            GeoductError: the file is missing, is not JSON, or lacks a field.
        """
        file = self.path / DESCRIPTION
        stored = read_object(file, "an Export is described there")
        if missing := next((name for name in _FIELDS if name not in stored), None):
            raise GeoductError(f"{file} lacks the field {missing!r}")
        return stored

    @property
    def nomenclature(self) -> Nomenclature:
        """The classes, in order of the logits."""
        return Nomenclature.from_dict(self.description["nomenclature"])

    @property
    def onnx(self) -> Path:
        """The network for ONNX runtimes; weights of more than 2 GB lie in `model.onnx.data` beside it."""
        return self.path / ONNX

    @property
    def torch(self) -> Path:
        """The network for `torch.export.load`, which needs none of Geoduct's code."""
        return self.path / TORCH

    def validate(self) -> None:
        """Check that both networks are there and the description can be read."""
        for name in (ONNX, TORCH):
            if not (self.path / name).is_file():
                raise GeoductError(f"{self.path} has no {name}; an Export holds {ONNX}, {TORCH} and {DESCRIPTION}")
        _ = self.nomenclature
