"""One acquisition over one window: light on the ground, what the sensor reads in each band, and what is true."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.simulate.cover import Cover, cover, season
from components.simulate.land import Land, survey
from components.simulate.noise import Floats, Grid, key_of, normal
from components.simulate.plan import Acquisition
from components.simulate.sky import SHADOW, Codes, Mask, Weather, classify, half_of, look_up
from components.simulate.spectra import CIRRUS, CLOUD, NOISE_STD, SPECTRA, bands_at, mix

HALO = 6
"""Pixels of 10 m that a window is grown by on every side: enough for smearing and slopes, whole pixels of 60 m."""
RESOLUTIONS = (10, 20, 60)
SWATH_SHARE, SWATH_SLANT = 0.16, 0.28
"""The edge of the swath cuts the upper side at this share of it, and moves west by the slant on its way down."""

DN = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Ground:
    """What stays the same from date to date in a grown window: land, cover, and each band's still reflectance."""

    grid: Grid
    land: Land
    cover: Cover
    still: dict[int, Floats]
    """Band position → reflectance of the materials that do not change, at the band's own resolution."""


@dataclass(frozen=True)
class Reading:
    """One acquisition in a window, without the halo."""

    dn: dict[int, DN]
    """Band position → DN as the archive stores it, at the band's own resolution; 0 is nodata."""
    truth: dict[int, DN]
    """Band position → 10000 x reflectance without cloud, haze and noise, at the band's own resolution."""
    scl: Codes
    """Scene classification at 20 m."""
    clear: Mask
    """Whether nothing stands between ground and sensor, at 10 m; nodata is not clear."""


def third_of(field: Floats) -> Floats:
    """Mean over squares of 3 x 3 pixels."""
    rows = field[0::3] + field[1::3]
    rows += field[2::3]
    total = rows[:, 0::3] + rows[:, 1::3]
    total += rows[:, 2::3]
    total *= np.float32(1.0 / 9.0)
    return total


def pyramid(field: Floats) -> dict[int, Floats]:
    """A field of the 10 m grid averaged over the pixels of each resolution."""
    twenty = half_of(field)
    return {10: field, 20: twenty, 60: third_of(twenty)}


def lay_ground(y0: int, x0: int, height: int, width: int, seed: int) -> Ground:
    """Make the ground of a window (multiples of 6 pixels) with its halo."""
    grid = Grid(y0 - HALO, x0 - HALO, height + 2 * HALO, width + 2 * HALO)
    land = survey(grid, seed)
    ground = cover(grid, seed, land)
    shares = {material: pyramid(share) for material, share in ground.still.items()}
    still = {
        band: mix({material: share[gsd] for material, share in shares.items()}, band)
        for gsd in RESOLUTIONS
        for band, _ in bands_at(gsd)
    }
    return Ground(grid, land, ground, still)


def sunlight(ground: Cover, item: Acquisition) -> Floats:
    """Light on the ground relative to level ground, around 1; water lies level.

    Cosine of the sun's angle to the slope over that to the level, with a third of the light diffuse from the sky
    (Teillet et al., Canadian Journal of Remote Sensing 8, 1982, the cosine correction turned round).
    """
    elevation, azimuth = math.radians(item.sun_elevation), math.radians(item.sun_azimuth)
    south, east = ground.slope
    steepness = np.sqrt(np.float32(1) + south * south + east * east)
    # The normal of the ground is (-east, south, 1) in (east, north, up), `south` being the rise towards the south.
    facing = np.float32(math.cos(elevation)) * (
        south * np.float32(math.cos(azimuth)) - east * np.float32(math.sin(azimuth))
    )
    facing += np.float32(math.sin(elevation))
    facing /= steepness
    facing *= np.float32(1.0 / math.sin(elevation))
    light = np.float32(0.33) + np.float32(0.67) * np.clip(facing, np.float32(0.03), np.float32(2.0))
    return light + (np.float32(1) - light) * np.minimum(ground.wet, np.float32(1))


