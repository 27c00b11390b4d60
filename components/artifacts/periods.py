"""Periods: stretches of time of which a Composite holds one image each, in bands named `B04@1`, `B04@2`, and so on.

Bands are addressed by name wherever they are read, so several images of a place are no new axis but more bands: what
does not care about time takes them as they come, and what does finds them here by name and number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from components.errors import GeoductError

SEPARATOR = "@"
"""Between a band and the number of its period. Command lines, YAML, STAC and Zarr take it as a plain character, and no
source of imagery has it in the name of a band."""


@dataclass(frozen=True)
class Period:
    """The days from `start` to `end`, both included, and the acquisitions on them: `dates`, ISO 8601, in order."""

    start: date
    end: date
    dates: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.start}/{self.end}"

    @property
    def middle(self) -> date:
        """The day in the middle, the earlier of two."""
        return self.start + (self.end - self.start) // 2

    def to_dict(self) -> dict[str, Any]:
        """As an artifact's attributes hold it."""
        return {"start": self.start.isoformat(), "end": self.end.isoformat(), "dates": list(self.dates)}


def read_periods(stored: Any, where: str | Path) -> tuple[Period, ...]:
    """The periods that an artifact's attribute `periods` holds; none where it has no such attribute.

    Raises:
        GeoductError: they are malformed; `where` names the artifact in the sentence.
    """
    try:
        return tuple(
            Period(date.fromisoformat(each["start"]), date.fromisoformat(each["end"]), tuple(map(str, each["dates"])))
            for each in stored or ()
        )
    except (KeyError, TypeError, ValueError):
        raise GeoductError(
            f"{where}: the attribute 'periods' is {stored!r}; expected a list, each with start, end and dates"
        ) from None


def band_at(band: str, number: int) -> str:
    """The name of a band in the period of this number, counted from 1."""
    return f"{band}{SEPARATOR}{number}"


def plain(band: str) -> str:
    """The name of a band without its period."""
    return band.partition(SEPARATOR)[0]


def of_one_image(bands: Sequence[str]) -> tuple[str, ...]:
    """Names of bands without their period; as they are where two of them differ in it alone."""
    names = tuple(map(plain, bands))
    return names if len(set(names)) == len(names) else tuple(bands)


def find_bands(wanted: Sequence[str], available: Sequence[str]) -> tuple[str, ...] | None:
    """The names under which `available` holds the bands `wanted` of one image: as they are, or in the first period that
    has them all; None if it has them in none."""
    suffixes = dict.fromkeys(name[len(plain(name)) :] for name in available)
    for suffix in ("", *suffixes):
        names = tuple(band + suffix for band in wanted)
        if set(names) <= set(available):
            return names
    return None
