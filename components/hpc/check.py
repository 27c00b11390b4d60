"""The check before the first job: what this account lacks to run Geoduct here, each finding with what mends it.

Every question is put to the thing itself: a container is started, a job is submitted to SLURM as a test only, a file is
written. What cannot be asked on this machine is said to be unknown rather than well.
"""

from __future__ import annotations

import getpass
import grp
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.errors import GeoductError
from components.hpc import environment
from components.hpc.site import Site, scripts
from components.launch import apptainer
from components.launch.images import locked
from components.launch.plan import Plan
from components.registry import load

ROOM = 20 * 10**9
"""Bytes that a folder should have free: an image, a scene and a model with their staging copies."""

Status = Literal["ok", "mend", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One question, its answer, and what to do about it."""

    subject: str
    status: Status
    found: str
    mend: str = ""


def examine(site: Site, component: str, account: str | None = None, data: Sequence[str] = ()) -> list[Finding]:
    """Ask everything that a job of `component` depends on. `data` are files and folders that must have been staged."""
    questions: list[Callable[[], Iterator[Finding]]] = [
        lambda: _apptainer(site),
        lambda: _image(site, component),
        lambda: _slurm(site, component, account),
        lambda: _folder("project", site, site.profile.project),
        lambda: _folder("scratch", site, site.profile.scratch),
        lambda: _staged(data),
        lambda: _network(site, data),
    ]
    return [finding for question in questions for finding in question()]


def table(findings: Sequence[Finding]) -> str:
    """The findings for a reader."""
    width = max(len(f.subject) for f in findings)
    marks: dict[Status, str] = {"ok": "ok", "mend": "MEND", "unknown": "?"}
    lines: list[str] = []
    for f in findings:
        lines.append(f"{marks[f.status]:<5}{f.subject:<{width + 2}}{f.found}")
        if f.mend:
            lines.append(f"{'':<{width + 7}}→ {f.mend}")
    count = sum(f.status == "mend" for f in findings)
    lines.append(f"{count} to mend" if count else "ready")
    return "\n".join(lines)


def _apptainer(site: Site) -> Iterator[Finding]:
    if shutil.which("apptainer") is None:
        modules = f" (module load {' '.join(site.profile.modules)})" if site.profile.modules else ""
        yield Finding("apptainer", "mend", "not on PATH", f"load the module that has it{modules}, or ask the site")
        return
    version = subprocess.run(["apptainer", "--version"], capture_output=True, text=True).stdout.strip()
    yield Finding("apptainer", "ok", version)
    if group := site.profile.group:
        names = {_group(number) for number in {*os.getgroups(), os.getgid()}}
        if group in names:
            yield Finding("permission", "ok", f"member of the group {group}")
        else:
            yield Finding(
                "permission",
                "mend",
                f"not a member of the group {group}",
                "ask for access to the Container Runtime Engine (JuDoor, Software), then log in anew",
            )
    device = Path("/dev/fuse")
    if os.access(device, os.R_OK | os.W_OK):
        yield Finding("fuse", "ok", "/dev/fuse is open to you")
    else:
        yield Finding(
            "fuse", "unknown", "/dev/fuse is not open to you", "fine if Apptainer mounts images itself; see image"
        )


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _image(site: Site, component: str) -> Iterator[Finding]:
    name = load(component).spec.image
    try:
        folder = environment.sif_folder(site)
        plan = Plan(component, name, locked(name), ("true",), (), (), {})
        apptainer.check(plan, folder)
    except GeoductError as error:
        cure = "make images sif where that can be done, and copy lock and SIF to this site"
        yield Finding(f"image {name}", "mend", str(error), cure)
        return
    told = subprocess.run(apptainer.command(plan, folder), capture_output=True, text=True)
    if told.returncode:
        reason = (told.stderr.strip().splitlines() or [f"exit code {told.returncode}"])[-1]
        yield Finding(f"image {name}", "mend", f"does not run: {reason}", "see the lines above; else ask the site")
    else:
        yield Finding(
            f"image {name}", "ok", f"{folder / f'{name}.sif'} runs, and is {plan.image.digest[:19]}… of the lock"
        )


def _slurm(site: Site, component: str, account: str | None) -> Iterator[Finding]:
    if shutil.which("sbatch") is None:
        yield Finding("slurm", "mend", "there is no sbatch on PATH", "log in to a login node of the cluster")
        return
    asked = site.of(component)
    payer = environment.payer(site, account)
    words = ["sbatch", "--test-only", *environment.options(site, asked, account)]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SBATCH_")}
    told = subprocess.run([*words, str(scripts() / "stage.sbatch")], capture_output=True, text=True, env=clean)
    said = (told.stderr.strip().splitlines() or ["it said nothing"])[-1]
    where = f"account {payer or '(default)'}, partition {asked.partition}, time {asked.time}"
    if told.returncode == 0:
        yield Finding("slurm", "ok", f"{where}: {said.partition('sbatch: ')[2] or said}")
        return
    reason = said.rpartition(": ")[2]
    yield Finding("slurm", "mend", f"{where}: {reason}", _advice(site, reason))


def _advice(site: Site, reason: str) -> str:
    word = reason.lower()
    if "account" in word:
        return f"your accounts: {_accounts()}; choose one: export {environment.ACCOUNT}=…, or --account"
    if "partition" in word:
        known = _lines("sinfo", "--noheader", "--format=%R")
        return f"partitions: {', '.join(sorted(set(known)))}; mend {site.file}"
    if "time limit" in word:
        known = _lines("sinfo", "--noheader", "--format=%R up to %l")
        return f"partitions: {', '.join(sorted(set(known)))}; mend `time` in {site.file}"
    if "contact" in word or "connect" in word:
        return "SLURM does not answer; try again later, or ask the site"
    return f"mend what is asked for in {site.file}"


def _accounts() -> str:
    """The accounts that this user may charge, as far as SLURM keeps them."""
    found = _lines(
        "sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={getpass.getuser()}", "format=account"
    )
    return ", ".join(sorted(set(found))) or "none that SLURM tells"


def _lines(*words: str) -> list[str]:
    if shutil.which(words[0]) is None:
        return []
    return subprocess.run(words, capture_output=True, text=True).stdout.split("\n")[:-1]


def _folder(subject: str, site: Site, value: str) -> Iterator[Finding]:
    try:
        folder = site.path(subject, value)
    except GeoductError as error:
        yield Finding(subject, "mend", f"{value}: not set", str(error).rpartition(": ")[2])
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 20))  # a quota that is used up shows only when something is written
    except OSError as error:
        yield Finding(subject, "mend", f"{folder} cannot be written: {error.strerror}", "make room, or ask for access")
        return
    free = os.statvfs(folder)
    left = free.f_bavail * free.f_frsize
    if left < ROOM:
        yield Finding(subject, "mend", f"{folder} has {left / 1e9:.1f} GB left", f"make room: {ROOM / 1e9:.0f} GB")
    else:
        yield Finding(subject, "ok", f"{folder} is writable; the file system has {left / 1e9:.0f} GB left{_quota()}")


def _quota() -> str:
    """Where the quota is kept apart from the file system, as at JSC."""
    return "; quota: jutil project dataquota" if shutil.which("jutil") else ""


def _staged(data: Sequence[str]) -> Iterator[Finding]:
    for path in (p for p in data if "://" not in p):
        if Path(path).exists() and os.access(path, os.R_OK):
            yield Finding("data", "ok", path)
        else:
            yield Finding("data", "mend", f"{path} is not here", "stage it from a login node (dvc pull, or copy it)")


def _network(site: Site, data: Sequence[str]) -> Iterator[Finding]:
    if site.profile.internet:
        yield Finding("network", "ok", "compute nodes reach the internet, says the profile")
        return
    remote = [p for p in data if "://" in p]
    for url in remote:
        yield Finding(
            "network",
            "mend",
            f"{url}: compute nodes have no internet",
            "acquire it on a login node (GEODUCT_LAUNCHER=host)",
        )
    if not remote:
        yield Finding("network", "ok", "compute nodes have no internet; images are told so (HF_HUB_OFFLINE=1)")
