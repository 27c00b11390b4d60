"""The pipeline of a prediction: one thread reads the next batch while the network works on this one and another blends
and writes the one before. At most one batch waits at either side, so memory does not grow with the scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from components.artifacts.nomenclature import IGNORE
from components.predict.blending import Blender
from components.predict.reading import Read, RowEnd, Tile, Work, batches
from components.predict.tiles import Axis, Columns, axis, column_blocks
from components.progress import track

WIDTH = 2048
"""Pixels across a column block, at most: bounds the memory of the strip, and is wide enough that chunks which two
blocks share are few."""

Forward = Callable[[NDArray[np.uint16]], NDArray[np.float32]]
"""Logits `(batch, class, y, x)`, or `(batch, class)`, of pixels `(batch, band, y, x)`."""
Write = Callable[[int, int, NDArray[np.uint8], NDArray[np.uint8]], None]
"""Takes the first row, the first column, and classes and confidence `(y, x)`."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a scene is cut: tiles down and across, and the column blocks that are worked through one after the other."""

    rows: Axis
    columns: Axis
    blocks: Sequence[Columns]

    @classmethod
    def of(cls, shape: tuple[int, int], tile: int, overlap: float, width: int = WIDTH) -> Tiling:
        """Cut a scene of `shape` (y, x) into tiles of `tile` pixels that share the fraction `overlap`."""
        columns = axis(shape[1], tile, overlap)
        return cls(axis(shape[0], tile, overlap), columns, column_blocks(columns, width))


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of logits along axis 1, always `(batch, class, y, x)`, with y = x = 1 for one answer a tile."""
    import torch

    probabilities: NDArray[np.float32] = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
    return probabilities if probabilities.ndim == 4 else probabilities[:, :, None, None]


class _Sink:
    """Takes batches of probabilities in order, blends them, and writes what is finished."""

    def __init__(self, tiling: Tiling, classes: int, scratch: Path, write: Write, stack: ExitStack) -> None:
        self._tiling, self._classes, self._scratch = tiling, classes, scratch
        self._write, self._stack = write, stack
        self._block = -1
        self._handed_on: BufferedRandom | None = None
        self._blender: Blender

    def take(self, steps: Sequence[Tile | RowEnd], probabilities: NDArray[np.float32] | None) -> None:
        """Do the steps of one batch; `probabilities` is None where it holds no tile."""
        for step in steps:
            if step.block != self._block:
                self._begin(step.block)
            if isinstance(step, RowEnd):
                classes, confidence = self._blender.finish_row(step.row)
                classes[step.nodata] = IGNORE
                confidence[step.nodata] = IGNORE
                x0 = self._tiling.blocks[step.block].x0
                self._write(self._tiling.rows.starts[step.row], x0, classes, confidence)
            elif probabilities is not None:
                self._blender.add(step.column, probabilities[step.slot])

    def _begin(self, number: int) -> None:
        inherited, self._handed_on = self._handed_on, None
        if inherited is not None:
            inherited.seek(0)
        if number + 1 < len(self._tiling.blocks):
            file = TemporaryFile(dir=self._scratch)  # noqa: SIM115 – the stack closes it
            self._handed_on = self._stack.enter_context(file)
        block, self._block = self._tiling.blocks[number], number
        self._blender = Blender(
            self._tiling.rows, self._tiling.columns, block, self._classes, inherited, self._handed_on
        )


def predict_scene(
    read: Read,
    forward: Forward,
    write: Write,
    tiling: Tiling,
    *,
    bands: int,
    classes: int,
    batch_size: int,
    chunk: int,
    scratch: Path,
) -> int:
    """Predict a scene and write it piece by piece; return how many tiles held a valid pixel.

    Args:
        read: reads a window of the bands that the model wants.
        forward: the model.
        write: called from one thread with every pixel once; nodata is 255 in both arrays.
        tiling: how the scene is cut.
        bands: number of bands that the model wants.
        classes: number of classes.
        batch_size: tiles a batch, at most.
        chunk: rows of pixels read at a time.
        scratch: folder for what column blocks hand on to one another, on disk.
    """
    source = batches(read, bands, tiling.rows, tiling.columns, tiling.blocks, batch_size, chunk)
    used = 0
    with ExitStack() as stack:
        sink = _Sink(tiling, classes, scratch, write, stack)
        total = len(tiling.rows.starts) * len(tiling.blocks)
        for step in track(_steps(source, forward, sink, stack), total=total, label="predict"):
            used += step
    return used


def _steps(source: Iterator[Work], forward: Forward, sink: _Sink, stack: ExitStack) -> Iterator[int]:
    """Run the three threads; yield, for each row of tiles of a block, how many of them were predicted."""
    reader = stack.enter_context(ThreadPoolExecutor(1, "read"))
    writer = stack.enter_context(ThreadPoolExecutor(1, "write"))
    coming: Future[Work | None] = reader.submit(next, source, None)
    taken: Future[None] | None = None
    predicted = 0
    while (work := coming.result()) is not None:
        coming = reader.submit(next, source, None)
        probabilities = softmax(forward(work.pixels)) if work.tiles else None
        if taken is not None:
            taken.result()
        taken = writer.submit(sink.take, work.steps, probabilities)
        for step in work.steps:
            predicted += isinstance(step, Tile)
            if isinstance(step, RowEnd):
                yield predicted
                predicted = 0
    if taken is not None:
        taken.result()
