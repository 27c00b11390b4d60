"""Blends overlapping tiles of probabilities into finished rows of classes and confidence, in bounded memory.

Probabilities are blended rather than logits: logits of two tiles are known only up to a constant each, and a weighted
mean of them is a geometric mean that lets the surer tile overrule the other; a weighted mean of probabilities is again
a probability, so that the confidence keeps its meaning.

Every pixel is summed in one order, first along the row of tiles, then down: what one column block hands on to the next
continues that order, so the bits of a map do not depend on where the blocks end.
"""

from __future__ import annotations

from io import BufferedRandom

import numpy as np
from numpy.typing import NDArray

from components.predict.tiles import Axis, Columns

TIE = 0.499
"""Added before a percentage is cut to an integer: rounding to nearest, but a tie, which the last bit of a sum of
weights would decide, goes down."""


def decide(probabilities: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The likeliest class of `(class, y, x)` and its probability in percent, each uint8 `(y, x)`.

    Of classes that are equally likely the first is taken.
    """
    best = probabilities[0].copy()
    classes = np.zeros(best.shape, np.uint8)
    higher = np.empty(best.shape, bool)
    # A later class that is higher has the larger index, so the maximum of indices is the answer: five times faster
    # than argmax over the outer axis.
    for index in range(1, len(probabilities)):
        np.greater(probabilities[index], best, out=higher)
        np.maximum(best, probabilities[index], out=best)
        np.maximum(classes, higher.view(np.uint8) * np.uint8(index), out=classes)
    best *= 100
    best += TIE
    return classes, np.minimum(best, 100).astype(np.uint8)


class Blender:
    """The rolling strip of one column block.

    Args:
        rows: tiles down the scene.
        columns: tiles across it.
        block: the tile columns of this block.
        classes: number of classes.
        inherited: what the block to the left handed on, open at its start; None for the first block.
        handed_on: where to write what the block to the right needs; None for the last block.
    """

    def __init__(
        self,
        rows: Axis,
        columns: Axis,
        block: Columns,
        classes: int,
        inherited: BufferedRandom | None,
        handed_on: BufferedRandom | None,
    ) -> None:
        self._rows, self._columns, self._block = rows, columns, block
        self._inherited, self._handed_on = inherited, handed_on
        shape = (classes, rows.extent, block.end - block.x0)
        self._row = np.zeros(shape, np.float32)  # one row of tiles, summed across
        self._above = np.zeros((classes, 0, shape[2]), np.float32)  # what earlier rows of tiles left unfinished
        self._product = np.empty((classes, rows.extent, columns.extent), np.float32)
        self._inherit(0)

    def add(self, column: int, probabilities: NDArray[np.float32]) -> None:
        """Add a tile of the current row: `(class, y, x)`, or `(class, 1, 1)` for one answer to the whole tile.

        A tile is added in order of its column; one that holds no valid pixel may be left out.
        """
        tile = probabilities[:, : self._rows.extent, : self._columns.extent]
        x = self._columns.starts[column] - self._block.x0
        target = self._row[:, :, x : x + self._columns.extent]
        np.multiply(tile, self._columns.weights[column], out=self._product)
        np.add(target, self._product, out=target)

    def finish_row(self, row: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Close the current row of tiles; return classes and confidence of the pixels that no later tile reaches.

        They are the scene's rows `rows.starts[row]` to `rows.done(row)` and columns `block.x0` to `block.x1`.
        """
        own = self._block.x1 - self._block.x0
        if self._handed_on is not None:
            self._handed_on.write(self._row[:, :, own:].tobytes())
        self._row *= self._rows.weights[row][:, None]
        self._row[:, : self._above.shape[1]] += self._above
        count = self._rows.done(row) - self._rows.starts[row]
        finished = decide(self._row[:, :count, :own])
        self._above = self._row[:, count:].copy()
        self._row[:] = 0
        self._inherit(row + 1)
        return finished

    def _inherit(self, row: int) -> None:
        if self._inherited is None or row == len(self._rows.starts):
            return
        classes, height, _ = self._row.shape
        width = self._columns.end(self._block.first - 1) - self._block.x0
        if width > 0:
            part = np.empty((classes, height, width), np.float32)
            self._inherited.readinto(part.data.cast("B"))
            self._row[:, :, :width] = part
