"""What stands between the ground and the sensor: clouds with soft rims, their shadows, thin cirrus, and the SCL.

Clouds live on the 20 m grid of the SCL. Their opacity is then smeared over two pixels of 10 m, so that a faint rim
lies outside the SCL's cloud and shadow classes, as it does in real scenes: a mask that is not dilated keeps it. The
rim ends there: whoever dilates by two pixels of 10 m sees no cloud at 10 and 20 m. Pixels of 60 m see a little further.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.simulate.cover import Cover
from components.simulate.land import GLACIER, LAKE, RIVER, SEA, Land
from components.simulate.noise import Floats, Grid, fractal, key_of, ramp
from components.simulate.plan import Acquisition

RIM = 2
"""Clouds and shadows reach this many pixels of 10 m beyond their SCL classes."""
FAINTEST = 0.18
"""Opacity of a cloud at the edge of its SCL class."""
SHADOW = 0.62
"""How much of the light a thick cloud's shadow takes away."""

Codes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Weather:
    """Thresholds of one acquisition's clouds, found once for the whole scene."""

    cloud: float
    cirrus: float


@dataclass(frozen=True)
class Sky:
    """The air over a window. Opacities are on the 10 m grid, 0 to 1; the flags on the 20 m grid of the SCL."""

    cloud: Floats
    cirrus: Floats
    shadow: Floats
    is_cloud: Mask
    is_thick: Mask
    is_cirrus: Mask
    is_shadow: Mask

    @property
    def clear(self) -> Mask:
        """Pixels of 10 m that neither cloud, cirrus nor shadow touches."""
        touched: Mask = (self.cloud > 0) | (self.cirrus > 0) | (self.shadow > 0)
        return ~touched


def _cumulus(grid: Grid, seed: int, index: int) -> Floats:
    return fractal(grid, key_of(seed, f"cloud {index}"), 170.0, 5, gain=0.58)


def _veil(grid: Grid, seed: int, index: int) -> Floats:
    return fractal(grid, key_of(seed, f"cirrus {index}"), 320.0, 2)


def forecast(item: Acquisition, seed: int, size: int) -> Weather:
    """Thresholds with which clouds cover the share of the scene that the plan asks for.

    The cloud field is looked at every few pixels only, so the cover is met to about a percent.
    """
    step = max(2, 2 * (size // 512))
    grid = Grid(0, 0, -(-size // step), -(-size // step), step)
    cloud = float(np.quantile(_cumulus(grid, seed, item.index), 1.0 - item.cloud_cover)) if item.cloud_cover else np.inf
    cirrus = float(np.quantile(_veil(grid, seed, item.index), 0.88)) if item.cirrus else np.inf
    return Weather(cloud, cirrus)


def _smear(opacity: Floats) -> Floats:
    """Repeat a 20 m field on the 10 m grid and average it over RIM pixels up, down, left and right.

    Not over the diagonals: so the pixels of 20 m that a rim touches are the four neighbours of a cloudy one, and a disk
    of radius RIM covers them whole.
    """
    fine = np.repeat(np.repeat(opacity, 2, axis=0), 2, axis=1)
    total = fine.copy()
    for shift in range(1, RIM + 1):
        total[shift:] += fine[:-shift]
        total[:-shift] += fine[shift:]
        total[:, shift:] += fine[:, :-shift]
        total[:, :-shift] += fine[:, shift:]
    total *= np.float32(1.0 / (4 * RIM + 1))
    return total


def _opacity(field: Floats, threshold: float) -> Floats:
    over = field - np.float32(threshold)
    thick = np.float32(FAINTEST) + np.float32(1.0 - FAINTEST) * ramp(over, 0.0, 0.95)
    return np.where(over > 0, thick, np.float32(0))


def look_up(grid: Grid, seed: int, item: Acquisition, weather: Weather, size: int) -> Sky:
    """The sky over the window `grid` (10 m, even origin and size) of an archive `size` pixels wide.

    Nothing hangs outside the archive: there is no SCL there that could tell of it.
    """
    half = Grid(grid.y0, grid.x0, grid.height // 2, grid.width // 2, 2)
    down, right = item.shadow_shift
    origin = Grid(grid.y0 - 2 * down, grid.x0 - 2 * right, half.height, half.width, 2)
    cloud = _opacity(_cumulus(half, seed, item.index), weather.cloud)
    shadow = _opacity(_cumulus(origin, seed, item.index), weather.cloud)
    if item.cirrus:
        over = _veil(half, seed, item.index) - np.float32(weather.cirrus)
        cirrus = np.where(over > 0, np.float32(0.03) + np.float32(0.13) * ramp(over, 0.0, 1.0), np.float32(0))
    else:
        cirrus = np.zeros_like(cloud)
    inside = (half.rows >= 0) & (half.rows < -(-size // 2)) & (half.columns >= 0) & (half.columns < -(-size // 2))
    for opacity in (cloud, cirrus, shadow):
        opacity[~inside] = 0
    return Sky(
        cloud=_smear(cloud),
        cirrus=_smear(cirrus),
        shadow=_smear(shadow),
        is_cloud=cloud > 0,
        is_thick=cloud > np.float32(0.6),
        is_cirrus=cirrus > 0,
        is_shadow=shadow > 0,
    )


def half_of(field: Floats) -> Floats:
    """Mean over squares of 2 x 2 pixels."""
    total = field[0::2, 0::2] + field[1::2, 0::2]
    total += field[0::2, 1::2]
    total += field[1::2, 1::2]
    total *= np.float32(0.25)
    return total


def classify(land: Land, ground: Cover, parts: dict[str, Floats], light: Floats, sky: Sky) -> Codes:
    """The SCL of a window on its 20 m grid, uint8 (codes of the Sen2Cor L2A product definition).

    Args:
        land: the window at 10 m.
        ground: its cover.
        parts: what the season has made of it.
        light: sunlight on the ground, around 1.
        sky: the air over it.
    """
    green = parts["grass"] + parts["sedge"] + ground.still["conifer"] + np.float32(0.8) * parts["heath"]
    surface = half_of(ground.wet)
    codes = np.where(half_of(green) > np.float32(0.36), np.uint8(4), np.uint8(5))
    codes[half_of(ground.still["roof"]) > np.float32(0.55)] = 7
    codes[half_of(light) < np.float32(0.42)] = 2
    open_water = (land.classes == SEA) | (land.classes == LAKE) | (land.classes == RIVER)
    codes[(surface > np.float32(0.5)) | (half_of(open_water.astype(np.float32)) > np.float32(0.5))] = 6
    icy = np.maximum(parts["snow"], (land.classes == GLACIER).astype(np.float32))
    codes[half_of(icy) > np.float32(0.5)] = 11
    codes[sky.is_shadow] = 3
    codes[sky.is_cirrus] = 10
    codes[sky.is_cloud] = 8
    codes[sky.is_thick] = 9
    return codes
