"""Where tiles lie on a scene, and how much each counts at each pixel.

Both follow from the scene's shape, the tile and the overlap alone, never from how the work is cut up: so a map is the
same whatever the width of the column blocks that bound the memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Axis:
    """The tiles along one axis of a scene.

    Attributes:
        length: pixels of the scene.
        tile: pixels of a tile.
        starts: first pixel of each tile, ascending.
        weights: float32 `(tile, pixel)`, `extent` pixels a tile; at any pixel of the scene they sum to 1.
    """

    length: int
    tile: int
    starts: tuple[int, ...]
    weights: NDArray[np.float32]

    @property
    def extent(self) -> int:
        """Pixels of a tile that lie on the scene: all, unless the scene is smaller than one tile."""
        return min(self.tile, self.length)

    def end(self, index: int) -> int:
        """Where the tile `index` ends on the scene."""
        return self.starts[index] + self.extent

    def done(self, index: int) -> int:
        """How far the scene is finished once the tiles up to `index` are in: no later tile reaches below this pixel."""
        return self.starts[index + 1] if index + 1 < len(self.starts) else self.length


def axis(length: int, tile: int, overlap: float) -> Axis:
    """Place tiles of `tile` pixels along `length` pixels, neighbours sharing the fraction `overlap` or more.

    The last tile is moved back so that it ends with the scene and sees as much around it as any other. A scene
    smaller than a tile gets one, and the rest of that is nodata, as at the edge of a training scene. A tile weighs
    sin² of its own length (a Hann window, raised by half a pixel so that no weight is 0), divided by the sum over the
    tiles that share the pixel: where one tile stands alone, as at the border of the scene, it weighs exactly 1.
    """
    step = max(1, tile - round(overlap * tile))
    starts = (0,) if length <= tile else (*range(0, length - tile, step), length - tile)
    extent = min(tile, length)
    window = np.sin(np.pi * (np.arange(extent) + 0.5) / tile) ** 2
    total = np.zeros(length)
    for start in starts:
        total[start : start + extent] += window
    weights = np.stack([window / total[start : start + extent] for start in starts])
    return Axis(length, tile, starts, weights.astype(np.float32))


@dataclass(frozen=True, slots=True)
class Columns:
    """A column block: the tile columns `first` up to, not including, `last`, worked through from top to bottom.

    Attributes:
        x0: first pixel of its first tile; it finishes the pixels from here on …
        x1: … up to here, where the next block's first tile begins.
        end: where its last tile ends; what lies beyond `x1` is handed on to the next block.
    """

    first: int
    last: int
    x0: int
    x1: int
    end: int


def column_blocks(columns: Axis, width: int) -> list[Columns]:
    """Group tile columns into blocks no wider than `width` pixels, or one tile where that is wider."""
    blocks = []
    first, count = 0, len(columns.starts)
    while first < count:
        last = first + 1
        while last < count and columns.end(last) - columns.starts[first] <= width:
            last += 1
        blocks.append(Columns(first, last, columns.starts[first], columns.done(last - 1), columns.end(last - 1)))
        first = last
    return blocks
