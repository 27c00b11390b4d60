"""Report: what a model is worth, as numbers for DVC, as tables, and as a page for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.artifacts.base import Artifact, read_object
from components.errors import GeoductError

METRICS = "metrics.json"
PAGE = "report.html"
TABLES = ("confusion.csv", "confusion_counts.csv", "per_class.csv", "reliability.csv", "baselines.csv", "blocks.csv")


def _strangers(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strangers(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        yield name


class Report(Artifact):
    """A folder: `metrics.json` (numbers only, nested), the CSVs of `TABLES`, and the self-contained `report.html`."""

    kind = "Report"

    @property
    def metrics(self) -> dict[str, Any]:
        """The scores, nested: `model`, `baselines`, `interval`, `gain`, `split`.

        Raises:
            GeoductError: the file is missing, is not JSON, or holds something that is no number.
        """
        file = self.path / METRICS
        stored = read_object(file, "a Report keeps its scores there")
        if (stranger := next(_strangers(stored), None)) is not None:
            raise GeoductError(f"{file}: {stranger!r} is not a number")
        return stored

    @property
    def page(self) -> Path:
        """The page for people: one HTML file that needs nothing else."""
        return self.path / PAGE

    def validate(self) -> None:
        """Check that every file is there and that the scores can be read."""
        for name in (PAGE, *TABLES):
            if not (self.path / name).is_file():
                raise GeoductError(f"{self.path} has no {name}; a Report holds {', '.join((METRICS, PAGE, *TABLES))}")
        _ = self.metrics