def _blur(field: Floats) -> Floats:
    """Smear over neighbouring pixels with weights 1 6 1, the sensor's point spread at 10 m; edges stay as they are."""
    for axis in (0, 1):
        before = tuple(slice(None, -2) if a == axis else slice(None) for a in (0, 1))
        after = tuple(slice(2, None) if a == axis else slice(None) for a in (0, 1))
        middle = tuple(slice(1, -1) if a == axis else slice(None) for a in (0, 1))
        result = field.copy()
        result[middle] *= np.float32(0.75)
        result[middle] += np.float32(0.125) * (field[before] + field[after])
        field = result
    return field


def _swath(grid: Grid, size: int) -> Mask:
    """Which cells of `grid` (60 m) lie outside the swath: the north-western corner, cut off by a slanted edge."""
    outside: Mask = grid.x + SWATH_SLANT * grid.y < SWATH_SHARE * size
    return outside


def _stored(reflectance: Floats, offset: int) -> DN:
    value = np.rint(reflectance * np.float32(10000.0) + np.float32(offset))
    stored: DN = np.clip(value, 1, 65535).astype(np.uint16)
    return stored


def acquire(ground: Ground, item: Acquisition, weather: Weather, seed: int, size: int) -> Reading:
    """Read every band of one acquisition over a window of the archive, which is `size` pixels wide."""
    grid = ground.grid
    parts = season(ground.cover, item.day)
    light = sunlight(ground.cover, item)
    sky = look_up(grid, seed, item, weather, size)
    scl = classify(ground.land, ground.cover, parts, light, sky)
    shares = {material: pyramid(share) for material, share in parts.items()}
    bright = pyramid(light * ground.cover.shade)
    dim = {
        "cloud": pyramid(sky.cloud),
        "cirrus": pyramid(sky.cirrus),
        "shadow": pyramid(np.float32(1) - np.float32(SHADOW) * sky.shadow),
    }
    outside = None
    if item.swath_edge:
        coarse = Grid(grid.y0, grid.x0, grid.height // 6, grid.width // 6, 6)
        outside = _swath(coarse, size)
    dn: dict[int, DN] = {}
    truth: dict[int, DN] = {}
    for gsd in RESOLUTIONS:
        step = gsd // 10
        halo = HALO // step
        inner = (slice(halo, -halo), slice(halo, -halo))
        cells = Grid(grid.y0, grid.x0, grid.height // step, grid.width // step, step)
        rows, columns = cells.rows[halo:-halo], cells.columns[:, halo:-halo]
        snow = shares["snow"][gsd]
        bare = np.float32(1) - snow
        fog = dim["cloud"][gsd][inner], dim["cirrus"][gsd][inner], dim["shadow"][gsd][inner]
        for band, about in bands_at(gsd):
            surface = mix({m: s[gsd] for m, s in shares.items() if m != "snow"}, band)
            surface += ground.still[band]
            surface *= bare
            surface += snow * np.float32(SPECTRA["snow"][band])
            surface *= bright[gsd]
            if gsd == 10:
                surface = _blur(surface)
            surface = surface[inner]
            truth[band] = _stored(surface, 0)
            seen = _through(surface, fog, band)
            noise = normal(key_of(seed, f"noise {item.index} {about.name}"), rows, columns)
            noise *= np.float32(NOISE_STD)
            seen += noise
            dn[band] = _stored(seen, item.offset)
            if outside is not None:
                dn[band][_spread(outside[1:-1, 1:-1], 6 // step)] = 0
    scl = scl[HALO // 2 : -HALO // 2, HALO // 2 : -HALO // 2]
    clear = sky.clear[HALO:-HALO, HALO:-HALO]
    if outside is not None:
        scl[_spread(outside[1:-1, 1:-1], 3)] = 0
        clear = clear & ~_spread(outside[1:-1, 1:-1], 6)
    return Reading(dn, truth, scl, clear)


def _spread(mask: Mask, times: int) -> Mask:
    return np.repeat(np.repeat(mask, times, axis=0), times, axis=1)


def _through(surface: Floats, fog: tuple[Floats, Floats, Floats], band: int) -> Floats:
    """Reflectance seen through shadow, cirrus and cloud, in that order from the ground up."""
    cloud, cirrus, shadow = fog
    seen = surface * shadow
    seen += cirrus * (np.float32(CIRRUS[band]) - seen)
    seen += cloud * (np.float32(CLOUD[band]) - seen)
    return seen
