"""Blocks: the unit of parallelism and of resume. A block is aligned to shards, so that no two workers write one."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from components.progress import track

B = TypeVar("B")
R = TypeVar("R")

LOOK = 5.0
"""Seconds between two looks whether a pool is lost: what is sent to a cluster as it goes down is never answered."""


@dataclass(frozen=True, slots=True)
class Block:
    """A window of a grid: rows `y0:y1` and columns `x0:x1`, in pixels from the upper left corner."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def window(self) -> tuple[slice, slice]:
        """`(rows, columns)`, to index the last two axes of an array with."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grow(self, halo: int, shape: tuple[int, int]) -> Block:
        """The block with `halo` more pixels on each side, cut at the edges of a grid of `shape` (y, x)."""
        return Block(
            max(self.y0 - halo, 0),
            min(self.y1 + halo, shape[0]),
            max(self.x0 - halo, 0),
            min(self.x1 + halo, shape[1]),
        )


def blocks_of(shape: tuple[int, int], size: int | tuple[int, int]) -> list[Block]:
    """Cut a grid of `shape` (y, x) into blocks of at most `size` pixels, row by row."""
    height, width = (size, size) if isinstance(size, int) else size
    return [
        Block(y, min(y + height, shape[0]), x, min(x + width, shape[1]))
        for y in range(0, shape[0], height)
        for x in range(0, shape[1], width)
    ]


def cores() -> int:
    """How many processor cores this process may use (a SLURM or container limit counts)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _pool(workers: int | None, scheduler: str | None) -> Iterator[tuple[Executor, int, Callable[[], bool] | None]]:
    """What blocks are worked on by, how many at a time, and what tells that it is lost, if it can be."""
    if scheduler is None:
        count = workers or cores()
        with ThreadPoolExecutor(count) as pool:
            yield pool, count, None
        return
    from components.cluster import cluster

    with cluster(scheduler) as (executor, threads, lost):
        yield executor, workers or threads, lost


def run_blocks(
    function: Callable[[B], R],
    blocks: Iterable[B],
    *,
    workers: int | None = None,
    label: str = "",
    scheduler: str | None = None,
    total: int | None = None,
    held: int = 2,
) -> Iterator[R]:
    """Call `function` on every block in `workers` threads and yield the results in the order of `blocks`.

    A block may be anything that names a piece of work, such as a time step with its block. At most `held * workers`
    results are held at a time, so memory does not grow with the number of blocks, which are taken one by one (`total`
    says how many there will be, where they have no length); so many blocks keep the workers busy while their results
    are used. The first exception ends the run: blocks not yet begun are given up and it is raised here.

    With a `scheduler` the blocks are worked on by the dask cluster at that address, which `function`, blocks and
    results must be able to travel to and from; `workers` is how many are there at a time, none one a thread of it.

    Raises:
        GeoductError: there is no such cluster, or it is lost.
    """
    if total is None and isinstance(blocks, Sized):
        total = len(blocks)
    with (
        _pool(workers, scheduler) as (pool, count, lost),
        closing(_results(function, iter(blocks), pool, held * count, lost)) as results,
    ):
        yield from track(results, total=total, label=label)


def _results(
    function: Callable[[B], R], blocks: Iterator[B], pool: Executor, held: int, lost: Callable[[], bool] | None
) -> Generator[R]:
    queue: deque[Future[R]] = deque()
    try:
        while True:
            for block in itertools.islice(blocks, held - len(queue)):
                queue.append(pool.submit(function, block))
            if not queue:
                return
            yield _result(queue.popleft(), lost)
    finally:
        for future in queue:
            future.cancel()


def _result(future: Future[R], lost: Callable[[], bool] | None) -> R:
    """The result, once it is there; of a pool that may be lost, looked after now and then."""
    while lost and not wait([future], LOOK).done:
        if lost():
            raise CancelledError
    return future.result()
