"""What to look for in a catalog, checked before anything is searched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from components.errors import GeoductError
from components.search.area import Area


@dataclass(frozen=True)
class Query:
    """What to look for. Days are inclusive; cloud is in percent; of `ids`, each must be found.

    `max_scenes` counts acquisitions, each with all its tiles; `one_per_day` takes the clearest acquisition of a day.
    """

    collection: str | None = None
    area: Area | None = None
    start: date | None = None
    end: date | None = None
    max_cloud: float = 100.0
    max_scenes: int | None = None
    ids: tuple[str, ...] | None = None
    tiles: tuple[str, ...] | None = None
    orbits: tuple[int, ...] | None = None
    min_baseline: str | None = None
    one_per_day: bool = False
    max_cloud_aoi: float = 100.0

    @classmethod
    def parse(
        cls,
        collection: str | None,
        area: Area | None,
        start: str | None,
        end: str | None,
        max_cloud: float,
        max_scenes: int | None,
        ids: Sequence[str] | None = None,
        *,
        tiles: Sequence[str] | None = None,
        orbits: Sequence[int] | None = None,
        min_baseline: str | None = None,
        one_per_day: bool = False,
        max_cloud_aoi: float = 100.0,
    ) -> Query:
        """Read the dates, YYYY-MM-DD, the tiles, 27WVM or T27WVM, and the processing baseline, 05.09.

        Raises:
            GeoductError: one of them is none, the last day lies before the first, there is no id among `ids`, or
                no area to look for clouds over.
        """
        first, last = _day("--start", start), _day("--end", end)
        if first and last and last < first:
            raise GeoductError(f"--end {last} lies before --start {first}")
        if ids is not None and not ids:
            raise GeoductError("--ids is empty; expected at least one item's id, or none for all")
        if max_cloud_aoi < 100 and area is None:
            raise GeoductError("--max-cloud-aoi asks for cloud over an area; name it by --bbox or --aoi")
        wanted = None if ids is None else tuple(dict.fromkeys(ids))
        return cls(
            collection,
            area,
            first,
            last,
            max_cloud,
            max_scenes,
            wanted,
            None if tiles is None else tuple(map(_tile, tiles)),
            None if orbits is None else tuple(orbits),
            None if min_baseline is None else _baseline(min_baseline),
            one_per_day,
            max_cloud_aoi,
        )

    @property
    def period(self) -> str:
        """The dates in words."""
        return f"between {self.start or 'the beginning'} and {self.end or 'today'}"

    @property
    def interval(self) -> str | None:
        """The dates as an API takes them, or None for all."""
        if self.start is None and self.end is None:
            return None
        first = f"{self.start}T00:00:00Z" if self.start else ".."
        return f"{first}/{self.end}T23:59:59.999999Z" if self.end else f"{first}/.."

    def covers(self, moment: datetime) -> bool:
        """Whether an instant lies on one of the days."""
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        after = self.start is None or moment >= datetime.combine(self.start, time.min, UTC)
        return after and (self.end is None or moment <= datetime.combine(self.end, time.max, UTC))


def _day(flag: str, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise GeoductError(f"{flag} is {text!r}; expected a day as YYYY-MM-DD") from None


def _tile(text: str) -> str:
    found = re.fullmatch(r"T?(\d{1,2}[C-X][A-Z]{2})", text.upper())
    if not found:
        raise GeoductError(f"--tiles names {text!r}; expected tiles of the MGRS grid, such as 27WVM")
    return found[1].zfill(5)


def _baseline(text: str) -> str:
    found = re.fullmatch(r"(\d{1,2})\.(\d{2})", text)
    if not found:
        raise GeoductError(f"--min-baseline is {text!r}; expected a processing baseline, such as 04.00")
    return f"{int(found[1]):02d}.{found[2]}"
