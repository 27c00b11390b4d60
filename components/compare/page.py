"""The page of a comparison: both models side by side, their differences, and who is right where."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components import __version__
from components.artifacts.model import Model
from components.artifacts.patchset import PatchSet
from components.compare.pairing import BASELINE, CANDIDATE
from components.compare.pictures import WHO, Row, difference_chart
from components.compare.verdict import verdict
from components.evaluate import facts
from components.evaluate.examples import Example
from components.evaluate.frame import LESS_IS_BETTER, mood
from components.evaluate.judge import Gain, Scored
from components.evaluate.mosaic import Mosaic
from components.evaluate.multilabel.verdict import meaning as meaning_of_sets
from components.evaluate.page import HEADLINE, SHOWN_BLOCKS, TITLES
from components.evaluate.pictures import svg
from components.evaluate.verdict import meaning
from components.evaluate.wording import count, percent, score, signed
from components.pages import render

TEMPLATE = Path(__file__).parent / "templates" / "comparison.html.j2"


@dataclass(frozen=True)
class Look:
    """What a task's page shows and how it calls it: the `unit` of samples and what is `decided` about; `titles` of
    scores by name, those at the top with a few words (`headline`); the two scores of each class, and the two of each
    block, by name and title, the first of them the one that blocks are ordered by."""

    unit: str
    decided: str
    titles: Mapping[str, str]
    headline: Mapping[str, str]
    of_classes: Mapping[str, str]
    of_blocks: Mapping[str, str]


def one_class(unit: str) -> Look:
    """The look of a task that gives one class to each sample, pixels or patches."""
    return Look(
        unit, unit, TITLES, HEADLINE, {"f1": "F1", "iou": "IoU"}, {"accuracy": "Accuracy", "macro_f1": "Macro-F1"}
    )


@dataclass(frozen=True)
class Blocks:
    """The blocks of a split: names, samples in each (block,), and scores of both models by name, each (block,)."""

    names: list[str]
    sizes: NDArray[np.int64]
    baseline: Mapping[str, NDArray[np.float64]]
    candidate: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Content:
    """All that the page shows. `models` and `judged` are by `baseline` and `candidate`; `gains` are candidate minus
    baseline by score, `each` those of classes; `metrics` is what `metrics.json` holds, `settings` the parameters.
    `outcomes` (class, outcome) counts who is right; `panels` are pictures of the area with captions, `who` names their
    colours, and `mosaic` is their frame. `also` is a sentence on another score than macro-F1, for the verdict."""

    models: Mapping[str, Model]
    patches: PatchSet
    settings: Mapping[str, Any]
    look: Look
    numbers: NDArray[np.int64]
    judged: Mapping[str, Scored]
    gains: Mapping[str, Gain]
    each: Mapping[str, Sequence[Gain]]
    outcomes: NDArray[np.int64]
    blocks: Blocks
    mosaic: Mosaic
    panels: Sequence[tuple[str, str]]
    who: Sequence[tuple[str, tuple[int, int, int]]]
    metrics: Mapping[str, Any]
    also: str
    better: list[Example]
    worse: list[Example]


def page(content: Content) -> str:
    """The page as HTML."""
    return render(TEMPLATE, **_context(content))


def _context(c: Content) -> dict[str, Any]:
    name = c.patches.nomenclature.name
    task, least = c.models["baseline"].task, c.models["baseline"].min_fraction
    said = verdict(
        c.judged,
        c.gains,
        c.each,
        samples=c.metrics["split"]["samples"],
        also=c.also,
        names=c.patches.nomenclature.names,
        unit=c.look.unit,
        blocks=len(c.blocks.names),
        level=c.settings["level"],
        strangers=[who for who, model in c.models.items() if model.description.patches != c.patches.digest],
    )
    return {
        "title": f"{name}, {task}",
        "task": task,
        "unit": c.look.unit,
        "decided": c.look.decided,
        "class_titles": list(c.look.of_classes.values()),
        "block_titles": list(c.look.of_blocks.values()),
        "split": c.settings["split"],
        "level": percent(c.settings["level"], 0),
        **said._asdict(),
        "meaning": meaning(name) + ("" if least is None else meaning_of_sets(least)),
        "cards": _cards(c),
        "chart": svg(difference_chart(*_charted(c), list(c.look.of_classes.values()))),
        "scores": _scores(c),
        "classes": _classes(c),
        "outcomes": _outcomes(c),
        "map": {
            "panels": c.panels,
            "bar": facts.scale_bar(c.mosaic.width, c.patches),
            "step": c.mosaic.step,
        },
        "who": _legend(c.who),
        "legend_entries": _seen(c),
        "better": c.better,
        "worse": c.worse,
        "blocks": _blocks(c),
        "gap": facts.gap_sentence(c.patches, c.numbers),
        "models": [(who.capitalize(), facts.model(model), model.digest) for who, model in c.models.items()],
        "patches": c.patches.digest,
        "details": _details(c),
        "version": __version__,
    }


def _span(gain: Gain) -> str:
    return f"{signed(gain.low)} to {signed(gain.high)}"


def _sides(c: Content, name: str) -> list[float]:
    return [c.judged[who].scores[name] for who in ("baseline", "candidate")]


def _cards(c: Content) -> list[dict[str, Any]]:
    return [
        {
            "key": name,
            "title": c.look.titles[name],
            "about": about,
            "exact": c.metrics["difference"][name]["value"],
            "value": signed(c.gains[name].value),
            "span": _span(c.gains[name]),
            "sides": " → ".join(map(score, _sides(c, name))),
            "mood": mood(name, c.gains[name]),
        }
        for name, about in c.look.headline.items()
    ]


def _present(c: Content) -> list[int]:
    return [int(i) for i in np.flatnonzero(c.judged["baseline"].each.present)]


def _charted(c: Content) -> tuple[list[Row], list[Row]]:
    names = c.patches.nomenclature.names
    return (
        [Row(c.look.titles[name], [c.gains[name]]) for name in c.gains if name not in LESS_IS_BETTER],
        [Row(names[i], [c.each[name][i] for name in c.look.of_classes]) for i in _present(c)],
    )


def _scores(c: Content) -> list[dict[str, Any]]:
    rows = []
    for name in c.gains:
        sides = [
            (score(c.judged[who].scores[name]), " – ".join(map(score, c.judged[who].intervals[name])))
            for who in ("baseline", "candidate")
        ]
        gain = c.gains[name]
        rows.append(
            {
                "title": c.look.titles[name] + (" (less is better)" if name in LESS_IS_BETTER else ""),
                "sides": sides,
                "difference": (signed(gain.value), _span(gain)),
                "mood": mood(name, gain),
            }
        )
    return rows


def _classes(c: Content) -> list[dict[str, Any]]:
    rows = []
    for i in _present(c):
        land, support = c.patches.nomenclature.classes[i], int(c.judged["baseline"].each.support[i])
        rows.append(
            {
                "colour": land.colour,
                "name": land.name,
                "support": count(support),
                "scores": [
                    {
                        "sides": [score(float(getattr(c.judged[w].each, s)[i])) for w in ("baseline", "candidate")],
                        "difference": (signed(c.each[s][i].value), _span(c.each[s][i])),
                        "mood": mood(s, c.each[s][i]),
                    }
                    for s in c.look.of_classes
                ],
                "only": [percent(int(c.outcomes[i, o]) / int(c.outcomes[i].sum())) for o in (BASELINE, CANDIDATE)],
            }
        )
    return rows


def _outcomes(c: Content) -> list[tuple[str, str, str, str, int]]:
    """Colour, name, share and number of each outcome, the number as text and as it is."""
    counts = [int(n) for n in c.outcomes.sum(0)]
    return [
        (_hex(rgb), name, percent(counts[outcome] / sum(counts)), count(counts[outcome]), counts[outcome])
        for outcome, (name, rgb) in sorted(WHO.items())
    ]


def _hex(rgb: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def _legend(entries: Sequence[tuple[str, tuple[int, int, int]]]) -> list[tuple[str, str]]:
    return [(_hex(rgb), name) for name, rgb in entries]


def _seen(c: Content) -> list[tuple[str, str]]:
    """Colour and name of each class that occurs in the truth or an answer."""
    seen = sum(side.each.support + side.each.predicted for side in c.judged.values())
    return [(k.colour, k.name) for k, n in zip(c.patches.nomenclature, np.asarray(seen), strict=True) if n > 0]


def _blocks(c: Content) -> dict[str, Any]:
    """The blocks in which the models differ most, by the first score of blocks."""
    first, second = c.look.of_blocks
    sides = (c.blocks.baseline, c.blocks.candidate)
    filled = np.flatnonzero(c.blocks.sizes)
    difference = c.blocks.candidate[first] - c.blocks.baseline[first]
    order = filled[np.argsort(-np.abs(difference[filled]), kind="stable")]
    return {
        "total": len(filled),
        "better": int((difference[filled] > 0).sum()),
        "worse": int((difference[filled] < 0).sum()),
        "rows": [
            {
                "name": c.blocks.names[i],
                "samples": count(int(c.blocks.sizes[i])),
                "first": [percent(float(side[first][i])) for side in sides],
                "difference": signed(float(difference[i])),
                "second": [score(float(side[second][i])) for side in sides],
            }
            for i in order[:SHOWN_BLOCKS]
        ],
    }


def _details(c: Content) -> list[tuple[str, str]]:
    def text(value: Any) -> str:
        return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)

    return [
        ("Parameters of this comparison", text(dict(c.settings))),
        *((f"How the {who} came to be", text(model.provenance)) for who, model in c.models.items()),
        ("How the patches came to be", text(c.patches.provenance)),
    ]
