"""Which components there are, in the order of the pipeline, and how to get one by its name."""

from __future__ import annotations

import importlib
from typing import Any

from components.contract import Component

COMPONENTS = ("simulate", "acquire", "composite", "label", "patch", "train", "evaluate", "predict")
"""In the order of the pipeline."""


def load(name: str) -> Component[Any]:
    """Import the declaration of a component by its name."""
    return getattr(importlib.import_module(f"components.{name}"), name)  # type: ignore[no-any-return]
