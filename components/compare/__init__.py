"""compare: two models on the same blocks that neither has seen, their differences with intervals, and who is right
where the other is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from components.contract import Ge, Gt, Input, Le, Lt, Output, Unit, component

if TYPE_CHECKING:
    from components.artifacts import Comparison, Model, PatchSet


@component(image="learn")
def compare(
    baseline: Input[Model],
    candidate: Input[Model],
    patches: Input[PatchSet],
    comparison: Output[Comparison],
    *,
    split: Literal["val", "test"] = "test",
    bootstrap: Annotated[int, Ge(10), Unit("resamples")] = 1000,
    level: Annotated[float, Ge(0.5), Lt(1)] = 0.95,
    bins: Annotated[int, Ge(2), Le(100)] = 15,
    examples: Annotated[int, Ge(1), Le(24), Unit("patches")] = 6,
    batch_size: Annotated[int, Gt(0), Unit("patches")] = 16,
    seed: Annotated[int, Ge(0)] = 0,
) -> None:
    """Compare two models on the same held-out blocks.

    Both score the same samples by the same code as evaluate: those that are labelled and have data in the bands of
    both. Differences of accuracy, macro-F1, mean IoU and the others, and of F1 and IoU of each class, are candidate
    minus baseline; their intervals come from resampling whole blocks, the same for both, so that what makes a block
    hard for both cancels. Where an interval holds 0 no difference is shown.

    Of two multilabel models the scores are those that evaluate gives such a model, on all labelled patches; they have
    to agree on the share of its pixels from which on a patch holds a class.

    Args:
        baseline: the model to beat
        candidate: the model that is to beat it; of the same task and classes, its bands may be others
        patches: the patches to score both on; they must have the bands of both, and their classes
        comparison: metrics.json, tables, and report.html, a page that needs nothing else
        split: which part of the patches to score
        bootstrap: how many times the blocks are resampled for the intervals
        level: share of the resamples that an interval holds
        bins: bins of confidence for the calibration error
        examples: how many patches to show that the candidate gets better, and as many that the baseline does
        batch_size: how many patches the models get at a time
        seed: of resampling
    """
    from components.compare.comparison import Settings, write_comparison
    from components.compare.multilabel import write_comparison as write_comparison_of_sets
    from components.errors import GeoductError

    if baseline.task != candidate.task:
        raise GeoductError(
            f"the baseline {baseline.path} does {baseline.task} and the candidate {candidate.path} {candidate.task}; "
            "expected two models of one task"
        )
    settings = Settings(split, bootstrap, level, bins, examples, batch_size, seed)
    write = write_comparison_of_sets if baseline.task == "multilabel" else write_comparison
    write(baseline, candidate, patches, comparison.path, settings)
