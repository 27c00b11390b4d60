"""The run of evaluate for a model of sets: measure once, judge, and write numbers, tables and page."""

from __future__ import annotations

from pathlib import Path

from components.artifacts.model import Model
from components.artifacts.patchset import PatchSet
from components.artifacts.report import PAGE, write_metrics
from components.evaluate.bootstrap import draw
from components.evaluate.evaluation import Settings
from components.evaluate.history import read_history
from components.evaluate.multilabel.baselines import regressions, usual
from components.evaluate.multilabel.examples import choose, show
from components.evaluate.multilabel.findings import Evidence, findings
from components.evaluate.multilabel.judge import compare, judge
from components.evaluate.multilabel.measure import measure
from components.evaluate.multilabel.page import Content, page
from components.evaluate.multilabel.tables import GAINS, write_tables
from components.evaluate.samples import Samples
from components.evaluate.tables import metrics
from components.learning.predictor import Predictor
from components.learning.sets import held


def write_report(model: Model, patches: PatchSet, folder: Path, settings: Settings) -> None:
    """Score `model` on a split of `patches` and write a Report's files into `folder`.

    Raises:
        GeoductError: model and patches do not go together, or a split that is needed is empty.
    """
    assert model.min_fraction is not None
    samples = Samples(model, patches)
    numbers = samples.numbers(settings.split)
    learned, truth = (held(patches, split, model.min_fraction) for split in ("train", settings.split))
    logistic, fitted_on = regressions(samples, learned, settings.sample, settings.seed)
    baselines = {"majority": usual(learned, logistic.weights.shape[1]), "logistic": logistic}
    measured = measure(samples, numbers, truth, Predictor(model), baselines, batch=settings.batch_size)
    draws = draw(len(measured.blocks), settings.bootstrap, settings.seed)
    judged = {who: judge(measured, who, draws, settings.level, settings.bins) for who in measured.logits}
    gains = {who: compare(judged["model"], judged[who], settings.level) for who in baselines}
    counted = {
        "samples": len(numbers),
        "patches": len(numbers),
        "decisions": judged["model"].decisions,
        "blocks": len(measured.blocks),
    }
    found = metrics(judged, gains, counted, GAINS)
    folder.mkdir(parents=True, exist_ok=True)
    write_metrics(folder, found)
    write_tables(folder, judged, patches.nomenclature, measured)
    evidence = Evidence(
        measured=measured,
        judged=judged["model"],
        gains=gains,
        nomenclature=patches.nomenclature,
        train=learned.sum(0),
        train_patches=len(learned),
        history=read_history(model.history),
        level=settings.level,
        bins=settings.bins,
        same_patches=model.description.patches == patches.digest,
        seed=settings.seed,
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
        mistakes=show(samples, measured, wrong),
        unsure=show(samples, measured, unsure),
        fitted_on=fitted_on,
    )
    (folder / PAGE).write_text(page(content), encoding="utf-8")
