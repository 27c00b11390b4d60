"""The run of evaluate: measure once, judge, and write numbers, tables and page."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from components.artifacts.model import Model
from components.artifacts.patchset import PatchSet, Split
from components.artifacts.report import PAGE
from components.evaluate.baselines import class_counts, majority, regression
from components.evaluate.bootstrap import draw
from components.evaluate.examples import choose, show
from components.evaluate.findings import Evidence, findings
from components.evaluate.history import read_history
from components.evaluate.judge import compare, judge
from components.evaluate.measure import measure
from components.evaluate.page import Content, page
from components.evaluate.samples import Samples
from components.evaluate.tables import metrics, write_tables
from components.learning.predictor import Predictor


class Settings(NamedTuple):
    """The parameters of the component."""

    split: Split
    bootstrap: int
    level: float
    bins: int
    sample: int
    examples: int
    batch_size: int
    seed: int


def write_report(model: Model, patches: PatchSet, folder: Path, settings: Settings) -> None:
    """Score `model` on a split of `patches` and write a Report's files into `folder`.

    Raises:
        GeoductError: model and patches do not go together, or a split that is needed is empty.
    """
    samples = Samples(model, patches)
    numbers = samples.numbers(settings.split)
    train = class_counts(samples, settings.batch_size)
    logistic, fitted_on = regression(samples, settings.sample, settings.seed)
    baselines = {"majority": majority(train, logistic.weights.shape[1]), "logistic": logistic}
    predict = Predictor(model)
    measured = measure(
        samples, numbers, predict, baselines, bins=settings.bins, batch=settings.batch_size, seed=settings.seed
    )
    draws = draw(len(measured.blocks), settings.bootstrap, settings.seed)
    judged = {name: judge(tally, draws, settings.level) for name, tally in measured.tallies.items()}
    gains = {
        name: compare(measured.tallies["model"], measured.tallies[name], draws, settings.level) for name in baselines
    }
    counted = {"samples": judged["model"].samples, "patches": len(numbers), "blocks": len(measured.blocks)}
    found = metrics(judged, gains, counted)
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(folder, found, judged, patches.nomenclature, measured.blocks, measured.tallies["model"])
    evidence = Evidence(
        measured=measured,
        judged=judged["model"],
        gains=gains,
        nomenclature=patches.nomenclature,
        unit="pixels" if samples.task == "segmentation" else "patches",
        train=train,
        history=read_history(model.history),
        level=settings.level,
        bins=settings.bins,
        same_patches=model.description.patches == patches.digest,
    )
    wrong, unsure = choose(measured, settings.examples)
    content = Content(
        model=model,
        patches=patches,
        settings=settings._asdict(),
        evidence=evidence,
        judged=judged,
        metrics=found,
        findings=findings(evidence),
        mistakes=show(samples, measured, wrong, predict),
        unsure=show(samples, measured, unsure, predict),
        fitted_on=fitted_on,
    )
    (folder / PAGE).write_text(page(content), encoding="utf-8")
