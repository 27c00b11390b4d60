"""evaluate: what a model is worth on blocks that it never saw, beside two baselines, as numbers and as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from components.contract import Ge, Gt, Input, Le, Lt, Output, Unit, component

if TYPE_CHECKING:
    from components.artifacts import Model, PatchSet, Report


@component(image="learn")
def evaluate(
    model: Input[Model],
    patches: Input[PatchSet],
    report: Output[Report],
    *,
    split: Literal["val", "test"] = "test",
    bootstrap: Annotated[int, Ge(10), Unit("resamples")] = 1000,
    level: Annotated[float, Ge(0.5), Lt(1)] = 0.95,
    bins: Annotated[int, Ge(2), Le(100)] = 15,
    sample: Annotated[int, Ge(100), Unit("pixels")] = 100_000,
    examples: Annotated[int, Ge(1), Le(24), Unit("patches")] = 6,
    batch_size: Annotated[int, Gt(0), Unit("patches")] = 16,
    seed: Annotated[int, Ge(0)] = 0,
) -> None:
    """Score a model on held-out blocks, beside two baselines, and say what to improve.

    Accuracy, balanced accuracy, precision, recall, F1 and IoU of each class, their means, Cohen's kappa and the
    expected calibration error, for the model, for always saying the majority class, and for a logistic regression
    that sees one pixel at a time. Intervals come from resampling whole blocks of the spatial split.

    Of a multilabel model precision, recall, F1 and average precision of each class, their means, the share of patches
    whose whole set of classes is right (subset accuracy) and that of wrong decisions (Hamming loss), one decision being
    one class of one patch. The baselines are the classes of most train patches, and a logistic regression a class.

    Args:
        model: the model to score
        patches: the patches to score it on; they must have the model's bands and classes
        report: metrics.json, tables that DVC plots, and report.html, a page that needs nothing else
        split: which part of the patches to score
        bootstrap: how many times the blocks are resampled for the intervals
        level: share of the resamples that an interval holds
        bins: bins of confidence for the calibration error and the reliability diagram
        sample: how many train samples the logistic regression is fitted on
        examples: how many patches to show of the surest mistakes, and as many of the least sure right ones
        batch_size: how many patches the model gets at a time
        seed: of resampling and of all sampling
    """
    from components.evaluate.evaluation import Settings, write_report
    from components.evaluate.multilabel.evaluation import write_report as write_report_on_sets

    settings = Settings(split, bootstrap, level, bins, sample, examples, batch_size, seed)
    write = write_report_on_sets if model.task == "multilabel" else write_report
    write(model, patches, report.path, settings)
