"""Progress of long work: a bar where a person watches, plain lines where a log is written."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

EPOCHS_FILE = "GEODUCT_EPOCHS_FILE"
"""Environment variable: the path of a file that training rewrites after each epoch, a JSON list with a row an epoch."""

TIMES_FILE, TIMES_STEPS = "GEODUCT_TIMES_FILE", "GEODUCT_TIMES_STEPS"
"""Environment variables: a file to write the times of training steps into in place of a Model, and of how many."""

LOG_INTERVAL = 15.0  # seconds between two lines in a log


def track(iterable: Iterable[T], *, total: int | None = None, label: str = "") -> Iterator[T]:
    """Yield from `iterable`, showing how far it has come on standard error.

    On a terminal this is a bar that vanishes when it is done; elsewhere at most one line every 15 seconds, each
    ended by a newline, so that a SLURM log stays readable.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if sys.stderr.isatty():
        yield from tqdm(iterable, total=total, desc=label, leave=False, dynamic_ncols=True)
        return
    yield from tqdm(
        iterable,
        total=total,
        desc=label,
        mininterval=LOG_INTERVAL,
        maxinterval=LOG_INTERVAL,
        delay=LOG_INTERVAL,
        leave=False,
        ascii=True,
        bar_format="{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}]\n",
    )


def say(line: str) -> None:
    """Tell one line to whoever watches, on standard error, above a bar if there is one."""
    tqdm.write(line, file=sys.stderr)
