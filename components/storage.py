"""Where artifacts are put. Writing is all or nothing: a staging folder beside the place, then one rename.

A staging folder is named after its target, a key and the process that writes it. A later run clears away what dead
processes left; a resumable component's run with the same key takes such remains over and goes on from there. Whether
the writer of remains from another machine is dead cannot be seen from its number: a lock beside the target, which the
file system carries from machine to machine and drops with its holder, keeps two jobs from writing the same one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from components.errors import GeoductError

FRESH = "fresh"
"""Key of a staging folder that nobody takes over."""

_NAME = re.compile(r"^\.(?P<target>.+)\.(?P<key>[0-9a-z]+)\.(?P<host>[^/]+)-(?P<pid>\d+)\.partial$")


def _name(target: Path, key: str) -> str:
    return f".{target.name}.{key}.{socket.gethostname()}-{os.getpid()}.partial"


def _running(host: str, pid: int) -> bool:
    """Whether the writer of a staging folder is another living process of this machine."""
    if host != socket.gethostname() or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _dead(pid)


def _dead(pid: int) -> bool:
    """Whether a process has ended and only waits for its parent to hear of it (Linux; elsewhere nothing is known)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] in ("Z", "X")


def folder(path: Path) -> None:
    """Make a folder that targets are put into.

    Raises:
        GeoductError: it cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GeoductError(f"{path} cannot be made: {error.strerror}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise GeoductError(f"{path} is not writable")


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Hold the right to write a target, on this machine and on all that share its file system.

    Raises:
        GeoductError: another process holds it; or the parent folder cannot be made or written.
    """
    folder(target.parent)
    path = target.absolute().parent / f".{target.name}.lock"
    with _locked(path, target) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()} of {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path, target: Path) -> TextIO:
    """The lock file, open and locked by us, so far as its file system knows locks."""
    while True:
        file = path.open("a+")
        try:
            # Of the two kinds the one that GPFS, Lustre and NFS carry from machine to machine.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                holder = file.read() or "another process"
                file.close()
                raise GeoductError(f"{target} is being written by {holder}; wait for it or end it") from None
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP):
                raise
        # The holder before may have removed the file between our opening and our locking it.
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return file
        file.close()


def stage(target: Path, key: str = FRESH) -> Path:
    """Name a staging path beside `target`, absolute, so that no library takes it for a path within something else.

    With a `key`, what a dead process of the same key left is taken over under the new name; it then exists. All
    other remains of dead processes are removed. Those of other machines are kept unless their key is taken over.

    Raises:
        GeoductError: the parent folder cannot be made or written, or a living process is writing the same target.
    """
    folder(target.parent)
    _restore(target)
    staged = target.absolute().parent / _name(target, key)
    for remains in sorted(staged.parent.glob(".*.partial")):
        found = _NAME.match(remains.name)
        if not found or found["target"] != target.name:
            continue
        if _running(found["host"], int(found["pid"])):
            raise GeoductError(f"{target} is being written by process {found['pid']}; wait for it or end it")
        if key != FRESH and found["key"] == key and not staged.exists():
            remains.rename(staged)
        elif found["host"] == socket.gethostname() and remains != staged:
            remove(remains)
    if key == FRESH:
        remove(staged)
    return staged


def sweep(target: Path) -> None:
    """Remove what processes of this machine that are dead left beside `target`, save what a later run goes on from."""
    with suppress(GeoductError), writing(target):  # else somebody is writing it, and clears up
        for remains in target.absolute().parent.glob(".*.partial"):
            found = _NAME.match(remains.name)
            if not found or found["target"] != target.name or found["key"] != FRESH:
                continue
            if found["host"] == socket.gethostname() and not _running(found["host"], int(found["pid"])):
                remove(remains)


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
