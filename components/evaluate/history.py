"""The epochs of training, as the Model keeps them."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from components.errors import GeoductError

History = dict[str, list[float]]
"""A list of numbers a column, one an epoch; NaN where an epoch has none."""


def read_history(path: Path) -> History:
    """Read `history.csv`; a model without one has an empty history.

    Raises:
        GeoductError: a field is no number.
    """
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return {name: [float(row[name] or math.nan) for row in rows] for name in (rows[0] if rows else {})}
    except (TypeError, ValueError) as error:
        raise GeoductError(f"{path} is no table of numbers: {error}") from None


def best_epoch(history: History) -> int | None:
    """Position of the epoch whose weights were kept: the best macro-F1 on the val split, else the least val loss."""
    for name, sign in (("val_macro_f1", -1.0), ("val_loss", 1.0)):
        values = history.get(name, [])
        if finite := [i for i, value in enumerate(values) if math.isfinite(value)]:
            return min(finite, key=lambda i: sign * values[i])
    return None
