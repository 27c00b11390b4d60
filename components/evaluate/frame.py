"""What every page of evaluate shows, whatever the task: scores beside the baselines, the split, the data, the model
and where all of it comes from. The template `base.html.j2` sets these parts; a task's own fills the place between."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components import __version__
from components.artifacts.model import Model
from components.artifacts.patchset import PatchSet
from components.evaluate import facts
from components.evaluate.charts import interval_chart, training_chart
from components.evaluate.history import History
from components.evaluate.judge import Gain, Scored
from components.evaluate.pictures import SPLIT_COLOURS, png, split_plan, svg
from components.evaluate.wording import count, percent, score, signed

Shown = Sequence[tuple[str, Scored]]
"""Names of classifiers and their judgements, in the order in which they are shown, the model first."""

LESS_IS_BETTER = ("ece", "hamming_loss")


def span(low: float, high: float) -> str:
    """An interval in a table."""
    return f"{score(low)} – {score(high)}"


def cards(
    headline: Mapping[str, str],
    titles: Mapping[str, str],
    model: Scored,
    exact: Mapping[str, float],
    gains: Mapping[str, Gain],
) -> list[dict[str, Any]]:
    """The scores at the top, by name with a few words each; `exact` as files hold them, `gains` over the regression."""
    found: list[dict[str, Any]] = []
    for key, about in headline.items():
        gain = gains[key]
        better = gain.certain and (gain.value < 0 if key in LESS_IS_BETTER else gain.value > 0)
        found.append(
            {
                "key": key,
                "title": titles[key],
                "about": about,
                "exact": exact[key],
                "value": score(model.scores[key]),
                "span": span(*model.intervals[key]),
                "gain": f"{signed(gain.value)} against the logistic regression",
                "mood": "better" if better else "worse" if gain.certain else "open",
            }
        )
    return found


def comparison(titles: Mapping[str, str], shown: Shown, gains: Sequence[Mapping[str, Gain]]) -> dict[str, Any]:
    """A row a score: its value for each classifier, then the model's gain over each baseline, in the same order."""
    rows = []
    for key, title in titles.items():
        values = [
            (score(each.scores[key]), span(*each.intervals[key]) if key in each.intervals else "") for _, each in shown
        ]
        found = [each.get(key) for each in gains]
        rows.append(
            {
                "title": title,
                "values": values,
                "gains": [(signed(g.value), f"{signed(g.low)} to {signed(g.high)}", g.certain) for g in found if g],
            }
        )
    return {"names": [name for name, _ in shown], "rows": rows}


def intervals(keys: Sequence[str], titles: Mapping[str, str], shown: Shown) -> str:
    """The chart of some scores of all classifiers with their intervals, as a data URI."""
    return svg(
        interval_chart(
            [(titles[key], [(name, each.scores[key], *each.intervals[key]) for name, each in shown]) for key in keys]
        )
    )


def class_row(
    patches: PatchSet, judged: Mapping[str, Scored], train: NDArray[np.float64], names: Sequence[str], i: int
) -> dict[str, Any]:
    """The row of a class: `train` its share of the train samples, `names` the scores shown beside F1."""
    model, logistic, k = judged["model"], judged["logistic"], patches.nomenclature.classes[i]
    ends = model.class_intervals["f1"][i]
    return {
        "colour": k.colour,
        "code": k.code,
        "name": k.name,
        "support": count(int(model.each.support[i])),
        "train": percent(float(train[i])),
        "scores": [score(float(getattr(model.each, name)[i])) for name in names],
        "f1": score(float(model.each.f1[i])),
        "span": span(*ends),
        "bar": [round(100 * float(v), 2) for v in (model.each.f1[i], *ends, logistic.each.f1[i])],
    }


def surroundings(
    model: Model,
    patches: PatchSet,
    settings: Mapping[str, Any],
    numbers: NDArray[np.int64],
    history: History,
) -> dict[str, Any]:
    """How it was trained, the split, the data, the model and provenance; `numbers` are the patches that were scored."""
    return {
        "split": settings["split"],
        "training_chart": svg(training_chart(history)) if len(next(iter(history.values()), [])) else None,
        "split_plan": png(split_plan(patches)),
        "split_colours": SPLIT_COLOURS,
        "gap": facts.gap_sentence(patches, numbers),
        "split_facts": facts.split_report(patches),
        "splits": facts.splits(patches),
        "shares": facts.class_shares(patches, model.min_fraction),
        "statistics": facts.statistics(patches, model),
        "model_facts": facts.model(model),
        "provenance": _provenance(model, patches, settings),
        "version": __version__,
    }


def _provenance(model: Model, patches: PatchSet, settings: Mapping[str, Any]) -> dict[str, Any]:
    def text(value: Any) -> str:
        return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)

    return {
        "rows": [
            ("Model", model.digest),
            ("PatchSet", patches.digest),
            ("PatchSet of training", model.description.patches),
            ("Geoduct", __version__),
        ],
        "details": [
            ("Parameters of this evaluation", text(dict(settings))),
            ("How the model came to be", text(model.provenance)),
            ("How the patches came to be", text(patches.provenance)),
        ],
    }
