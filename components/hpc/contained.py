"""Which tools of the command line run in a container as components do, and what they see there."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from components import objects
from components.launch.images import locked
from components.launch.plan import Mount, Plan, merge, passed_environment

TOOLS = {"sweep": "components.sweep.command", "scaling": "components.scaling.command"}
"""Modules with a function `contained`: the words with absolute paths, and the paths that they name."""


def tool_plan(tool: str, words: list[str]) -> tuple[Plan, Path]:
    """A run of a tool in the image `learn`, and where it stands: here, for its files may name paths from here on.

    Raises:
        GeoductError: the tool refuses the words, or the lock lacks the image.
    """
    contained: Callable[[list[str]], tuple[list[str], list[Mount]]] = importlib.import_module(TOOLS[tool]).contained
    told, named = contained(words)
    files, variables = passed_environment()
    mounts, image, here = merge([*files, *named]), locked("learn"), Path.cwd()
    plan = Plan(
        component=tool,
        image_name="learn",
        image=image,
        command=("geoduct", tool, *told),
        outputs=(),
        mounts=mounts,
        environment={**variables, "GEODUCT_IMAGE": image.reference, "GEODUCT_CACHE": str(objects.cache())},
    )
    # A folder of which the container sees nothing does not exist there, and nothing relative to it can be meant.
    return plan, here if any(here in (m.path, *m.path.parents) for m in mounts) else Path("/")
