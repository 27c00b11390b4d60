"""The numbers of a comparison as files: `metrics.json` for `dvc metrics`, CSVs for `dvc plots` and anyone's tools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.artifacts.nomenclature import Nomenclature
from components.artifacts.report import METRICS
from components.compare.page import Blocks, Look
from components.compare.pairing import OUTCOMES
from components.evaluate.judge import Gain, Scored
from components.evaluate.tables import rounded, write_csv


def metrics(
    judged: Mapping[str, Scored], gains: Mapping[str, Gain], outcomes: NDArray[np.int64], split: Mapping[str, int]
) -> dict[str, Any]:
    """What `metrics.json` holds; numbers only. `outcomes` (class, outcome) become shares; `split` says what was scored,
    such as samples, patches and blocks."""
    total = outcomes.sum()
    present = judged["baseline"].each.present
    return {
        **{who: {name: rounded(v) for name, v in judged[who].scores.items()} for who in ("baseline", "candidate")},
        "difference": {name: {part: rounded(v) for part, v in gain._asdict().items()} for name, gain in gains.items()},
        "outcomes": {name: rounded(n / total) for name, n in zip(OUTCOMES, outcomes.sum(0), strict=True)},
        "split": {
            **split,
            "classes_present": int(present.sum()),
            "classes_absent": int((~present).sum()),
        },
    }


def write_tables(
    folder: Path,
    found: Mapping[str, Any],
    judged: Mapping[str, Scored],
    gains: Mapping[str, Gain],
    each: Mapping[str, Sequence[Gain]],
    nomenclature: Nomenclature,
    outcomes: NDArray[np.int64],
    blocks: Blocks,
    look: Look,
) -> None:
    """Write `metrics.json`, which is `found`, and the CSVs into `folder`.

    Of a class the scores that the page shows; the others are in each model's own Report.
    """
    (folder / METRICS).write_text(json.dumps(found, indent=1) + "\n")
    baseline, candidate = judged["baseline"], judged["candidate"]
    write_csv(
        folder / "scores.csv",
        ("score", "baseline", "candidate", "difference", "low", "high"),
        (
            (name, *(rounded(v) for v in (baseline.scores[name], candidate.scores[name], *gain)))
            for name, gain in gains.items()
        ),
    )
    names = list(enumerate(zip(nomenclature.codes, nomenclature.names, strict=True)))
    columns = (
        f"{score}_{what}"
        for score in look.of_classes
        for what in ("baseline", "candidate", "difference", "low", "high")
    )
    write_csv(
        folder / "per_class.csv",
        ("code", "name", "support", *columns),
        (
            (*name, int(baseline.each.support[c]), *_class_row(c, baseline, candidate, each, look))
            for c, name in names
            if baseline.each.present[c]
        ),
    )
    write_csv(
        folder / "outcomes.csv",
        ("code", "name", *OUTCOMES),
        ((*name, *map(int, outcomes[c])) for c, name in names if baseline.each.present[c]),
    )
    sides = (blocks.baseline, blocks.candidate)
    write_csv(
        folder / "blocks.csv",
        ("block", "samples", *(f"{name}_{who}" for name in look.of_blocks for who in ("baseline", "candidate"))),
        (
            (name, int(size), *(rounded(side[key][i]) for key in look.of_blocks for side in sides))
            for i, (name, size) in enumerate(zip(blocks.names, blocks.sizes, strict=True))
        ),
    )


def _class_row(
    c: int, baseline: Scored, candidate: Scored, each: Mapping[str, Sequence[Gain]], look: Look
) -> list[float]:
    row: list[float] = []
    for score in look.of_classes:
        sides = [float(np.asarray(getattr(side.each, score))[c]) for side in (baseline, candidate)]
        row += [rounded(v) for v in (*sides, *each[score][c])]
    return row
