"""From items to time steps: what is understood of each, what is left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from components.acquire.read import with_grids
from components.acquire.understand import Scene, understand
from components.errors import GeoductError
from components.progress import say
from components.remote.raster import Remote
from components.search.select import Found


@dataclass(frozen=True)
class LeftOut:
    """A scene that is not in the cube, and why."""

    id: str
    reason: str


@dataclass
class Report:
    """Scenes that were found and are not in the cube: there was a reason not to take them, or they cannot be read."""

    skipped: list[LeftOut] = field(default_factory=list)
    failed: list[LeftOut] = field(default_factory=list)

    def tell(self, used: int) -> None:
        """Print it, with how many were used."""
        say(f"acquire: {used} scenes used, {len(self.skipped)} skipped, {len(self.failed)} failed")
        for what, ones in (("skipped", self.skipped), ("failed", self.failed)):
            for one in ones:
                say(f"acquire: {what} {one.id}: {one.reason}")


@dataclass(frozen=True)
class Step:
    """One time step: an acquisition, as one scene or as several that lie beside each other.

    Where scenes overlap, a pixel is that of the first one that has it.
    """

    scenes: tuple[Scene, ...]

    @property
    def record(self) -> dict[str, Any]:
        """What the cube keeps: the first scene's record; of several, with the ids and offsets of all as `parts`."""
        first = self.scenes[0].record
        if len(self.scenes) == 1:
            return first
        return {**first, "parts": [{"id": scene.id, "offset": scene.offset} for scene in self.scenes]}

    def without(self, ids: set[str]) -> Step | None:
        """The step without some of its scenes, or None if none is left."""
        left = tuple(scene for scene in self.scenes if scene.id not in ids)
        return Step(left) if left else None


def steps_of(
    found: Found, bands: Sequence[str], mask: str, remote: Remote, report: Report, skip_failed: bool
) -> list[Step]:
    """A time step for each acquisition, in order of time; what is left out goes into the report.

    With `skip_failed` these are also items that are not understood.

    Raises:
        GeoductError: an item lacks something, contradicts itself, or its files cannot be read; or all of them do.
    """
    report.skipped += [LeftOut(each.id, each.reason) for each in found.superseded]
    steps = []
    for acquisition in found.acquisitions:
        scenes = []
        for item in acquisition.items:
            try:
                scenes.append(with_grids(understand(item, bands, mask), remote))
            except GeoductError as error:
                if not skip_failed:
                    raise
                report.failed.append(LeftOut(item.id, str(error)))
        if scenes:
            steps.append(Step(tuple(scenes)))
    if not steps:
        raise GeoductError(f"no scene can be read; the first: {report.failed[0].reason}")
    return steps
