"""The page of a comparison: both models side by side, their differences, and who is right where."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components import __version__
from components.artifacts.model import Model
from components.artifacts.patchset import PatchSet
from components.compare.pairing import BASELINE, CANDIDATE, Paired
from components.compare.pictures import WHO, Row, difference_chart, outcome_picture
from components.compare.verdict import Verdict
from components.evaluate import facts
from components.evaluate.examples import Example
from components.evaluate.judge import WITH_INTERVAL, Gain, Judged
from components.evaluate.metrics import scores
from components.evaluate.mosaic import UNSCORED, colour
from components.evaluate.page import HEADLINE, SHOWN_BLOCKS, TITLES
from components.evaluate.pictures import jpeg, png, svg
from components.evaluate.verdict import meaning
from components.evaluate.wording import count, percent, score, signed
from components.pages import render

TEMPLATE = Path(__file__).parent / "templates" / "comparison.html.j2"
LESS_IS_BETTER = ("ece",)
CHARTED = tuple(name for name in WITH_INTERVAL if name not in LESS_IS_BETTER)
"""The scores in the chart, where right of 0 is better for all."""


@dataclass(frozen=True)
class Content:
    """All that the page shows. `models` and `judged` are by `baseline` and `candidate`; `gains` are candidate minus
    baseline by score, `each` those of classes; `metrics` is what `metrics.json` holds, `settings` the parameters."""

    models: Mapping[str, Model]
    patches: PatchSet
    settings: Mapping[str, Any]
    unit: str
    paired: Paired
    judged: Mapping[str, Judged]
    gains: Mapping[str, Gain]
    each: Mapping[str, Sequence[Gain]]
    metrics: Mapping[str, Any]
    verdict: Verdict
    better: list[Example]
    worse: list[Example]


def page(content: Content) -> str:
    """The page as HTML."""
    return render(TEMPLATE, **_context(content))


def _context(c: Content) -> dict[str, Any]:
    name = c.patches.nomenclature.name
    task = c.models["baseline"].task
    return {
        "title": f"{name}, {task}",
        "task": task,
        "unit": c.unit,
        "split": c.settings["split"],
        "level": percent(c.settings["level"], 0),
        "headline": c.verdict.headline,
        "summary": c.verdict.summary,
        "cautions": c.verdict.cautions,
        "meaning": meaning(name),
        "cards": _cards(c),
        "chart": svg(difference_chart(*_charted(c))),
        "scores": _scores(c),
        "classes": _classes(c),
        "outcomes": _outcomes(c),
        "map": _map(c),
        "who": _legend([(name, rgb) for name, rgb in WHO.values()] + [("no label or no data", UNSCORED)]),
        "legend_entries": _seen(c),
        "better": c.better,
        "worse": c.worse,
        "blocks": _blocks(c),
        "gap": facts.gap_sentence(c.patches, c.paired.numbers),
        "models": [(who.capitalize(), facts.model(model), model.digest) for who, model in c.models.items()],
        "patches": c.patches.digest,
        "details": _details(c),
        "version": __version__,
    }


def _span(gain: Gain) -> str:
    return f"{signed(gain.low)} to {signed(gain.high)}"


def _mood(name: str, gain: Gain) -> str:
    better = gain.value < 0 if name in LESS_IS_BETTER else gain.value > 0
    return "open" if not gain.certain else "better" if better else "worse"


def _sides(c: Content, name: str) -> list[float]:
    return [c.judged[who].scores[name] for who in ("baseline", "candidate")]


def _cards(c: Content) -> list[dict[str, Any]]:
    return [
        {
            "key": name,
            "title": TITLES[name],
            "about": about,
            "exact": c.metrics["difference"][name]["value"],
            "value": signed(c.gains[name].value),
            "span": _span(c.gains[name]),
            "sides": " → ".join(map(score, _sides(c, name))),
            "mood": _mood(name, c.gains[name]),
        }
        for name, about in HEADLINE.items()
    ]


def _present(c: Content) -> list[int]:
    return [int(i) for i in np.flatnonzero(c.judged["baseline"].each.present)]


def _charted(c: Content) -> tuple[list[Row], list[Row]]:
    names = c.patches.nomenclature.names
    return (
        [Row(TITLES[name], [c.gains[name]]) for name in CHARTED],
        [Row(names[i], [c.each["f1"][i], c.each["iou"][i]]) for i in _present(c)],
    )


def _scores(c: Content) -> list[dict[str, Any]]:
    rows = []
    for name in WITH_INTERVAL:
        sides = [
            (score(c.judged[who].scores[name]), " – ".join(map(score, c.judged[who].intervals[name])))
            for who in ("baseline", "candidate")
        ]
        gain = c.gains[name]
        rows.append(
            {
                "title": TITLES[name] + (" (less is better)" if name in LESS_IS_BETTER else ""),
                "sides": sides,
                "difference": (signed(gain.value), _span(gain)),
                "mood": _mood(name, gain),
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
                        "mood": _mood(s, c.each[s][i]),
                    }
                    for s in ("f1", "iou")
                ],
                "only": [percent(int(c.paired.outcomes[i, o]) / support) for o in (BASELINE, CANDIDATE)],
            }
        )
    return rows


def _outcomes(c: Content) -> list[tuple[str, str, str, str, int]]:
    """Colour, name, share and number of each outcome, the number as text and as it is."""
    counts = [int(n) for n in c.paired.outcomes.sum(0)]
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


def _map(c: Content) -> dict[str, Any]:
    mosaic = c.paired.mosaic
    image, truth, answer, _ = mosaic.pictures(c.patches.nomenclature)
    candidate = mosaic.framed(colour(c.paired.answer, c.patches.nomenclature))
    who = mosaic.framed(outcome_picture(mosaic.truth, mosaic.answer, c.paired.answer))
    labels = "Labels" if c.models["baseline"].task == "segmentation" else "Dominant class of each patch"
    return {
        "panels": [
            ("Baseline", png(answer)),
            ("Candidate", png(candidate)),
            ("Who is right", png(who)),
            (labels, png(truth)),
            (f"Composite, {mosaic.stretch.name}", jpeg(image)),
        ],
        "bar": facts.scale_bar(mosaic.width, c.patches),
        "step": mosaic.step,
    }


def _blocks(c: Content) -> dict[str, Any]:
    """The blocks in which the models differ most, by accuracy."""
    theirs, ours = (scores(tally.confusion) for tally in (c.paired.baseline, c.paired.candidate))
    sizes = c.paired.baseline.confusion.sum((1, 2))
    filled = np.flatnonzero(sizes)
    difference = ours["accuracy"] - theirs["accuracy"]
    order = filled[np.argsort(-np.abs(difference[filled]), kind="stable")]
    return {
        "total": len(filled),
        "better": int((difference[filled] > 0).sum()),
        "worse": int((difference[filled] < 0).sum()),
        "rows": [
            {
                "name": c.paired.blocks[i],
                "samples": count(int(sizes[i])),
                "accuracy": [percent(float(side["accuracy"][i])) for side in (theirs, ours)],
                "difference": signed(float(difference[i])),
                "f1": [score(float(side["macro_f1"][i])) for side in (theirs, ours)],
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
