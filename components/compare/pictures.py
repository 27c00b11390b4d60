"""Pictures of a comparison: the differences with their intervals, who is right where, and patches that show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.artifacts.nomenclature import IGNORE
from components.compare.pairing import BASELINE, BOTH, CANDIDATE, NEITHER, Paired, who_is_right
from components.evaluate.charts import BLUE, INK, ORANGE, SOFT, draw_svg
from components.evaluate.examples import Example
from components.evaluate.judge import Gain
from components.evaluate.measure import Predict, painted
from components.evaluate.mosaic import UNSCORED, Picture, colour
from components.evaluate.pictures import jpeg, png
from components.evaluate.samples import Samples
from components.evaluate.wording import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WHO = {
    BOTH: ("both right", (219, 228, 236)),
    CANDIDATE: ("only the candidate right", (0, 114, 178)),
    BASELINE: ("only the baseline right", (213, 94, 0)),
    NEITHER: ("both wrong", (110, 118, 128)),
}
"""Name and colour of each outcome; the colours are Okabe and Ito's, apart in lightness as well as in hue."""
LEGEND = (*WHO.values(), ("no label or no data", UNSCORED))
"""Names and colours where some of a picture has no outcome."""


class Row(NamedTuple):
    """A row of the chart of differences: its name, and one difference or several, each with a mark of its own."""

    name: str
    gains: Sequence[Gain]


def difference_chart(scores: Sequence[Row], classes: Sequence[Row], titles: Sequence[str]) -> bytes:
    """Differences, candidate minus baseline, of scores (left) and of two scores of each class (right), as SVG.

    What is certain is blue where the candidate is better and orange where the baseline is; what is not is grey.
    """
    height = 1.2 + 0.34 * max(len(scores), len(classes), 3)

    def paint(axes: list[Axes]) -> None:
        for place, title, rows in zip(
            axes, ("all classes", f"{titles[0]} ●  and {titles[1]} ○  by class"), (scores, classes), strict=True
        ):
            for y, row in enumerate(rows):
                for step, gain in enumerate(row.gains):
                    at = y + 0.26 * (step - (len(row.gains) - 1) / 2)
                    ink = SOFT if not gain.certain else BLUE if gain.value > 0 else ORANGE
                    place.plot(
                        [gain.low, gain.high], [at, at], color=ink, linewidth=4, alpha=0.4, solid_capstyle="butt"
                    )
                    fill = ink if step == 0 else "white"
                    place.plot([gain.value], [at], color=ink, marker="o", markersize=5.5, markerfacecolor=fill)
            place.axvline(0, color=INK, linewidth=1)
            place.set(title=title, xlabel="candidate − baseline", ylim=(max(len(rows), 1) - 0.4, -0.6))
            place.set_yticks(range(len(rows)), [row.name for row in rows])
            reach = max((max(abs(g.low), abs(g.high)) for row in rows for g in row.gains), default=0) * 1.08 or 0.01
            place.set_xlim(-reach, reach)
            place.locator_params(axis="x", nbins=5)
            place.tick_params(axis="y", length=0)
            place.spines["left"].set_visible(False)
            place.grid(axis="y", visible=False)

    return draw_svg(11, height, 1, 2, (1, 1), paint)


def outcome_picture(truth: NDArray[np.uint8], baseline: NDArray[np.uint8], candidate: NDArray[np.uint8]) -> Picture:
    """Who is right where, from class indices (y, x); light grey where any of the three is 255."""
    table = np.array([WHO[outcome][1] for outcome in sorted(WHO)], np.uint8)
    shown: Picture = table[who_is_right(truth, baseline, candidate)]
    shown[(truth == IGNORE) | (baseline == IGNORE) | (candidate == IGNORE)] = UNSCORED
    return shown


def panels(paired: Paired, samples: Samples) -> list[tuple[str, str]]:
    """The area with both answers, who is right where, labels and image: captions and data URIs."""
    mosaic, nomenclature = paired.mosaic, samples.patches.nomenclature
    image, truth, answer, _ = mosaic.pictures(nomenclature)
    candidate = mosaic.framed(colour(paired.answer, nomenclature))
    who = mosaic.framed(outcome_picture(mosaic.truth, mosaic.answer, paired.answer))
    return [
        ("Baseline", png(answer)),
        ("Candidate", png(candidate)),
        ("Who is right", png(who)),
        ("Labels" if samples.task == "segmentation" else "Dominant class of each patch", png(truth)),
        (f"Composite, {mosaic.stretch.name}", jpeg(image)),
    ]


def choose(paired: Paired, count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions in `paired.numbers` of at most `count` patches each: the candidate's largest net gains, and its
    largest net losses."""
    net = np.where(paired.count > 0, paired.won - paired.lost, 0.0)
    order = np.argsort(-net, kind="stable")
    return order[net[order] > 0][:count], order[::-1][net[order[::-1]] < 0][:count]


def show(
    baseline: Samples,
    candidate: Samples,
    paired: Paired,
    positions: NDArray[np.intp],
    predict_baseline: Predict,
    predict_candidate: Predict,
) -> list[Example]:
    """Read the chosen patches again and picture them beside both answers."""
    shown: list[Example] = []
    index, names = baseline.patches.index, baseline.patches.nomenclature
    for at in positions:
        number = int(paired.numbers[at])
        _, images, labels = baseline.read(np.array([number]))
        theirs, ours = predict_baseline(baseline.seen(images))[0], predict_candidate(candidate.seen(images))[0]
        where = f"patch {index['id'].iloc[number]}, block {index['block'].iloc[number]}"
        stretch = paired.mosaic.stretch
        pictures = [(stretch.name.split(" (")[0], jpeg(stretch.picture(images[0])))]
        if baseline.task == "classification":
            truth, said, says = (
                names.names[int(k)] for k in (baseline.dominant[number], theirs.argmax(), ours.argmax())
            )
            shown.append(Example(pictures, f"{truth}; baseline: {said}, candidate: {says} · {where}"))
            continue
        their_map, our_map = painted(baseline, theirs, images[0]), painted(candidate, ours, images[0])
        pictures += [
            ("label", png(colour(labels[0], names))),
            ("baseline", png(colour(their_map, names))),
            ("candidate", png(colour(our_map, names))),
            ("who is right", png(outcome_picture(labels[0], their_map, our_map))),
        ]
        won, lost = percent(float(paired.won[at]), 0), percent(float(paired.lost[at]), 0)
        shown.append(Example(pictures, f"only the candidate right on {won}, only the baseline on {lost} · {where}"))
    return shown
