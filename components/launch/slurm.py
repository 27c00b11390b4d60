"""The launcher `slurm`: the component in an Apptainer image, as a batch job of the site that `GEODUCT_SITE` names.

The job is `hpc/stage.sbatch` with the container's command line. This process waits for it: it tells what the queue
does, hands on the log as it grows, cancels the job when it is told to end, and says how the job ended.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import IO

from components.errors import STOPPED, GeoductError
from components.hpc import environment
from components.hpc.jobs import Job, Lost, look_up
from components.hpc.site import Resources, Site, find, scripts
from components.launch import apptainer
from components.launch.plan import Plan

_TICK = 0.5
"""Seconds between two looks at the log."""

_POLL = (1.0, 15.0)
"""Seconds between two questions to SLURM, least and most; in between, a tenth of the time that nothing changed."""

_KILLED = 128 + signal.SIGKILL
"""Exit code of a step whose task was killed."""

_OUT_OF_MEMORY = re.compile(r"oom[-_ ]kill|out[-_ ]of[-_ ]memory|memory limit", re.IGNORECASE)
"""How slurmstepd says it, with cgroups and without."""


def command(plan: Plan) -> list[str]:
    """The words of `sbatch …` for a plan; variables travel apart from it."""
    site = find()
    resources = site.of(plan.component)
    return [*_sbatch(site, resources, plan), *apptainer.command(plan, environment.sif_folder(site))]


def run(plan: Plan) -> int:
    """Run a plan as a job and return the component's exit code. No job is left, unless this process is killed.

    A job that its walltime stopped with a checkpoint is followed by another, as often as the site's profile allows.

    Raises:
        GeoductError: SLURM refused the job, cancelled, stopped or lost it, or it ran out of memory.
    """
    site = find()
    for program in ("sbatch", "scontrol", "scancel"):
        if shutil.which(program) is None:
            raise GeoductError(f"there is no {program} on PATH: GEODUCT_LAUNCHER=slurm works on a cluster's login node")
    apptainer.check(plan, environment.sif_folder(site))
    with _told_to_end() as told:
        for generation in range(site.profile.successors + 1):
            if generation:
                _say(f"{plan.component} stopped at its walltime with a checkpoint; the next job goes on from there")
            code = _Watch(site, plan, told).run()
            if code != STOPPED:
                return code
    return code


def _sbatch(site: Site, resources: Resources, plan: Plan) -> list[str]:
    logs = site.path("scratch", site.profile.scratch) / "geoduct-logs"
    words = ["sbatch", "--parsable", f"--job-name=geoduct-{plan.component}", *environment.options(site, resources)]
    words += [f"--signal=B:USR1@{site.profile.warning}", f"--output={logs}/%x-%j.out", f"--error={logs}/%x-%j.err"]
    return [*words, str(scripts() / "stage.sbatch")]


class _Watch:
    """One job from its submission to its end."""

    def __init__(self, site: Site, plan: Plan, told: _Told) -> None:
        self._site, self._plan, self._told = site, plan, told
        self._resources = site.of(plan.component)
        self._scratch = site.path("scratch", site.profile.scratch)
        self._logs = self._scratch / "geoduct-logs"

    def run(self) -> int:
        number = self._submit()
        names = [self._logs / f"geoduct-{self._plan.component}-{number}.{end}" for end in ("out", "err")]
        streams = [_Stream(name, out) for name, out in zip(names, (sys.stdout, sys.stderr), strict=True)]
        _say(f"job {number} submitted to partition {self._resources.partition}")
        job = self._wait(number, streams)
        shutil.rmtree(self._scratch / f"geoduct-job-{number}", ignore_errors=True)  # a node that failed left it
        code = self._judge(number, job, names[1])
        for name in names:
            name.unlink(missing_ok=True)  # all of it has been handed on
        return code

    def _submit(self) -> str:
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GeoductError(f"{self._logs} for the job's log cannot be made: {error.strerror}") from None
        variables = {**os.environ, **environment.for_scripts(self._site, self._resources)}
        # The options are given as words; what an earlier `geoduct hpc env` set is for another component.
        variables = {k: v for k, v in variables.items() if not k.startswith("SBATCH_")}
        told = subprocess.run(
            command(self._plan),
            env={**variables, **apptainer.environment(self._plan)},
            capture_output=True,
            text=True,
            start_new_session=True,  # Ctrl-C is ours: a job must not slip in between
        )
        if told.returncode:
            raise GeoductError(self._refusal(told.stderr))
        return told.stdout.strip().partition(";")[0]

    def _refusal(self, text: str) -> str:
        lines = [line.partition("error: ")[2] or line for line in text.strip().splitlines()]
        reason = (lines[-1] if lines else "no reason given").removeprefix("Batch job submission failed: ")
        asked = self._resources
        payer = environment.payer(self._site) or "the default account"
        return (
            f"SLURM refused the job of {self._plan.component}: {reason} (account {payer}, partition {asked.partition}, "
            f"time {asked.time}, {asked.nodes} × {asked.tasks} × {asked.cpus} cores, memory {asked.memory or 'all'}, "
            f"{asked.gpus} GPUs a node): mend {self._site.file} or {environment.ACCOUNT}"
        )

    def _wait(self, number: str, streams: list[_Stream]) -> Job:
        """Follow the job until it is over; cancel it when told to end."""
        shown = ""
        changed = heard = asked = time.monotonic()
        while True:
            if self._told.event.wait(_TICK):
                self._told.event.clear()
                _say(f"cancelling job {number}")
                changed, asked = time.monotonic(), 0.0
            for stream in streams:
                stream.forward()
            now = time.monotonic()
            if now - asked < min(max((now - changed) / 10, _POLL[0]), _POLL[1]):
                continue
            asked = now
            if self._told.number:  # again each time, for SLURM may not have answered
                subprocess.run(["scancel", number], capture_output=True, start_new_session=True)
            job = look_up(number)
            if job is None:
                if now - heard > self._site.profile.patience:
                    raise GeoductError(
                        f"SLURM has not answered for {self._site.profile.patience} s, so job {number} counts as lost; "
                        f"it may still be running (squeue --jobs {number})"
                    )
                if shown != "silence":
                    shown = "silence"
                    _say(f"SLURM does not answer; waiting for it at most {self._site.profile.patience} s")
                continue
            heard = now
            if job.over:
                for stream in streams:
                    stream.finish()
                return job
            if (now_shown := job.state + job.reason) != shown:  # not its expected start, which changes all the time
                shown, changed = now_shown, now
                _say(f"job {number} {job.words}")

    def _judge(self, number: str, job: Job, log: Path) -> int:
        """The component's exit code, or what became of the job instead."""
        if self._told.number:
            return 128 + self._told.number
        if job.state == "COMPLETED" or (job.state == "FAILED" and job.code not in (0, _KILLED)):
            return job.code
        # Where only the step ran out of memory, SLURM calls the job failed; its word in the log tells.
        state = "OUT_OF_MEMORY" if job.state == "FAILED" and _OUT_OF_MEMORY.search(_tail(log)) else job.state
        asked, file = self._resources, self._site.file
        limit, again = asked.memory or "all of it", "give the same command again"
        what = {
            "OUT_OF_MEMORY": f"ran out of memory on {job.nodes}: it had {limit}; give it more in {file}",
            "TIMEOUT": f"reached its walltime of {asked.time} and was ended; give it more in {file}",
            "CANCELLED": f"was cancelled by {job.by or 'its user or an administrator'}",
            "NODE_FAIL": f"ended because a node failed ({job.nodes}); {again}",
            "PREEMPTED": f"was ended in favour of another job; {again}",
            "FAILED": f"was killed on {job.nodes}: out of memory, or by hand",
            Lost.state: "is lost: SLURM no longer knows it, so how it ended cannot be told",
        }.get(state, f"ended as {state} on {job.nodes}")
        raise GeoductError(f"{self._plan.component} (job {number}) {what}; its log: {log}")


def _tail(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-10_000:]
    except OSError:
        return ""


class _Stream:
    """A file of the job's log, handed on as it grows."""

    def __init__(self, path: Path, out: IO[str]) -> None:
        self._path, self._out, self._read = path, out, 0

    def forward(self) -> bool:
        """Hand on what is new; whether there was anything."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except OSError:  # not begun yet
            return False
        self._read += len(new)
        self._out.buffer.write(new)  # type: ignore[attr-defined]  # IO[str] of sys has it
        self._out.flush()
        return bool(new)

    def finish(self) -> None:
        """Hand on the rest; a parallel file system shows it to this node a moment late."""
        quiet = 0
        while quiet < 2:
            quiet = 0 if self.forward() else quiet + 1
            time.sleep(_TICK / 2)


class _Told:
    """Which signal told us to end; 0 = none."""

    def __init__(self) -> None:
        self.number = 0
        self.event = Event()


@contextmanager
def _told_to_end() -> Iterator[_Told]:
    told = _Told()

    def note(number: int, _: object) -> None:
        told.number = number
        told.event.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    print(f"geoduct: {text}", file=sys.stderr, flush=True)
