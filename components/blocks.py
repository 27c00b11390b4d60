"""Blocks: the unit of parallelism and of resume. A block is aligned to shards, so that no two workers write one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from components.progress import track

B = TypeVar("B")
R = TypeVar("R")


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


def run_blocks(
    function: Callable[[B], R], blocks: Sequence[B], *, workers: int | None = None, label: str = ""
) -> Iterator[R]:
    """Call `function` on every block in `workers` threads and yield the results in the order of `blocks`.

    A block may be anything that names a piece of work, such as a time step with its block. At most `2 * workers`
    results are held at a time, so memory does not grow with the number of blocks. The first exception ends the run:
    blocks not yet begun are given up and it is raised here.
    """
    count = workers or cores()
    with ThreadPoolExecutor(count) as pool:
        queue: deque[Future[R]] = deque()
        waiting = iter(blocks)
        try:
            for _ in track(blocks, label=label):
                while len(queue) < 2 * count and (block := next(waiting, None)) is not None:
                    queue.append(pool.submit(function, block))
                yield queue.popleft().result()
        finally:
            for future in queue:
                future.cancel()
