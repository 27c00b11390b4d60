"""The numbers of a comparison as files: `metrics.json` for `dvc metrics`, CSVs for `dvc plots` and anyone's tools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.artifacts.report import METRICS
from components.compare.page import Content, Look
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


def write_tables(folder: Path, content: Content) -> None:
    """Write `metrics.json` and the CSVs into `folder`.

    Of a class the scores that the page shows; the others are in each model's own Report.
    """
    c, look, blocks = content, content.look, content.blocks
    (folder / METRICS).write_text(json.dumps(c.metrics, indent=1) + "\n")
    baseline, candidate = c.judged["baseline"], c.judged["candidate"]
    write_csv(
        folder / "scores.csv",
        ("score", "baseline", "candidate", "difference", "low", "high"),
        (
            (name, *(rounded(v) for v in (baseline.scores[name], candidate.scores[name], *gain)))
            for name, gain in c.gains.items()
        ),
    )
    names = list(enumerate(zip(c.patches.nomenclature.codes, c.patches.nomenclature.names, strict=True)))
    columns = (
        f"{score}_{what}"
        for score in look.of_classes
        for what in ("baseline", "candidate", "difference", "low", "high")
    )
    write_csv(
        folder / "per_class.csv",
        ("code", "name", "support", *columns),
        (
            (*name, int(baseline.each.support[i]), *_class_row(i, baseline, candidate, c.each, look))
            for i, name in names
            if baseline.each.present[i]
        ),
    )
    write_csv(
        folder / "outcomes.csv",
        ("code", "name", *OUTCOMES),
        ((*name, *map(int, c.outcomes[i])) for i, name in names if baseline.each.present[i]),
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
    i: int, baseline: Scored, candidate: Scored, each: Mapping[str, Sequence[Gain]], look: Look
) -> list[float]:
    row: list[float] = []
    for score in look.of_classes:
        sides = [float(np.asarray(getattr(side.each, score))[i]) for side in (baseline, candidate)]
        row += [rounded(v) for v in (*sides, *each[score][i])]
    return row
