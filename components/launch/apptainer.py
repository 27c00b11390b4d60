"""The launcher `apptainer`: the component in an Apptainer image, on this machine, as this user.

The command line of Apptainer is called directly: that streams the log, passes signals and returns the exit code, which
is all that is needed of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from components.errors import GeoductError
from components.launch.images import sif_path
from components.launch.plan import Plan

_LABEL = "org.label-schema.usage.singularity.deffile.from"
_NVIDIA = Path("/dev/nvidiactl")


def command(plan: Plan) -> list[str]:
    """The words of `apptainer exec …` for a plan; variables travel apart from it, see `environment`."""
    words = ["apptainer", "exec", "--containall", "--cleanenv", "--no-eval", "--no-privs", "--pwd", "/"]
    if plan.image_name == "learn" and _NVIDIA.exists():
        words.append("--nv")
    for mount in plan.mounts:
        words += ["--bind", f"{mount.path}:{mount.path}{'' if mount.writable else ':ro'}"]
    return [*words, str(sif_path(plan.image_name)), *plan.command]


def environment(plan: Plan) -> dict[str, str]:
    """The variables that hand a plan's own into the container, kept off the command line for they may be secrets."""
    return {f"APPTAINERENV_{name}": value for name, value in plan.environment.items()}


def check(plan: Plan) -> None:
    """See that the image is there and was built from what the lock names.

    Raises:
        GeoductError: Apptainer or the image is missing or unreadable, or the image is another.
    """
    sif = sif_path(plan.image_name)
    if shutil.which("apptainer") is None:
        raise GeoductError("there is no apptainer on PATH: install it, or load the module that has it")
    if not sif.is_file():
        raise GeoductError(f"{sif} does not exist: make it from the image (make sif)")
    told = subprocess.run(["apptainer", "inspect", "--json", "--labels", str(sif)], capture_output=True, text=True)
    try:
        labels = json.loads(told.stdout)["data"]["attributes"]["labels"]
    except (ValueError, KeyError, TypeError):
        why = told.stderr.strip().splitlines()
        raise GeoductError(
            f"{sif} is no readable Apptainer image, perhaps truncated ({why[-1] if why else 'no labels'}): "
            "remove it and make it again (make sif)"
        ) from None
    source = labels.get(_LABEL, "")
    if source.rpartition("@")[2] != plan.image.digest:
        raise GeoductError(
            f"{sif} was built from {source or 'an unknown image'}, but the lock names {plan.image.digest}: "
            "make it again (make sif)"
        )


def run(plan: Plan) -> int:
    """Run a plan and return the component's exit code.

    Raises:
        GeoductError: nothing was run; see `check`.
    """
    check(plan)
    with tempfile.TemporaryDirectory(prefix="geoduct-") as scratch:
        variables = {**os.environ, **environment(plan), "APPTAINER_WORKDIR": scratch}
        child = subprocess.Popen(command(plan), env=variables)
        before = signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
        try:
            code = _wait(child)
        finally:
            signal.signal(signal.SIGTERM, before)
    if code == -signal.SIGKILL or code == 128 + signal.SIGKILL:
        raise GeoductError(f"{plan.component} was killed in its container: out of memory, or by hand")
    return 128 - code if code < 0 else code


def _wait(child: subprocess.Popen[bytes]) -> int:
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue  # the terminal has told the child too; it ends by itself and says so
