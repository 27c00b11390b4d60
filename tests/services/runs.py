"""Running `geoduct` as its users do, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def start(*words: object, **variables: str) -> subprocess.Popen[str]:
    """Start `geoduct` with these words, and these variables over our own."""
    return subprocess.Popen(
        [sys.executable, "-m", "components", *map(str, words)],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*words: object, status: int = 0, **variables: str) -> str:
    """Run `geoduct` to its end and return what it said on stderr; its exit code must be `status`."""
    process = start(*words, **variables)
    _, said = process.communicate()
    assert process.returncode == status, said
    return said


def half_way(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until the component, wherever it runs, has begun to write into `folder`."""
    while process.poll() is None and not any(p.name.endswith(".partial") for p in os.scandir(folder)):
        pass
    assert process.poll() is None, "it ended before it could be stopped"
