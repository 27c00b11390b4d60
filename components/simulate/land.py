"""The lie of the land: relief, water and the regions of land cover, each a function of place.

The land is Iceland in miniature. Parallel ridges and valleys, bent and broken by noise, repeat every few kilometres;
where a valley lies low the sea fills it as a fjord, where a ridge stands high ice covers it, and a river runs along the
rest of each valley floor. Between shore and bare rock the land is cut into regions of about a square kilometre whose
cover is dealt out in turn, so that every class comes back every few kilometres whatever the seed. What is written to
`truth/classes.tif` is the class here; classes are CORINE grid codes (1 to 44).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.simulate.noise import Floats, Grid, Ints, Points, Sites, fractal, hashed, key_of, ramp, uniform

URBAN, ARABLE, PASTURE, CONIFER, MOOR, ROCK, GLACIER, BOG, RIVER, LAKE, SEA = 2, 12, 18, 24, 27, 31, 34, 36, 40, 41, 44

PERIOD = 660.0
"""Distance from one valley to the next, in pixels of 10 m."""
REGION = 105.0
"""Mean width of a region, in pixels."""
LAKE_CELL = 320.0
"""One lake, where it fits, in each square of this width in pixels."""
BEND = 3.0
"""Half width of the water of a river, in pixels."""

SEA_LEVEL, HIGHLAND, ROCK_LINE, ICE_LINE = -0.94, 0.12, 0.80, 1.08
"""Heights, in units of the relief, at which sea, lowland, upland, rock and ice meet."""

LOWLAND_DEAL = (PASTURE, ARABLE, BOG, URBAN, ARABLE, CONIFER, PASTURE)
UPLAND_DEAL = (MOOR, CONIFER, BOG, MOOR, PASTURE, CONIFER, BOG)
"""Covers dealt to the regions of a row in turn; each row starts three further on, as in a Latin square."""


@dataclass(frozen=True)
class Relief:
    """Height and the valley's axis, `(y, x)` float32."""

    height: Floats
    """In units of the relief, about -1.6 to 1.9."""
    axis: Floats
    """Signed distance from the valley's axis, about in pixels."""


@dataclass(frozen=True)
class Land:
    """The land in a window; every array is `(y, x)`."""

    classes: npt.NDArray[np.uint8]
    """CORINE grid code of the surface, rivers included."""
    height: Floats
    """In units of the relief."""
    metres: Floats
    """Height above the sea in metres, 0 at sea."""
    river: Floats
    """Fraction of the pixel under running water."""
    gravel: Floats
    """Fraction of the pixel that is a river's gravel bank."""
    region: Ints
    """A number for the region, the same over all of it."""


def relief(sites: Sites, seed: int) -> Relief:
    """Height of ridges and valleys at `sites`."""
    turn = 0.45 + 0.5 * (key_of(seed, "turn") / 2**32 - 0.5)
    shift = PERIOD * key_of(seed, "shift") / 2**32
    across = (sites.x * np.sin(turn) + sites.y * np.cos(turn) + shift).astype(np.float32)
    across = across + np.float32(70.0) * sites.smooth(key_of(seed, "bend"), 520.0)
    across += np.float32(24.0) * fractal(sites, key_of(seed, "meander"), 150.0, 2)
    phase = across * np.float32(1.0 / PERIOD)
    phase -= np.floor(phase)
    height = np.float32(-0.9) * np.cos(np.float32(2.0 * np.pi) * phase)
    height += np.float32(0.26) * sites.smooth(key_of(seed, "massif"), 640.0)
    height += np.float32(0.20) * fractal(sites, key_of(seed, "hill"), 190.0, 3)
    axis = (phase - np.round(phase)) * np.float32(PERIOD)
    return Relief(height, axis)


