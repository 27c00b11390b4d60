"""The numbers of a report as files: JSON for `dvc metrics`, CSVs for `dvc plots` and for anyone's tools."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.artifacts.nomenclature import Nomenclature
from components.artifacts.report import write_metrics
from components.evaluate.calibration import Bins
from components.evaluate.judge import PER_CLASS, Gain, Judged, Scored
from components.evaluate.measure import Tally
from components.evaluate.metrics import scores

DIGITS = 6
"""Decimals that are kept: far below what an interval resolves, and above what differs between processors."""
GAINS = ("accuracy", "macro_f1", "miou", "ece")
"""The scores whose gain over each baseline is kept; the page shows all."""
PARTS = 100
"""Rows a class in `confusion.csv`."""


def rounded(value: float) -> float:
    """A number as it is written to a file."""
    return round(float(value), DIGITS)


def metrics(
    judged: Mapping[str, Scored],
    gains: Mapping[str, Mapping[str, Gain]],
    split: Mapping[str, int],
    kept: Sequence[str] = GAINS,
) -> dict[str, Any]:
    """What `metrics.json` holds, of the model `"model"` and its baselines; numbers only.

    `split` counts what was scored, such as samples, patches and blocks; `kept` are the scores whose gain is kept.
    """
    model = judged["model"]
    return {
        "model": {name: rounded(value) for name, value in model.scores.items()},
        "baselines": {
            name: {key: rounded(value) for key, value in other.scores.items()}
            for name, other in judged.items()
            if name != "model"
        },
        "interval": {
            name: {"low": rounded(ends.low), "high": rounded(ends.high)} for name, ends in model.intervals.items()
        },
        "gain": {
            name: {
                key: {part: rounded(v) for part, v in gain._asdict().items()}
                for key, gain in each.items()
                if key in kept
            }
            for name, each in gains.items()
        },
        "split": {
            **split,
            "classes_present": int(model.each.present.sum()),
            "classes_absent": int((~model.each.present).sum()),
        },
    }


def write_tables(
    folder: Path,
    found: Mapping[str, Any],
    judged: Mapping[str, Judged],
    nomenclature: Nomenclature,
    blocks: Sequence[str],
    tally: Tally,
) -> None:
    """Write `metrics.json`, which is `found`, and the CSVs into `folder`; `tally` is the model's, by block."""
    model = judged["model"]
    write_metrics(folder, found)
    write_csv(folder / "confusion.csv", ("actual", "predicted"), _parts(model, nomenclature))
    names = nomenclature.names
    write_csv(
        folder / "confusion_counts.csv",
        ("actual", "predicted", "samples"),
        ((names[t], names[p], int(n)) for (t, p), n in np.ndenumerate(model.confusion)),
    )
    write_shared(folder, judged, nomenclature, model.bins, PER_CLASS)
    by_block = scores(tally.confusion)
    write_csv(
        folder / "blocks.csv",
        ("block", "samples", "accuracy", "macro_f1"),
        (
            (name, int(tally.confusion[i].sum()), rounded(by_block["accuracy"][i]), rounded(by_block["macro_f1"][i]))
            for i, name in enumerate(blocks)
        ),
    )


def write_shared(
    folder: Path, judged: Mapping[str, Scored], nomenclature: Nomenclature, bins: Bins, names: Sequence[str]
) -> None:
    """Write the tables that look alike for every task; `names` are the scores of a class, `bins` the model's."""
    columns = (column for name in names for column in (name, f"{name}_low", f"{name}_high"))
    write_csv(
        folder / "per_class.csv",
        ("code", "name", "support", *columns, "f1_majority", "f1_logistic"),
        _classes(judged, nomenclature, names),
    )
    write_csv(folder / "reliability.csv", ("low", "high", "confidence", "accuracy", "samples"), _reliability(bins))
    write_csv(
        folder / "baselines.csv",
        ("classifier", "score", "value"),
        ((who, key, rounded(each.scores[key])) for who, each in judged.items() for key in judged["model"].scores),
    )


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table with its header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _parts(model: Judged, nomenclature: Nomenclature) -> Iterable[tuple[str, str]]:
    """Rows of actual and predicted as DVC's template `confusion` counts them, each one hundredth of its actual class.

    A row a sample would be millions; shares are rounded so that each class has exactly `PARTS` rows.
    """
    for truth, row in enumerate(model.confusion):
        if not row.sum():
            continue
        exact = row * PARTS / row.sum()
        parts = np.floor(exact).astype(int)
        largest = np.argsort(parts - exact, kind="stable")[: PARTS - parts.sum()]
        parts[largest] += 1
        for predicted, times in enumerate(parts):
            yield from [(nomenclature.names[truth], nomenclature.names[predicted])] * int(times)


def _classes(judged: Mapping[str, Scored], nomenclature: Nomenclature, names: Sequence[str]) -> Iterable[list[Any]]:
    """A row a class that is present in the truth."""
    model = judged["model"]
    for c in map(int, np.flatnonzero(model.each.present)):
        row: list[Any] = [nomenclature.codes[c], nomenclature.names[c], int(model.each.support[c])]
        for name in names:
            ends = model.class_intervals[name][c]
            row += [rounded(v) for v in (getattr(model.each, name)[c], ends.low, ends.high)]
        yield row + [rounded(judged[other].each.f1[c]) for other in ("majority", "logistic")]


def _reliability(bins: Bins) -> Iterable[tuple[float, float, float, float, int]]:
    """A row a bin that holds a sample."""
    width = 1 / len(bins.number)
    for i, (n, right, sure) in enumerate(zip(*bins, strict=True)):
        if n:
            yield rounded(i * width), rounded((i + 1) * width), rounded(sure / n), rounded(right / n), int(n)
