"""The run of compare: score both models in one pass, judge the differences, and write numbers, tables and page."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from components.artifacts.model import Model
from components.artifacts.patchset import PatchSet, Split
from components.artifacts.report import PAGE
from components.compare.page import Blocks, Content, one_class, page
from components.compare.pairing import pair
from components.compare.pictures import LEGEND, choose, panels, show
from components.compare.tables import metrics, write_tables
from components.compare.verdict import accuracies
from components.errors import GeoductError
from components.evaluate import judge as judging
from components.evaluate.bootstrap import draw
from components.evaluate.metrics import scores
from components.evaluate.samples import Samples
from components.learning.predictor import Predictor


class Settings(NamedTuple):
    """The parameters of the component."""

    split: Split
    bootstrap: int
    level: float
    bins: int
    examples: int
    batch_size: int
    seed: int


def write_comparison(baseline: Model, candidate: Model, patches: PatchSet, folder: Path, settings: Settings) -> None:
    """Score both models on a split of `patches` and write a Comparison's files into `folder`.

    Raises:
        GeoductError: one of the models does not go with the patches, or the split is empty.
    """
    models = {"baseline": baseline, "candidate": candidate}
    samples = {who: Samples(model, patches) for who, model in models.items()}
    numbers = samples["baseline"].numbers(settings.split)
    both = samples["baseline"], samples["candidate"]
    predict = Predictor(baseline), Predictor(candidate)
    paired = pair(*both, numbers, *predict, bins=settings.bins, batch=settings.batch_size)
    if not paired.outcomes.sum():
        raise GeoductError(
            f"{patches.path}: no labelled pixel of the split {settings.split!r} has data in the bands of both models"
        )
    draws = draw(len(paired.blocks), settings.bootstrap, settings.seed)
    tallies = {"baseline": paired.baseline, "candidate": paired.candidate}
    judged = {who: judging.judge(tally, draws, settings.level) for who, tally in tallies.items()}
    gains = judging.compare(paired.candidate, paired.baseline, draws, settings.level)
    each = judging.compare_classes(paired.candidate, paired.baseline, draws, settings.level)
    total = int(paired.outcomes.sum())
    found = metrics(
        judged, gains, paired.outcomes, {"samples": total, "patches": len(numbers), "blocks": len(paired.blocks)}
    )
    look = one_class("pixels" if baseline.task == "segmentation" else "patches")
    theirs, ours = (scores(tally.confusion) for tally in (paired.baseline, paired.candidate))
    blocks = Blocks(paired.blocks, paired.baseline.confusion.sum((1, 2)), theirs, ours)
    better, worse = choose(paired, settings.examples)
    content = Content(
        models=models,
        patches=patches,
        settings=settings._asdict(),
        look=look,
        numbers=numbers,
        judged=judged,
        gains=gains,
        each=each,
        outcomes=paired.outcomes,
        blocks=blocks,
        mosaic=paired.mosaic,
        panels=panels(paired, both[0]),
        who=LEGEND,
        metrics=found,
        also=accuracies(judged, gains["accuracy"], look.unit),
        better=show(*both, paired, better, *predict),
        worse=show(*both, paired, worse, *predict),
    )
    write(folder, content)


def write(folder: Path, content: Content) -> None:
    """Write a Comparison's files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(folder, content)
    (folder / PAGE).write_text(page(content), encoding="utf-8")
