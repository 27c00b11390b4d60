"""The YAML of a run and what the command line changes in it, read before terratorch is imported, which takes long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

from components.errors import GeoductError


def read(file: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The YAML as a dictionary, with `a.b.c=value` put into it, where value is YAML too.

    Raises:
        GeoductError: the file is missing or no YAML, an override is malformed or reaches into what is no dictionary.
    """
    load: Callable[[str], Any] = jsonargparse.get_loader("yaml")  # reads 1e-3 as a number, as TerraTorch does
    try:
        found = load(Path(file).read_text())
    except OSError as error:
        raise GeoductError(f"--config {file} cannot be read: {error.strerror}; expected a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GeoductError(f"--config {file} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise GeoductError(f"--config {file} holds no dictionary; expected model, data and trainer, as TerraTorch's do")
    config = deepcopy(found)
    for override in overrides:
        path, equals, value = override.partition("=")
        *parents, last = path.split(".")
        place: Any = config
        for number, key in enumerate(parents):
            place = place.setdefault(key, {}) if isinstance(place, dict) else None
            if not isinstance(place, dict):
                where = ".".join(parents[: number + 1])
                raise GeoductError(f"--override {override}: {where} of {file} is no dictionary")
        if not equals or not last:
            raise GeoductError(f"--override is {override!r}; expected key=value, such as trainer.max_epochs=5")
        try:
            place[last] = load(value)
        except yaml.YAMLError:
            raise GeoductError(f"--override {override}: {value!r} is no YAML value") from None
    return config
