"""The resumable batch scripts of `hpc/` as the cluster's user works with them: submitted, watched, waited for."""

from __future__ import annotations

import os
import pwd
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from components.learning.stopping import LOOK_INTERVAL
from tests.services.cluster import USER, User, administer


@dataclass(frozen=True)
class Batch:
    """Jobs of `hpc/<component>.sbatch`, each with the same `arguments`."""

    user: User
    component: str
    arguments: tuple[str, ...]

    def submit(self, model: str, *options: str) -> str:
        """Submit a job that makes `model`, with these options of sbatch; returns its number."""
        script = f"hpc/{self.component}.sbatch"
        words = " ".join(("sbatch --parsable", *options, script, "--model", model, *self.arguments))
        made = self.user.run("bash", "-c", f'eval "$(geoduct hpc env {self.component})" && {words}')
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def wait(self, *jobs: str) -> None:
        """Wait until these jobs are over."""
        words = f"sbatch --wait --account=geoduct --dependency=afterany:{':'.join(jobs)} --output=/dev/null --wrap=true"
        assert self.user.run(*words.split()).returncode == 0

    def wait_for_successors(self) -> None:
        """Wait until no job of the project is left."""
        while jobs := self.user.jobs():
            self.wait(*jobs)

    def seen(self, job: str, text: str) -> None:
        """Wait until the log of a job holds `text`."""
        while text not in self.log(job):
            if not self.user.jobs():
                assert text in self.log(job)

    def epochs(self, job: str) -> int:
        """How many epochs a job and its successors have been through."""
        return max(map(int, re.findall(r"epoch (\d+)/", self.log(job))), default=0)

    def ranks(self) -> dict[int, int]:
        """The processes that train at this moment: rank → process; their workers are not among them."""
        ours: dict[int, tuple[int, int]] = {}
        account = pwd.getpwnam(USER).pw_uid
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if process.stat().st_uid != account:
                    continue
                words = (process / "cmdline").read_bytes().split(b"\0")
                rank = re.search(rb"(?:^|\0)SLURM_PROCID=(\d+)", (process / "environ").read_bytes())
                parent = re.search(r"^PPid:\s+(\d+)", (process / "status").read_text(), re.MULTILINE)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile
            if words[0].endswith(b"python") and self.component.encode() in words and rank and parent:
                ours[int(process.name)] = int(rank[1]), int(parent[1])
        return {rank: number for number, (rank, parent) in ours.items() if parent not in ours}

    def warn(self, job: str) -> None:
        """Warn a running job as SLURM does before its walltime.

        Its ranks stand still until they have to see the word to stop: none gets to the end of the run before.
        """
        word = Path(self.user.environment["HOME"]) / "scratch" / f"geoduct-job-{job}" / "stop"
        ranks = self.ranks().values()
        for rank in ranks:
            os.kill(rank, signal.SIGSTOP)
        since = time.monotonic()
        administer("scancel", "--batch", "--signal=USR1", job)
        while not word.exists() or time.monotonic() - since < LOOK_INTERVAL:
            assert job in self.user.jobs(), self.log(job)
        for rank in ranks:
            os.kill(rank, signal.SIGCONT)

    def log(self, job: str) -> str:
        """What a job and its successors have said."""
        file = self.user.project / f"geoduct-{self.component}-{job}.out"
        return file.read_text() if file.exists() else ""

    def made(self, model: str, job: str) -> Path:
        """The folder of a Model that the job and its successors have made."""
        folder = self.user.project / model
        assert (folder / "model.json").is_file(), self.log(job)
        return folder


def curve(model: Path) -> np.ndarray:
    """The history of a Model: a row for each epoch."""
    return np.genfromtxt(model / "history.csv", delimiter=",", skip_header=1)


def assert_same_end(one: Path, other: Path) -> None:
    """Two Models have learned the same, epoch by epoch and weight by weight."""
    np.testing.assert_array_equal(curve(one), curve(other))
    mine, theirs = (load_file(model / "model.safetensors") for model in (one, other))
    assert mine.keys() == theirs.keys()
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
