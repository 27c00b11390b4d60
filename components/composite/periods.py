"""Which scenes each period has: the parameter `periods` read, and its days looked up among the acquisitions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import NamedTuple

from components.artifacts.periods import Period
from components.artifacts.scenecube import SceneCube
from components.errors import GeoductError
from components.progress import say


class Share(NamedTuple):
    """Time steps of a cube that are reduced to one image; `period` is None where these are all of them."""

    steps: slice
    period: Period | None


def shares_of(scenes: SceneCube, periods: Sequence[str] | None) -> list[Share]:
    """The scenes of each period, each a `START/END` of days (UTC, both included), or all scenes as one share.

    Raises:
        GeoductError: a period is malformed or ends before it begins, they overlap or are not in order of time, or one
            has no scene.
    """
    if periods is None:
        return [Share(slice(0, len(scenes.items)), None)]
    if not periods:
        raise GeoductError("--periods is empty; expected one or more, each START/END, or none for one image of all")
    moments = [str(item["datetime"]) for item in scenes.items]
    days = [_day(moment) for moment in moments]
    bounds = [_bounds(text) for text in periods]
    for (one, (_, end)), (other, (start, _)) in pairwise(zip(periods, bounds, strict=True)):
        if start <= end:
            raise GeoductError(
                f"--periods are {one} and then {other}, which begins before the other one is over; expected periods in "
                "order of time that share no day"
            )
    shares = []
    for text, (start, end) in zip(periods, bounds, strict=True):
        steps = [step for step, day in enumerate(days) if start <= day <= end]
        if not steps:
            raise GeoductError(
                f"--periods has {text}, on whose days {scenes.path} has no scene; "
                f"it has {', '.join(map(str, dict.fromkeys(days)))}"
            )
        # A cube's scenes are in order of time, so those of a period stand together.
        together = slice(steps[0], steps[-1] + 1)
        shares.append(Share(together, Period(start, end, tuple(moments[together]))))
        say(f"composite: period {len(shares)}, {text}: {len(steps)} of {len(days)} scenes")
    return shares


def _bounds(text: str) -> tuple[date, date]:
    """First and last day of a period as it is written."""
    try:
        start, end = map(date.fromisoformat, text.split("/"))
        if f"{start}/{end}" != text:  # Python takes weeks and days without hyphens too
            raise ValueError(text)
    except ValueError:
        raise GeoductError(
            f"--periods has {text!r}; expected two days as START/END, such as 2020-06-01/2020-08-31"
        ) from None
    if end < start:
        raise GeoductError(f"--periods has {text}, which ends before it begins; expected START/END")
    return start, end


def _day(moment: str) -> date:
    """The day of an acquisition in UTC, which is what a time without a zone is taken for."""
    found = datetime.fromisoformat(moment)
    return found.astimezone(UTC).date() if found.tzinfo else found.date()
