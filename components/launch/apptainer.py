"""The launcher `apptainer`: the component in an Apptainer image, on this machine, as this user.

The command line of Apptainer is called directly: that streams the log, passes signals and returns the exit code, which
is all that is needed of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import tempfile
from pathlib import Path

from components.errors import GeoductError
from components.launch.images import Image, sif_path
from components.launch.plan import Plan

_LABEL = "org.label-schema.usage.singularity.deffile.from"
_NVIDIA = Path("/dev/nvidiactl")


def command(plan: Plan, images: Path | None = None, folder: Path = Path("/")) -> list[str]:
    """The words of `apptainer exec …` for a plan; variables travel apart from it, see `environment`.

    `images` is the folder of the Apptainer images, if they are not where they are on this machine; `folder` is where
    the command stands.
    """
    words = ["apptainer", "--quiet", "exec", "--contain", "--cleanenv", "--no-eval", "--no-privs"]
    words += ["--pwd", str(folder)]
    if plan.image_name == "learn" and _NVIDIA.exists():
        words.append("--nv")
    for mount in plan.mounts:
        words += ["--bind", f"{mount.path}:{mount.path}{'' if mount.writable else ':ro'}"]
    return [*words, str(_sif(plan, images)), *plan.command]


def _sif(plan: Plan, images: Path | None) -> Path:
    found = sif_path(plan.image_name)
    return images / found.name if images else found


def environment(plan: Plan) -> dict[str, str]:
    """The variables that hand a plan's own into the container, kept off the command line for they may be secrets."""
    return {f"APPTAINERENV_{name}": value for name, value in plan.environment.items()}


def check(plan: Plan, images: Path | None = None) -> None:
    """See that the image is there and was built from what the lock names.

    Raises:
        GeoductError: Apptainer or the image is missing or unreadable, or the image is another.
    """
    check_sif(_sif(plan, images), plan.image)


def check_sif(sif: Path, image: Image) -> None:
    """See that a file is a whole Apptainer image, built from that very image.

    Raises:
        GeoductError: Apptainer or the file is missing or unreadable, or it was built from another image.
    """
    if shutil.which("apptainer") is None:
        raise GeoductError("there is no apptainer on PATH: install it, or load the module that has it")
    if not sif.is_file():
        raise GeoductError(f"{sif} does not exist: make it from the image (make sif)")
    whole, found = _whole_size(sif), sif.stat().st_size
    if found < whole:
        raise GeoductError(
            f"{sif} is truncated: it has {found} of {whole} bytes; remove it and make it again (make sif)"
        )
    told = subprocess.run(["apptainer", "inspect", "--json", "--labels", str(sif)], capture_output=True, text=True)
    try:
        labels = json.loads(told.stdout)["data"]["attributes"]["labels"]
    except (ValueError, KeyError, TypeError):
        why = told.stderr.strip().splitlines()
        raise GeoductError(
            f"{sif} is no readable Apptainer image ({why[-1] if why else 'no labels'}): "
            "remove it and make it again (make sif)"
        ) from None
    source = labels.get(_LABEL, "")
    if source.rpartition("@")[2] != image.digest:
        raise GeoductError(
            f"{sif} was built from {source or 'an unknown image'}, but the lock names {image.digest}: "
            "make it again (make sif)"
        )


def _whole_size(sif: Path) -> int:
    """Bytes of a SIF file as its header says: offset and size of its data, at byte 112 (SIF specification, header)."""
    with sif.open("rb") as file:
        header = file.read(128)
    if len(header) < 128 or header[32:42] != b"SIF_MAGIC\0":
        raise GeoductError(f"{sif} is no Apptainer image: it does not begin as one; make it again (make sif)")
    offset, size = struct.unpack_from("<2q", header, 112)
    return int(offset + size)


def run(plan: Plan) -> int:
    """Run a plan and return the component's exit code.

    Raises:
        GeoductError: nothing was run; see `check`.
    """
    check(plan)
    with tempfile.TemporaryDirectory(prefix="geoduct-") as scratch:
        variables = {**os.environ, **environment(plan), "APPTAINER_WORKDIR": scratch}
        # In a session of its own, so that a signal reaches it once, through us, whoever sent it and to whom.
        child = subprocess.Popen(command(plan), env=variables, start_new_session=True)
        before = {
            number: signal.signal(number, lambda number, _: child.send_signal(number))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            code = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        raise GeoductError(f"{plan.component} was killed in its container: out of memory, or by hand")
    return 128 - code if code < 0 else code
