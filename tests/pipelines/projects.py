"""A copy of this project in a folder of its own, where `dvc repro` can be run, killed and switched about."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PARTS = ("components", "pipelines", "experiments", "dvc.yaml", "params.yaml", ".dvc/config", ".dvcignore", ".gitignore")
SKIP = shutil.ignore_patterns("__pycache__")


@dataclass(frozen=True)
class Project:
    """A folder with the project's files under git and DVC."""

    path: Path

    def environment(self) -> dict[str, str]:
        """The environment of this process, with our interpreter's commands first and DVC's state kept apart."""
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.path),
            "DVC_SITE_CACHE_DIR": str(self.path / ".site"),
        }

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            command,
            cwd=self.path,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, status: int = 0) -> str:
        """Run a command to its end and return what it printed; its exit code must be `status`."""
        process = self.start(*command)
        output, _ = process.communicate()
        assert process.returncode == status, f"{' '.join(command)} ended with {process.returncode}:\n{output}"
        return output


def copy_project(path: Path) -> Project:
    """Copy what the pipeline needs, and put it under git as a user would have it."""
    for part in PARTS:
        source, target = ROOT / part, path / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=SKIP)
        else:
            shutil.copy(source, target)
    project = Project(path)
    project.run("git", "init", "--quiet")
    return project
