"""What every page of evaluate shows, whatever the task: scores beside the baselines, the split, the data, the model
and where all of it comes from. The template `base.html.j2` sets these parts; a task's own fills the place between."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from components import __version__
from components.artifacts.model import Model
from components.artifacts.patchset import PatchSet
from components.evaluate import facts
from components.evaluate.charts import interval_chart, training_chart
from components.evaluate.examples import Example
from components.evaluate.findings import Finding
from components.evaluate.history import History
from components.evaluate.judge import Gain, Scored
from components.evaluate.pictures import SPLIT_COLOURS, png, split_plan, svg
from components.evaluate.wording import count, percent, score, signed

E = TypeVar("E")
J = TypeVar("J", bound=Scored)

Shown = Sequence[tuple[str, Scored]]
"""Names of classifiers and their judgements, in the order in which they are shown, the model first."""

LESS_IS_BETTER = ("ece", "hamming_loss")


@dataclass(frozen=True)
class Content(Generic[E, J]):
    """All that a page shows, of a task's evidence and judgements. `metrics` is what `metrics.json` holds; `settings`
    the component's parameters."""

    model: Model
    patches: PatchSet
    settings: Mapping[str, Any]
    evidence: E
    judged: dict[str, J]
    metrics: Mapping[str, Any]
    findings: list[Finding]
    mistakes: list[Example]
    unsure: list[Example]
    fitted_on: int


def mood(name: str, gain: Gain) -> str:
    """Whether a gain in a score is `better`, `worse` or still `open`."""
    better = gain.value < 0 if name in LESS_IS_BETTER else gain.value > 0
    return "open" if not gain.certain else "better" if better else "worse"


def _span(low: float, high: float) -> str:
    """An interval in a table."""
    return f"{score(low)} – {score(high)}"


def scores(
    c: Content[Any, Any],
    gains: Mapping[str, Mapping[str, Gain]],
    headline: Mapping[str, str],
    titles: Mapping[str, str],
    names: Mapping[str, str],
    charted: Sequence[str],
) -> dict[str, Any]:
    """The scores at the top (`headline`, with a few words each), beside the baselines (all `titles`), and those in the
    chart; `names` are those of classifiers by their key, in the order in which they are shown, the model first."""
    shown = [(name, c.judged[who]) for who, name in names.items()]
    return {
        "cards": _cards(headline, titles, c.judged["model"], c.metrics["model"], gains["logistic"]),
        "comparison": _comparison(titles, shown, [gains[who] for who in list(names)[1:]]),
        "interval_chart": _intervals(charted, titles, shown),
    }


def _cards(
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
        found.append(
            {
                "key": key,
                "title": titles[key],
                "about": about,
                "exact": exact[key],
                "value": score(model.scores[key]),
                "span": _span(*model.intervals[key]),
                "gain": f"{signed(gain.value)} against the logistic regression",
                "mood": mood(key, gain),
            }
        )
    return found


def _comparison(titles: Mapping[str, str], shown: Shown, gains: Sequence[Mapping[str, Gain]]) -> dict[str, Any]:
    """A row a score: its value for each classifier, then the model's gain over each baseline, in the same order."""
    rows = []
    for key, title in titles.items():
        values = [
            (score(each.scores[key]), _span(*each.intervals[key]) if key in each.intervals else "") for _, each in shown
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


def _intervals(keys: Sequence[str], titles: Mapping[str, str], shown: Shown) -> str:
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
        "span": _span(*ends),
        "bar": [round(100 * float(v), 2) for v in (model.each.f1[i], *ends, logistic.each.f1[i])],
    }


def surroundings(c: Content[Any, Any], numbers: NDArray[np.int64], history: History) -> dict[str, Any]:
    """What was found, how it was trained, the split, the data, the model and provenance; `numbers` are the patches that
    were scored."""
    model, patches, settings = c.model, c.patches, c.settings
    return {
        "title": f"{patches.nomenclature.name}, {model.task}",
        "task": model.task,
        "findings": c.findings,
        "fitted_on": count(c.fitted_on),
        "mistakes": c.mistakes,
        "unsure": c.unsure,
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
