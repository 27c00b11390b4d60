"""The two-node SLURM cluster as its ordinary user sees it: a home, a project with Geoduct, commands run as that user.

The checkout of the tests may lie where only root can read, so the user gets a copy of what a login node needs: the
sources, the batch scripts and the few packages that the launcher imports.
"""

from __future__ import annotations

import importlib.metadata
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
USER = "geoduct"

_PACKAGES = ("pyyaml", "pydantic", "pydantic-core", "annotated-types", "typing-extensions", "typing-inspection", "tqdm")


class User:
    """An ordinary user of the cluster with a project of their own; `run` waits for a command, `start` does not."""

    def __init__(self, project: Path, environment: dict[str, str]) -> None:
        self.project = project
        self.environment = environment
        self._account = pwd.getpwnam(USER)

    def start(self, *words: str | Path, **variables: str) -> subprocess.Popen[str]:
        """Start a command in the project, without the environment of the tests."""
        return subprocess.Popen(
            list(map(str, words)),
            cwd=self.project,
            env={**self.environment, **variables},
            user=self._account.pw_uid,
            group=self._account.pw_gid,
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project and wait for it."""
        child = self.start(*words, **variables)
        out, err = child.communicate()  # jobs have a walltime, tests a limit
        return subprocess.CompletedProcess(words, child.returncode, out, err)

    def give(self, path: Path) -> Path:
        """Make what the tests have put into the project the user's own."""
        for each in [path, *path.rglob("*")]:
            os.chown(each, self._account.pw_uid, self._account.pw_gid, follow_symlinks=False)
        return path

    def jobs(self) -> list[str]:
        """Numbers of the jobs that were submitted in this project and are not over, once SLURM has tidied up others."""
        while True:
            told = self.run("squeue", "--noheader", "--me", "--format=%A %T %Z")
            jobs = map(str.split, told.stdout.splitlines())
            ours = {number: state for number, state, folder in jobs if folder == str(self.project)}
            # A controller that is busy gives no answer, which is not that there are none. And `sbatch --wait` returns
            # when a job has ended, while its node may still be at work on the rest.
            if told.returncode == 0 and "COMPLETING" not in ours.values():
                return list(ours)

    def processes(self) -> list[str]:
        """The processes of the user, of jobs or not."""
        running = subprocess.run(
            ["ps", "--no-headers", "-o", "stat,args", "--user", USER], capture_output=True, text=True
        )
        return [line for line in running.stdout.splitlines() if not line.startswith("Z")]

    def leftovers(self) -> list[str]:
        """What a run must not leave: jobs, processes, staging folders, folders of jobs."""
        folders = [*self.project.rglob("*.partial"), *(Path(self.environment["HOME"]) / "scratch").glob("*-job-*")]
        return [*self.jobs(), *self.processes(), *map(str, folders)]

    def mend_site(self, **resources: str | int) -> None:
        """Change what the project's profile of the site asks for, for every component."""
        file = self.project / "hpc" / "sites" / "local.yaml"
        profile = yaml.safe_load(file.read_text())
        profile["resources"]["default"].update(resources)
        file.write_text(yaml.safe_dump(profile))


def interpreter() -> str | None:
    """A Python that every user may run and that the installed packages are made for."""
    same = f"python3.{sys.version_info.minor}"
    for candidate in (os.path.realpath(sys.executable), shutil.which(same, path="/usr/bin:/usr/local/bin")):
        if candidate and all(p.stat().st_mode & 0o001 for p in Path(candidate).parents):
            return candidate
    return None


@contextmanager
def user_of_cluster(python: str) -> Iterator[User]:
    """A fresh project in the home of the cluster's user; it goes away at the end."""
    home = Path(pwd.getpwnam(USER).pw_dir)
    project = home / f"project-{os.getpid()}"
    packages = project / ".packages"
    packages.mkdir(parents=True)
    try:
        for name in ("components", "pipelines", "hpc"):
            shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in _PACKAGES:
            for file in importlib.metadata.files(name) or ():
                if ".." not in file.parts:
                    (packages / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(str(file.locate()), packages / file)
        program = project / ".bin" / "geoduct"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {python} -m components "$@"\n')
        program.chmod(0o755)
        user = User(
            project,
            {
                "HOME": str(home),
                "USER": USER,
                "PATH": f"{program.parent}:/usr/local/bin:/usr/bin:/bin",
                "PYTHONPATH": f"{project}:{packages}",
                "PYTHONDONTWRITEBYTECODE": "1",
                "GEODUCT_SITE": "local",
                "LC_ALL": "C.UTF-8",
            },
        )
        user.give(project)
        yield user
    finally:
        for folder in (project, home / "scratch"):
            shutil.rmtree(folder, ignore_errors=True)


def give_images(user: User, lock: Path, sifs: Path) -> None:
    """Put the lock of images and the Apptainer images into the user's project."""
    folder = user.project / "containers"
    (folder / "sif").mkdir(parents=True)
    shutil.copy(lock, folder / "images.lock.yaml")
    for sif in sifs.glob("*.sif"):
        try:
            os.link(sif, folder / "sif" / sif.name)
        except OSError:  # another file system
            shutil.copy(sif, folder / "sif" / sif.name)


def lines_until(child: subprocess.Popen[str], text: str) -> None:
    """Read what a process says on stderr until a line holds `text`."""
    assert child.stderr is not None
    lines: list[str] = []
    for line in child.stderr:
        lines.append(line)
        if text in line:
            return
    raise AssertionError(f"it ended without saying {text!r}:\n{''.join(lines)}")


def administer(*words: str) -> str:
    """Run a command of SLURM as its administrator."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
