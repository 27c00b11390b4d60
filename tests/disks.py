"""A file system of a size of its own, so that what a test sees of room does not hang on the machine's disk."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def disk(place: Path, size: str) -> Iterator[Path]:
    """A new, empty file system that any user may write to, mounted at `place`; `size` as mount has it ("8m", "30g").

    It takes memory only for what is written.
    """
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system of its own size can only be mounted by root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
