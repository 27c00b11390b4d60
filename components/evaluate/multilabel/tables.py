"""The numbers of a report on sets as files, beside `metrics.json`: CSVs for `dvc plots` and for anyone's tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from components.artifacts.nomenclature import Nomenclature
from components.evaluate.multilabel.judge import PER_CLASS, Judged, score_sets
from components.evaluate.multilabel.measure import Measured
from components.evaluate.tables import rounded, write_csv, write_shared

GAINS = ("macro_f1", "macro_ap", "subset_accuracy", "ece")
"""The scores whose gain over each baseline is kept; the page shows all."""
BY_BLOCK = ("macro_f1", "micro_f1", "subset_accuracy", "hamming_loss")


def write_tables(folder: Path, judged: Mapping[str, Judged], nomenclature: Nomenclature, measured: Measured) -> None:
    """Write the CSVs into `folder`."""
    model = judged["model"]
    write_shared(folder, judged, nomenclature, model.bins, PER_CLASS)
    write_csv(
        folder / "decisions.csv",
        ("code", "name", "true_positive", "false_positive", "false_negative", "true_negative"),
        (
            (k.code, k.name, hits, said - hits, held - hits, model.samples - said - held + hits)
            for k, hits, said, held in zip(
                nomenclature,
                *(
                    values.astype(int).tolist()
                    for values in (model.each.hits, model.each.predicted, model.each.support)
                ),
                strict=True,
            )
        ),
    )
    blocks = len(measured.blocks)
    alone, _, _ = score_sets(measured, "model", np.eye(blocks), bins=1)
    write_csv(
        folder / "blocks.csv",
        ("block", "samples", *BY_BLOCK),
        (
            (name, int(size), *(rounded(alone[key][i]) for key in BY_BLOCK))
            for i, (name, size) in enumerate(zip(measured.blocks, measured.sizes(), strict=True))
        ),
    )