def _regions(grid: Grid, seed: int) -> tuple[Floats, Ints]:
    """Index of the nearest region centre: `(height at that centre, number of the region)`, each `(y, x)`."""
    warp = fractal(grid, key_of(seed, "warp y"), 90.0, 4), fractal(grid, key_of(seed, "warp x"), 90.0, 4)
    y = (grid.y.astype(np.float32) + np.float32(20.0) * warp[0]) * np.float32(1.0 / REGION)
    x = (grid.x.astype(np.float32) + np.float32(20.0) * warp[1]) * np.float32(1.0 / REGION)
    cell_y, cell_x = np.floor(y).astype(np.int32), np.floor(x).astype(np.int32)
    top, left = int(cell_y.min()) - 1, int(cell_x.min()) - 1
    rows = np.arange(top, int(cell_y.max()) + 2)[:, None]
    columns = np.arange(left, int(cell_x.max()) + 2)[None, :]
    reach = np.float32(0.62)
    centre_y = rows.astype(np.float32) + np.float32(0.5) + reach * (uniform(key_of(seed, "cy"), rows, columns) - 0.5)
    centre_x = columns.astype(np.float32) + np.float32(0.5) + reach * (uniform(key_of(seed, "cx"), rows, columns) - 0.5)
    width = np.int32(columns.size)
    home = (cell_y - np.int32(top)) * width + (cell_x - np.int32(left))
    nearest = np.full(home.shape, np.inf, np.float32)
    found = home
    flat_y, flat_x = centre_y.ravel(), centre_x.ravel()
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            index = home + np.int32(down * int(width) + right)
            distance = np.take(flat_y, index) - y
            distance *= distance
            aside = np.take(flat_x, index) - x
            distance += aside * aside
            closer = distance < nearest
            nearest = np.where(closer, distance, nearest)
            found = np.where(closer, index, found)
    centres = Points(centre_y.astype(np.float64) * REGION, centre_x.astype(np.float64) * REGION)
    at_centre = relief(centres, seed).height
    number = (rows + 32768) * 65536 + (columns + 32768)
    return np.take(at_centre.ravel(), found), np.take(number.ravel(), found)


