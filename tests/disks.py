"""A file system of a size of its own, so that what a test sees of room does not hang on the machine's disk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.conftest import unavailable


@contextmanager
def disk(place: Path, size: str) -> Iterator[Path]:
    """A new, empty file system that any user may write to, mounted at `place`; `size` as mount has it ("8m", "30g").

    It takes memory only for what is written.
    """
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "tmpfs", str(place)]
    told = subprocess.run(mount, capture_output=True, text=True)
    if told.returncode:  # an ordinary user, or a container that may not mount
        unavailable("a file system of its own size", told.stderr.strip())
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
