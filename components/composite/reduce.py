"""From the clear looks at a pixel to one value: exact integer arithmetic on uint16, no NaN, no float copy.

The median comes from a sorting network along time: a few dozen minimum and maximum passes over whole planes, which
numpy vectorises, instead of a sort a pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint16]
Mask = NDArray[np.bool_]

HIGH = np.uint16(65535)


@cache
def network(count: int) -> tuple[tuple[int, int], ...]:
    """Comparators `(low, high)` that sort `count` values: Batcher's odd-even merge sort (Knuth, TAOCP 3, 5.2.2 M)."""

    def comparators() -> Iterator[tuple[int, int]]:
        top = 1 << max(count - 1, 0).bit_length() >> 1
        p = top
        while p > 0:
            q, r, d = top, 0, p
            while d > 0:
                yield from ((i, i + d) for i in range(count - d) if i & p == r)
                d, q, r = q - p, q >> 1, p
            p >>= 1

    return tuple(comparators())


def _sort(planes: list[Pixels]) -> None:
    """Sort along time in place: then `planes[0]` holds the least value of each pixel, `planes[-1]` the greatest."""
    spare = np.empty_like(planes[0])
    for low, high in network(len(planes)):
        np.minimum(planes[low], planes[high], out=spare)
        np.maximum(planes[low], planes[high], out=planes[high])
        planes[low], spare = spare, planes[low]


def _padding(clear: Mask) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """What stands in for unclear looks so that the median of the clear ones is in the middle of all.

    They become greatest and least in turn. Returns the stand-ins (time, y, x) and whether the number of clear looks
    is even (y, x).
    """
    least = np.zeros(clear.shape[1:], bool)
    padding = np.zeros(clear.shape, "uint16")
    for n, sound in enumerate(clear):
        padding[n] = np.where(least | sound, 0, HIGH)
        least ^= ~sound
    even = least ^ bool(len(clear) % 2 == 0)
    return padding, even


def median(looks: Pixels, clear: Mask) -> Pixels:
    """Median over time of the clear looks of `looks` (time, band, y, x) → (band, y, x); 0 where none is clear.

    Of an even number it is the mean of the middle two, a half rounded up. `clear` is (time, y, x).
    """
    padding, even = _padding(clear)
    keep = np.where(clear, HIGH, np.uint16(0))
    nothing = ~clear.any(axis=0)
    count = len(looks)
    result = np.empty(looks.shape[1:], "uint16")
    for band in range(looks.shape[1]):
        planes = [(looks[n, band] & keep[n]) | padding[n] for n in range(count)]
        _sort(planes)
        # The middle of an odd number of clear looks stands at `centre`; of an even number, the other one beside it,
        # above or below as the stand-ins fall.
        centre = (count - 1) // 2
        middle, other = planes[centre], planes[centre - 1 if count % 2 else centre + 1]
        mean = (middle >> 1) + (other >> 1) + ((middle | other) & 1)
        result[band] = np.where(even, mean, middle)
        result[band][nothing] = 0
    return result


def best(looks: Pixels, clear: Mask) -> Pixels:
    """The clear look nearest to the median, all bands from the same one; shapes as for `median`.

    Nearest is the least sum over bands of squared differences, of two alike the earlier look. Like Flood's medoid
    (2013, Remote Sensing 5(12):6481) the result is a spectrum that was observed; measuring from the median instead
    of between all pairs of looks makes it linear in their number.
    """
    middle = median(looks, clear).astype("int64")
    least = np.full(clear.shape[1:], np.iinfo("int64").max)
    result = np.zeros(looks.shape[1:], "uint16")
    for look, sound in zip(looks, clear, strict=True):
        distance = np.zeros(clear.shape[1:], "int64")
        for band in range(looks.shape[1]):
            difference = look[band] - middle[band]
            distance += difference * difference
        nearer = sound & (distance < least)
        least[nearer] = distance[nearer]
        np.copyto(result, look, where=nearer)
    return result


def observations(clear: Mask) -> NDArray[np.uint8]:
    """How many looks are clear, (time, y, x) → (y, x); 255 stands for 255 and more."""
    counts: NDArray[np.uint8] = np.minimum(np.count_nonzero(clear, axis=0), 255).astype("uint8")
    return counts
