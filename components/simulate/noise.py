"""Noise that is a function of place alone: any window can be computed by itself, and neighbours join without a seam.

Random numbers are hashes of integer coordinates, not draws from a generator, so a pixel's value depends on the
seed and the pixel, never on the block it was computed in. All arithmetic is elementwise float32, so the bits do not
depend on the window's shape either.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Positions = npt.NDArray[np.floating]
Hashes = npt.NDArray[np.uint32]

SPLINE_STD = np.float32(0.1385)
"""Standard deviation of uniform values smoothed with the cubic B-spline in two dimensions, averaged over phases."""
BYTE_SUM_STD = np.float32(147.80)
"""Standard deviation of the sum of four bytes: sqrt(4 * (256**2 - 1) / 12)."""


def key_of(seed: int, name: str) -> int:
    """A 32-bit key for the stream `name` of `seed`."""
    return zlib.crc32(f"{seed}/{name}".encode())


def scramble(value: Hashes) -> Hashes:
    """Mix the bits of 32-bit integers (lowbias32 of C. Wellons, "Prospecting for hash functions", 2018)."""
    value = value ^ (value >> np.uint32(16))
    value *= np.uint32(0x7FEB352D)
    value ^= value >> np.uint32(15)
    value *= np.uint32(0x846CA68B)
    value ^= value >> np.uint32(16)
    return value


def hashed(key: int, y: npt.NDArray[np.integer], x: npt.NDArray[np.integer]) -> Hashes:
    """Hash integer coordinates that broadcast against each other; uint32 of the broadcast shape."""
    rows = scramble(y.astype(np.uint32) * np.uint32(0x85EBCA77) + np.uint32(key))
    return scramble(rows + x.astype(np.uint32) * np.uint32(0x9E3779B1))


def uniform(key: int, y: npt.NDArray[np.integer], x: npt.NDArray[np.integer]) -> Floats:
    """Uniform numbers in [0, 1) at integer coordinates."""
    return (hashed(key, y, x) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def normal(key: int, y: npt.NDArray[np.integer], x: npt.NDArray[np.integer]) -> Floats:
    """Nearly normal numbers of mean 0 and standard deviation 1 at integer coordinates, within 3.46.

    The sum of the four bytes of a hash (Irwin-Hall); bounded, so that a test can bound what it reads.
    """
    value = hashed(key, y, x)
    total = value & np.uint32(0x00FF00FF)
    total += (value >> np.uint32(8)) & np.uint32(0x00FF00FF)
    total = (total & np.uint32(0xFFFF)) + (total >> np.uint32(16))
    result = total.astype(np.float32)
    result -= np.float32(510.0)
    result /= BYTE_SUM_STD
    return result


def _weights(fraction: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Weights of the uniform cubic B-spline for its four taps at `fraction` in [0, 1)."""
    f, g = fraction, np.float32(1.0) - fraction
    sixth = np.float32(1.0 / 6.0)
    return (
        g * g * g * sixth,
        (np.float32(3.0) * f * f * (f - np.float32(2.0)) + np.float32(4.0)) * sixth,
        (np.float32(3.0) * g * g * (g - np.float32(2.0)) + np.float32(4.0)) * sixth,
        f * f * f * sixth,
    )


def _lattice(position: Positions, wavelength: float) -> tuple[Ints, Floats]:
    scaled = position / wavelength
    floor = np.floor(scaled)
    return floor.astype(np.int64), (scaled - floor).astype(np.float32)


class Sites(Protocol):
    """Places at which noise can be asked for. Coordinates are pixels of 10 m from the archive's origin."""

    @property
    def y(self) -> Positions:
        """Rows; broadcasts against `x`."""

    @property
    def x(self) -> Positions:
        """Columns; broadcasts against `y`."""

    def smooth(self, key: int, wavelength: float) -> Floats:
        """Smooth noise of mean 0 and standard deviation about 1, with features about `wavelength` pixels wide."""


@dataclass(frozen=True)
class Grid:
    """The pixel centres of a window: `height` x `width` cells of `step` pixels, from pixel (`y0`, `x0`)."""

    y0: int
    x0: int
    height: int
    width: int
    step: int = 1

    @property
    def rows(self) -> Ints:
        """Cell indices, `(height, 1)`, counted from the archive's origin."""
        return (np.arange(self.height) + self.y0 // self.step)[:, None]

    @property
    def columns(self) -> Ints:
        """Cell indices, `(1, width)`, counted from the archive's origin."""
        return (np.arange(self.width) + self.x0 // self.step)[None, :]

    @property
    def y(self) -> Positions:
        """Rows of the cell centres, `(height, 1)`."""
        return (self.rows + 0.5) * self.step

    @property
    def x(self) -> Positions:
        """Columns of the cell centres, `(1, width)`."""
        return (self.columns + 0.5) * self.step

    def smooth(self, key: int, wavelength: float) -> Floats:
        """Smooth noise `(height, width)`: hashed lattice values under a cubic B-spline, one axis after the other."""
        iy, fy = _lattice(self.y[:, 0], wavelength)
        ix, fx = _lattice(self.x[0], wavelength)
        y0, x0 = int(iy[0]), int(ix[0])
        rows, columns = np.arange(y0, int(iy[-1]) + 4), np.arange(x0, int(ix[-1]) + 4)
        table = uniform(key, rows[:, None], columns[None, :])
        table -= np.float32(0.5)
        down = np.zeros((self.height, len(columns)), np.float32)
        for tap, weight in enumerate(_weights(fy)):
            down += weight[:, None] * table[iy - y0 + tap]
        result = np.zeros((self.height, self.width), np.float32)
        for tap, weight in enumerate(_weights(fx)):
            part = np.take(down, ix - x0 + tap, axis=1)
            part *= weight[None, :]
            result += part
        result /= SPLINE_STD
        return result


@dataclass(frozen=True)
class Points:
    """Scattered places: `y` and `x` of one shape."""

    y: Positions
    x: Positions

    def smooth(self, key: int, wavelength: float) -> Floats:
        """The same noise as `Grid.smooth`, up to rounding, at scattered places."""
        iy, fy = _lattice(self.y, wavelength)
        ix, fx = _lattice(self.x, wavelength)
        result = np.zeros(np.broadcast_shapes(iy.shape, ix.shape), np.float32)
        for down, weight_y in enumerate(_weights(fy)):
            for right, weight_x in enumerate(_weights(fx)):
                result += weight_y * weight_x * (uniform(key, iy + down, ix + right) - np.float32(0.5))
        result /= SPLINE_STD
        return result


def fractal(sites: Sites, key: int, wavelength: float, octaves: int, gain: float = 0.5) -> Floats:
    """Sum of `octaves` of smooth noise, each of half the wavelength and `gain` times the amplitude; std about 1."""
    total = sites.smooth(key, wavelength)
    power, amplitude = 1.0, 1.0
    for octave in range(1, octaves):
        amplitude *= gain
        power += amplitude**2
        total += np.float32(amplitude) * sites.smooth(key + octave, wavelength / 2**octave)
    total *= np.float32(power**-0.5)
    return total


def ramp(value: Floats, low: float, high: float) -> Floats:
    """Rise smoothly from 0 at `low` to 1 at `high` (cubic Hermite)."""
    t: Floats = np.clip((value - np.float32(low)) * np.float32(1.0 / (high - low)), np.float32(0), np.float32(1))
    return t * t * (np.float32(3.0) - np.float32(2.0) * t)