def _dealt(centre_height: Floats, region: Ints, seed: int) -> npt.NDArray[np.uint8]:
    """Cover of each region, by its place in the deal and the height of its centre."""
    turn = ((region // 65536) * 3 + (region & 65535) + key_of(seed, "deal")) % 7
    low, high = np.array(LOWLAND_DEAL, np.uint8), np.array(UPLAND_DEAL, np.uint8)
    cover: npt.NDArray[np.uint8] = np.where(centre_height < np.float32(HIGHLAND), low[turn], high[turn])
    return cover


def _lakes(grid: Grid, seed: int, shore: Floats) -> npt.NDArray[np.bool_]:
    """Where lakes lie: one warped disc in each square whose centre is neither at sea nor on the heights."""
    bay = np.float32(13.0) * grid.smooth(key_of(seed, "bay"), 70.0)
    cape = np.float32(13.0) * grid.smooth(key_of(seed, "cape"), 70.0)
    y = grid.y.astype(np.float32) + np.float32(4.0) * shore + bay
    x = grid.x.astype(np.float32) - np.float32(4.0) * shore + cape
    rows, columns = np.floor(y / LAKE_CELL).astype(np.int64), np.floor(x / LAKE_CELL).astype(np.int64)
    top, left = int(rows.min()), int(columns.min())
    across = np.arange(left, int(columns.max()) + 1)[None, :]
    down = np.arange(top, int(rows.max()) + 1)[:, None]
    centre_y = (down + 0.5 + 0.4 * (uniform(key_of(seed, "ly"), down, across) - 0.5)) * LAKE_CELL
    centre_x = (across + 0.5 + 0.4 * (uniform(key_of(seed, "lx"), down, across) - 0.5)) * LAKE_CELL
    radius = 36.0 + 24.0 * uniform(key_of(seed, "lr"), down, across)
    height = relief(Points(centre_y, centre_x), seed).height
    radius[(height < SEA_LEVEL + 0.3) | (height > 0.5)] = 0.0
    index = (rows - top) * across.size + (columns - left)
    distance = (np.take(centre_y.astype(np.float32).ravel(), index) - y) ** 2
    distance += (np.take(centre_x.astype(np.float32).ravel(), index) - x) ** 2
    reach = np.take((radius**2).astype(np.float32).ravel(), index)
    lakes: npt.NDArray[np.bool_] = distance < reach
    return lakes


def survey(grid: Grid, seed: int) -> Land:
    """The land in the window `grid`, whose step is 1 pixel."""
    shape = relief(grid, seed)
    height = shape.height
    shore = fractal(grid, key_of(seed, "shore"), 40.0, 3)
    edge = height + np.float32(0.035) * shore
    centre_height, region = _regions(grid, seed)
    classes = _dealt(centre_height, region, seed)
    classes = np.where(edge > np.float32(ROCK_LINE), np.uint8(ROCK), classes)
    classes = np.where(edge > np.float32(ICE_LINE), np.uint8(GLACIER), classes)
    classes = np.where(_lakes(grid, seed, shore), np.uint8(LAKE), classes)
    classes = np.where(edge < np.float32(SEA_LEVEL), np.uint8(SEA), classes)

    dry = (classes != LAKE) & (classes != SEA) & (height < np.float32(0.5))
    winding = np.abs(shape.axis + np.float32(3.0) * shore)
    river = np.clip(np.float32(BEND) - winding + np.float32(0.5), np.float32(0), np.float32(1)) * dry
    braid = np.float32(BEND) + np.float32(4.0) * ramp(fractal(grid, key_of(seed, "braid"), 60.0, 2), -0.5, 1.5)
    gravel = np.clip(braid + np.float32(0.5) - winding, np.float32(0), np.float32(1)) * dry
    gravel = np.maximum(gravel - river, np.float32(0))
    classes = np.where(river > np.float32(0.5), np.uint8(RIVER), classes)

    above = np.maximum(height - np.float32(SEA_LEVEL), np.float32(0))
    crags = fractal(grid, key_of(seed, "crag"), 48.0, 4, gain=0.55)
    metres = np.float32(330.0) * above * np.sqrt(above)
    metres += np.float32(42.0) * ramp(height, -0.3, 1.0) * crags + np.float32(2.0) * shore * (above > 0)
    metres = np.where((classes == SEA) | (classes == LAKE), np.float32(0), metres)
    return Land(classes, height, metres, river, gravel, region)


def parcels(
    grid: Grid, seed: int, region: Ints, length: float, width: float, name: str
) -> tuple[npt.NDArray[np.uint32], Floats]:
    """Cut each region into rectangles of `length` x `width` pixels, turned each region its own way.

    Returns:
        A hash of the parcel, uint32 `(y, x)`, and the distance to its nearest edge in pixels, float32.
    """
    angle = (hashed(key_of(seed, name), region, np.zeros_like(region)) >> np.uint32(8)).astype(np.float32)
    angle *= np.float32(np.pi / 2.0**24)
    sine, cosine = np.sin(angle), np.cos(angle)
    y, x = grid.y.astype(np.float32), grid.x.astype(np.float32)
    along = (x * cosine + y * sine) * np.float32(1.0 / length)
    across = (y * cosine - x * sine) * np.float32(1.0 / width)
    row = np.floor(across)
    # Each row of parcels starts at its own place, as walls and ditches do.
    along = along + uniform(key_of(seed, name + " start"), row.astype(np.int64), region)
    column = np.floor(along)
    edge = np.minimum(
        np.minimum(along - column, np.float32(1) + column - along) * np.float32(length),
        np.minimum(across - row, np.float32(1) + row - across) * np.float32(width),
    )
    return hashed(
        key_of(seed, name + " id") ^ 0x5BD1, row.astype(np.int64) * 4096 + region, column.astype(np.int64)
    ), edge
