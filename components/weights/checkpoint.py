"""The tensors in a checkpoint file that somebody else wrote; nothing in it is ever executed."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from components.errors import GeoductError, first_line

_NESTS = ("state_dict", "model_state_dict", "model", "module", "teacher")
"""Under which key of a checkpoint training code keeps the network."""

_BEGINNINGS = (b"PK", b"\x80")
"""Of a zip archive, which torch has written since 2020, and of a pickle, which it wrote before."""

_CODE = re.compile(r"(?:GLOBAL|Unsupported class) ([\w.]+)")


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a `.safetensors`, `.pt` or `.pth` file by name, on the CPU.

    Raises:
        GeoductError: the file is missing, truncated or no checkpoint, or is pickled with code.
    """
    if not path.is_file():
        raise GeoductError(f"{path} does not exist or is no file; expected a checkpoint (.pt, .pth, .safetensors)")
    found = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    nest = next((key for key in _NESTS if isinstance(found.get(key), Mapping)), None)
    tensors = {str(name): values for name, values in (found[nest] if nest else found).items()}
    if not tensors or not all(isinstance(values, torch.Tensor) for values in tensors.values()):
        kinds = sorted({type(values).__name__ for values in tensors.values()})
        raise GeoductError(
            f"{path} holds {', '.join(kinds) or 'nothing'}; expected the tensors of a network, or a checkpoint with "
            f"them under one of {', '.join(_NESTS)}"
        )
    return tensors


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise GeoductError(f"{path} is truncated or no safetensors file: {error}") from None


def _torch(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        head = file.read(2)
    if head and not head.startswith(_BEGINNINGS):
        raise GeoductError(f"{path} is no checkpoint: it does not begin as files of torch do")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if code := _CODE.search(str(error)):
            raise GeoductError(
                f"{path} is pickled with code ({code[1]}), and only tensors are loaded; where you trust it, save the "
                "tensors alone: torch.save(model.state_dict(), FILE)"
            ) from None
        raise GeoductError(
            f"{path} is a pickle that torch does not write; nothing in it is executed, expected tensors saved by torch"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        raise GeoductError(f"{path} is truncated or damaged: {first_line(error)}") from None
    if not isinstance(found, Mapping):
        raise GeoductError(f"{path} holds a {type(found).__name__}; expected tensors by name")
    return dict(found)
