"""Labels as CORINE Land Cover delivers them: the commonest class of each 100 m cell in EPSG:3035, as grid codes.

Real CORINE is drawn by eye with a minimum width of 100 m for linear features, so rivers are passed over here: a cell
takes the commonest class of its banks (Copernicus Land Monitoring Service, CLC product user manual, 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rasterio.transform import Affine
from rasterio.warp import transform as reproject

from components.simulate.land import ARABLE, BOG, CONIFER, GLACIER, LAKE, MOOR, PASTURE, ROCK, SEA, URBAN
from components.simulate.noise import Grid, Positions
from components.simulate.plan import EAST, EPSG, NORTH

CORINE_EPSG = 3035
CELL = 100
"""Width of a cell in metres; cells lie on multiples of it."""
NODATA = 48
MARGIN = 60
"""Pixels of 10 m by which the labels reach beyond the scene on every side."""
CODES = (URBAN, ARABLE, PASTURE, CONIFER, MOOR, ROCK, GLACIER, BOG, LAKE, SEA)
"""Grid codes that cells can take."""
KNOT = 64
"""Coordinates are transformed every so many pixels and interpolated between; the error is under a centimetre."""
ENOUGH = 50
"""A cell with fewer of its about 100 pixels surveyed is nodata."""

COLOURS = (
    "e6004d ff0000 cc4df2 cc0000 e6cccc e6cce6 a600cc a64dcc ff4dff ffa6ff ffe6ff ffffa8 ffff00 e6e600 e68000 f2a64d "
    "e6a600 e6e64d ffe6a6 ffe64d e6cc4d f2cca6 80ff00 00a600 4dff00 ccf24d a6ff80 a6e64d a6f200 e6e6e6 cccccc ccffcc "
    "000000 a6e6cc a6a6ff 4d4dff ccccff e6e6ff a6a6e6 00ccf2 80f2e6 00ffa6 a6ffe6 e6f2ff"
)
"""Official colours of the 44 classes, in the order of grid codes 1 to 44 (the EEA's CLC legend)."""


def colour_table() -> dict[int, tuple[int, int, int, int]]:
    """Grid code → red, green, blue, alpha; nodata is transparent."""
    table = {NODATA: (0, 0, 0, 0)}
    for code, text in enumerate(COLOURS.split(), start=1):
        red, green, blue = bytes.fromhex(text)
        table[code] = (red, green, blue, 255)
    return table


@dataclass(frozen=True)
class Lattice:
    """The 100 m cells that cover a scene and its margin."""

    left: int
    """Easting of the left edge, in metres of EPSG:3035."""
    top: int
    """Northing of the upper edge."""
    height: int
    width: int

    @property
    def transform(self) -> Affine:
        """From cell to EPSG:3035."""
        return Affine(CELL, 0, self.left, 0, -CELL, self.top)


@dataclass(frozen=True)
class Tally:
    """Pixels of each class a window has in each cell: `counts` is `(cell row, cell column, class)`, rivers last."""

    row: int
    column: int
    counts: npt.NDArray[np.uint8]


def _knots(y: Positions, x: Positions) -> tuple[Positions, ...]:
    """Easting and northing in EPSG:3035 of pixel positions `y` x `x`, each `(len(y), len(x))`."""
    north, east = np.meshgrid(NORTH - 10.0 * y, EAST + 10.0 * x, indexing="ij")
    found = reproject(f"EPSG:{EPSG}", f"EPSG:{CORINE_EPSG}", east.ravel(), north.ravel())
    return tuple(np.asarray(f).reshape(north.shape) for f in found[:2])


def lattice_over(size: int) -> Lattice:
    """Cells that cover a scene of `size` x `size` pixels and its margin."""
    ends = np.linspace(-MARGIN, size + MARGIN, 65)
    easting, northing = _knots(ends, ends)
    left, right = int(easting.min() // CELL), int(-(-easting.max() // CELL))
    bottom, top = int(northing.min() // CELL), int(-(-northing.max() // CELL))
    return Lattice(left * CELL, top * CELL, top - bottom, right - left)


def cells_of(grid: Grid, lattice: Lattice) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Row and column of the cell in which each pixel centre of `grid` lies."""
    rows, columns = grid.y[:, 0], grid.x[0]
    knots_y, knots_x = (
        np.arange(int(np.floor(ends[0] / KNOT)), int(np.floor(ends[-1] / KNOT)) + 2) * float(KNOT)
        for ends in (rows, columns)
    )
    place = []
    for corner in _knots(knots_y, knots_x):
        across = np.stack([np.interp(columns, knots_x, line) for line in corner])
        index = ((rows - knots_y[0]) // KNOT).astype(np.int64)
        share = ((rows - knots_y[index]) / KNOT)[:, None]
        place.append(across[index] * (1.0 - share) + across[index + 1] * share)
    easting, northing = place
    return (
        np.floor((lattice.top - northing) / CELL).astype(np.int32),
        np.floor((easting - lattice.left) / CELL).astype(np.int32),
    )


def tally(grid: Grid, classes: npt.NDArray[np.uint8], lattice: Lattice) -> Tally:
    """Count the classes of a window in each cell it touches."""
    row, column = cells_of(grid, lattice)
    top, left = int(row.min()), int(column.min())
    height, width = int(row.max()) - top + 1, int(column.max()) - left + 1
    position = np.full(256, len(CODES), np.int32)
    position[list(CODES)] = np.arange(len(CODES))
    index = ((row - top) * width + (column - left)) * (len(CODES) + 1) + position[classes]
    counts = np.bincount(index.ravel(), minlength=height * width * (len(CODES) + 1))
    return Tally(top, left, counts.reshape(height, width, len(CODES) + 1).astype(np.uint8))


def add(total: npt.NDArray[np.uint8], part: Tally) -> None:
    """Add a window's counts to those of all cells, `(row, column, class)`, in place."""
    height, width = part.counts.shape[:2]
    total[part.row : part.row + height, part.column : part.column + width] += part.counts


def commonest(total: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The grid code of each cell, of its commonest class but rivers; NODATA where too little of it was surveyed."""
    codes: npt.NDArray[np.uint8] = np.array(CODES, np.uint8)[total[:, :, :-1].argmax(axis=2)]
    codes[total.sum(axis=2, dtype=np.int32) < ENOUGH] = NODATA
    return codes
