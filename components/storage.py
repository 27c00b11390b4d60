"""Where artifacts are put. Writing is all or nothing: a staging folder beside the place, then one rename.

A staging folder is named after its target and the process that writes it, so that a later run can tell the remains
of a killed process from the work of a living one.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from components.errors import GeoductError


def _staging_name(target: Path) -> str:
    return f".{target.name}.{socket.gethostname()}-{os.getpid()}.partial"


def _abandoned(path: Path) -> bool:
    """Whether the process that wrote a staging folder has ended. One of another host is taken to live."""
    host, _, pid = path.name.removesuffix(".partial").rpartition("-")
    if not host.endswith("." + socket.gethostname()) or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return int(pid) == os.getpid()


def stage(target: Path) -> Path:
    """Name a fresh staging path beside `target`, and clear away what killed runs left there.

    Raises:
        GeoductError: the parent folder cannot be made or written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GeoductError(f"{target.parent} cannot be made: {error.strerror}") from None
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise GeoductError(f"{target.parent} is not writable")
    for remains in target.parent.glob(f".{target.name}.*.partial"):
        if _abandoned(remains):
            remove(remains)
    _restore(target)
    return target.parent / _staging_name(target)


def _old(target: Path) -> Path:
    return target.parent / f".{target.name}.old"


def _restore(target: Path) -> None:
    """Mend a publish that was killed between its two renames."""
    if _old(target).exists() and not target.exists():
        _old(target).rename(target)
    remove(_old(target))


def publish(staged: Path, target: Path) -> None:
    """Put a finished folder in its place, replacing what was there."""
    if target.exists():
        target.rename(_old(target))
    staged.rename(target)
    remove(_old(target))


def remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
