"""Launchers: where `geoduct <component> …` runs. The command line is the same for all of them.

`GEODUCT_LAUNCHER` chooses: `host` (this process), `docker`, `apptainer`, or `slurm` (Apptainer in a batch job). A plan
says what a run may see and which image it needs; each launcher is one module that turns a plan into a command and runs
it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

from components.errors import GeoductError, nearest
from components.spec import Spec

LAUNCHERS = ("host", "docker", "apptainer", "slurm")


def chosen() -> str:
    """The launcher that `GEODUCT_LAUNCHER` names; `host` if it names none.

    Raises:
        GeoductError: there is no such launcher.
    """
    name = os.environ.get("GEODUCT_LAUNCHER") or "host"
    if name not in LAUNCHERS:
        raise GeoductError(f"GEODUCT_LAUNCHER is {name!r}{nearest(name, LAUNCHERS)}; known: {', '.join(LAUNCHERS)}")
    return name


def launch(launcher: str, spec: Spec, arguments: Mapping[str, Any]) -> int:
    """Run a component in its image and return its exit code.

    Args:
        launcher: `docker`, `apptainer` or `slurm`.
        spec: the component.
        arguments: as text or values, by name.

    Raises:
        GeoductError: the arguments are refused, or the launcher cannot run the image; nothing was started then.
    """
    from components import storage
    from components.launch.plan import make_plan

    plan = make_plan(spec, arguments)
    for mount in (m for m in plan.mounts if m.writable):
        storage.folder(mount.path)  # as the user who asks: a container engine would make it as root
    try:
        return int(importlib.import_module(f"components.launch.{launcher}").run(plan))
    finally:
        for output in plan.outputs:
            storage.sweep(output)  # what was killed in its container could not clear up after itself


def preview(launcher: str, spec: Spec, arguments: Mapping[str, Any]) -> str:
    """The command line that `launch` would run, as one would type it; credentials are named, not shown.

    Raises:
        GeoductError: the arguments are refused, or the images are unknown.
    """
    import shlex

    from components.launch.plan import command_line, make_plan

    if launcher == "host":
        return shlex.join(command_line(spec, arguments))
    module = importlib.import_module(f"components.launch.{launcher}")
    return shlex.join(module.command(make_plan(spec, arguments)))
