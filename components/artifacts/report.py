"""Report and Comparison: what a model is worth, and what it is worth beside another one.

As numbers for DVC, as tables, and as a page for people.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from components.artifacts.base import Artifact, read_object
from components.errors import GeoductError

METRICS = "metrics.json"
HEADLINE = "headline.json"
_TOLD = ("accuracy", "subset_accuracy", "macro_f1", "macro_ap", "miou", "ece")
"""Scores of the headline, so far as the model's task has them."""
PAGE = "report.html"


def _strangers(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strangers(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        yield name


class Report(Artifact):
    """A folder: `metrics.json` (numbers only, nested), `headline.json`, CSVs, and the self-contained `report.html`.

    The headline is the few of these numbers by which `dvc metrics` and `dvc exp show` tell runs apart: scores of the
    model, the interval of its macro-F1, and what it gains over the logistic regression.

    The CSVs are those of `tables`, and one row of `choices`: of what is taken for what, or, where a patch holds
    several classes, of the decisions about each.
    """

    kind = "Report"
    look = PAGE
    tables: ClassVar[tuple[str, ...]] = ("per_class.csv", "reliability.csv", "baselines.csv", "blocks.csv")
    excerpts: ClassVar[tuple[str, ...]] = (HEADLINE,)
    choices: ClassVar[tuple[tuple[str, ...], ...]] = (("confusion.csv", "confusion_counts.csv"), ("decisions.csv",))

    @property
    def metrics(self) -> dict[str, Any]:
        """The scores, nested; of a Report: `model`, `baselines`, `interval`, `gain`, `split`.

        Raises:
            GeoductError: the file is missing, is not JSON, or holds something that is no number.
        """
        file = self.path / METRICS
        stored = read_object(file, f"a {self.kind} keeps its scores there")
        if (stranger := next(_strangers(stored), None)) is not None:
            raise GeoductError(f"{file}: {stranger!r} is not a number")
        return stored

    @property
    def page(self) -> Path:
        """The page for people: one HTML file that needs nothing else."""
        return self.path / PAGE

    def validate(self) -> None:
        """Check that every file is there and that the scores can be read."""
        there = (c for c in self.choices if any((self.path / name).is_file() for name in c))
        choice = next(there, ())
        if self.choices and not choice:
            either = " nor ".join(names[0] for names in self.choices)
            raise GeoductError(f"{self.path} has neither {either}; a {self.kind} holds one of them")
        for name in (PAGE, *self.excerpts, *choice, *self.tables):
            if not (self.path / name).is_file():
                held = ", ".join((METRICS, PAGE, *self.excerpts, *choice, *self.tables))
                raise GeoductError(f"{self.path} has no {name}; a {self.kind} holds {held}")
        _ = self.metrics


def write_metrics(folder: Path, found: Mapping[str, Any]) -> None:
    """Write a Report's `metrics.json`, which is `found`, and its `headline.json`."""
    interval, gain = found["interval"]["macro_f1"], found["gain"]["logistic"]["macro_f1"]
    headline = {name: found["model"][name] for name in _TOLD if name in found["model"]}
    headline |= {"macro_f1_low": interval["low"], "macro_f1_high": interval["high"]}
    headline |= {"gain_over_logistic": gain["value"]}
    for name, numbers in ((METRICS, found), (HEADLINE, headline)):
        (folder / name).write_text(json.dumps(numbers, indent=1) + "\n")


class Comparison(Report):
    """The same of two models, scored on the same samples: `metrics` are `baseline`, `candidate`, their `difference`
    with intervals, the `outcomes` as shares of the samples, and `split`."""

    kind = "Comparison"
    tables = ("scores.csv", "per_class.csv", "outcomes.csv", "blocks.csv")
    excerpts = ()
    choices = ()
