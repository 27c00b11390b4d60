"""What SLURM knows of a job: asked of the controller, and of the accounts once the controller has forgotten it."""

from __future__ import annotations

import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass

_ACTIVE = {
    "PENDING": "waits",
    "CONFIGURING": "is being given nodes",
    "RUNNING": "runs",
    "COMPLETING": "is ending",
    "SUSPENDED": "is suspended",
    "STOPPED": "is suspended",
    "REQUEUED": "waits again",
    "RESIZING": "runs",
    "SIGNALING": "runs",
    "STAGE_OUT": "is ending",
}
"""States of a job that is not over, as squeue(1) lists them, in words."""

_FIELD = re.compile(r"(?:^| )(\w+)=(\S*)")


@dataclass(frozen=True)
class Job:
    """A job: SLURM's state and reason, the exit code of its script, its nodes, since or from when it runs."""

    state: str
    reason: str = "None"
    code: int = 0
    nodes: str = ""
    start: str = "Unknown"
    by: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing of it runs or will run."""
        return self.state not in _ACTIVE

    @property
    def words(self) -> str:
        """What a job that is not over does."""
        text = _ACTIVE[self.state]
        if self.state == "PENDING":
            expected = f", expected to start at {self.start}" if self.start not in ("Unknown", "") else ""
            return f"{text} ({self.reason.replace('_', ' ')}{expected})"
        return f"{text} on {self.nodes} since {self.start}" if self.state == "RUNNING" else text


Lost = Job("LOST")
"""A job that neither the controller nor the accounts know."""


def look_up(number: str) -> Job | None:
    """What became of a job; `Lost` if SLURM does not know it, None if SLURM does not answer."""
    told = _ask("scontrol", "--oneliner", "show", "job", number)
    if told.returncode == 0:
        found = dict(_FIELD.findall(told.stdout))
        code = int(found.get("ExitCode", "0:0").partition(":")[0])
        return Job(found["JobState"], found["Reason"], code, found.get("NodeList", ""), found.get("StartTime", ""))
    if "Invalid job id" in told.stderr:
        return _from_accounts(number)
    return None


def _from_accounts(number: str) -> Job:
    if shutil.which("sacct") is None:
        return Lost
    told = _ask(
        "sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={number}", "--format=State,ExitCode,NodeList"
    )
    fields = told.stdout.strip().split("|")
    if told.returncode or len(fields) != 3:
        return Lost
    state, _, by = fields[0].partition(" by ")
    if state in _ACTIVE:  # the accounts never heard of its end
        return Lost
    return Job(state, code=int(fields[1].partition(":")[0]), nodes=fields[2], by=_user(by))


def _user(number: str) -> str:
    try:
        return pwd.getpwuid(int(number)).pw_name
    except (ValueError, KeyError):
        return number


def _ask(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, start_new_session=True)
