"""The resumable batch scripts of `hpc/` as the cluster's user works with them: submitted, watched, waited for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from tests.services.cluster import User


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
