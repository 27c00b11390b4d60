"""Tensors beside the JSON file that describes them: how a Model and Weights lie on disk alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from components.artifacts.base import read_object
from components.errors import GeoductError

Tensors = Mapping[str, NDArray[Any]]
"""Tensors by the name they have in the network."""

D = TypeVar("D")


def read_description(file: Path, holds: str, parse: Callable[[Mapping[str, Any]], D]) -> D:
    """What a JSON file says, as `parse` understands its object; `holds` ends the sentence if there is none.

    Raises:
        GeoductError: the file is missing, is not JSON, or a field of it is missing or malformed.
    """
    stored = read_object(file, holds)
    try:
        return parse(stored)
    except KeyError as error:
        raise GeoductError(f"{file}: the field {error} is missing") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise GeoductError(f"{file}: a field is malformed ({error})") from None
    except GeoductError as error:
        raise GeoductError(f"{file}: {error}") from None


def parse_statistics(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Numbers by band and name."""
    return {str(band): {str(name): float(value) for name, value in found.items()} for band, found in stored.items()}


def read_tensors(file: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file.

    Raises:
        GeoductError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise GeoductError(f"{file} is not a readable safetensors file: {error}") from None


def write(description: Path, told: Mapping[str, Any], file: Path, tensors: Tensors) -> None:
    """Write both files, and their folder if need be; the same description and tensors give the same bytes."""
    from safetensors.numpy import save

    file.parent.mkdir(parents=True, exist_ok=True)
    # Not save_file: it makes a file that only its owner can read, whatever the umask.
    file.write_bytes(save({name: np.asarray(values, order="C") for name, values in tensors.items()}))
    description.write_text(json.dumps(told, indent=1) + "\n")
