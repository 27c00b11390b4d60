"""Which components there are, in the order of the pipeline, and how to get one by its name."""

from __future__ import annotations

import importlib
from typing import Any

from components.contract import Component

COMPONENTS = (
    "simulate",
    "search",
    "acquire",
    "composite",
    "label",
    "patch",
    "train",
    "pretrain",
    "finetune",
    "evaluate",
    "compare",
    "predict",
    "export",
    "publish",
)
"""In the order of the pipeline."""


def load(name: str) -> Component[Any]:
    """Import the declaration of a component by its name."""
    found: Component[Any] = getattr(importlib.import_module(f"components.{name}"), name)
    return found
