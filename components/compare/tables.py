"""The numbers of a comparison as files: `metrics.json` for `dvc metrics`, CSVs for `dvc plots` and anyone's tools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.artifacts.nomenclature import Nomenclature
from components.artifacts.report import METRICS
from components.compare.pairing import OUTCOMES, Paired
from components.evaluate.judge import Gain, Judged
from components.evaluate.metrics import scores
from components.evaluate.tables import rounded, write_csv

CLASS_SCORES = ("f1", "iou")
"""The scores of a class whose difference is written; precision and recall are in each model's own Report."""


def metrics(judged: Mapping[str, Judged], gains: Mapping[str, Gain], paired: Paired) -> dict[str, Any]:
    """What `metrics.json` holds; numbers only. `outcomes` are shares of the samples."""
    total = paired.outcomes.sum()
    present = judged["baseline"].each.present
    return {
        **{who: {name: rounded(v) for name, v in judged[who].scores.items()} for who in ("baseline", "candidate")},
        "difference": {name: {part: rounded(v) for part, v in gain._asdict().items()} for name, gain in gains.items()},
        "outcomes": {name: rounded(n / total) for name, n in zip(OUTCOMES, paired.outcomes.sum(0), strict=True)},
        "split": {
            "samples": int(total),
            "patches": len(paired.numbers),
            "blocks": len(paired.blocks),
            "classes_present": int(present.sum()),
            "classes_absent": int((~present).sum()),
        },
    }


def write_tables(
    folder: Path,
    found: Mapping[str, Any],
    judged: Mapping[str, Judged],
    gains: Mapping[str, Gain],
    each: Mapping[str, Sequence[Gain]],
    nomenclature: Nomenclature,
    paired: Paired,
) -> None:
    """Write `metrics.json`, which is `found`, and the CSVs into `folder`."""
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
        f"{score}_{what}" for score in CLASS_SCORES for what in ("baseline", "candidate", "difference", "low", "high")
    )
    write_csv(
        folder / "per_class.csv",
        ("code", "name", "support", *columns),
        (
            (*name, int(baseline.each.support[c]), *_class_row(c, baseline, candidate, each))
            for c, name in names
            if baseline.each.present[c]
        ),
    )
    write_csv(
        folder / "outcomes.csv",
        ("code", "name", *OUTCOMES),
        ((*name, *map(int, paired.outcomes[c])) for c, name in names if baseline.each.present[c]),
    )
    theirs, ours = scores(paired.baseline.confusion), scores(paired.candidate.confusion)
    kept = ("accuracy", "macro_f1")
    write_csv(
        folder / "blocks.csv",
        ("block", "samples", *(f"{name}_{who}" for name in kept for who in ("baseline", "candidate"))),
        (
            (
                block,
                int(paired.baseline.confusion[i].sum()),
                *(rounded(side[name][i]) for name in kept for side in (theirs, ours)),
            )
            for i, block in enumerate(paired.blocks)
        ),
    )


def _class_row(c: int, baseline: Judged, candidate: Judged, each: Mapping[str, Sequence[Gain]]) -> list[float]:
    row: list[float] = []
    for score in CLASS_SCORES:
        sides = [float(np.asarray(getattr(side.each, score))[c]) for side in (baseline, candidate)]
        row += [rounded(v) for v in (*sides, *each[score][c])]
    return row
