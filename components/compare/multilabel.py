"""Two models of sets of classes on the same patches: what each decides about every class, and who is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.artifacts.model import Model
from components.artifacts.patchset import PatchSet
from components.compare.comparison import Settings, write
from components.compare.page import Blocks, Content, Look
from components.compare.pairing import BASELINE, BOTH, CANDIDATE, NEITHER, OUTCOMES
from components.compare.tables import metrics
from components.errors import GeoductError
from components.evaluate.bootstrap import draw
from components.evaluate.examples import Example
from components.evaluate.judge import Gain
from components.evaluate.measure import Predict, paint_around
from components.evaluate.mosaic import UNSCORED, Mosaic, Picture, colour
from components.evaluate.multilabel.judge import Judged, compare_classes, judge, score_sets
from components.evaluate.multilabel.judge import compare as gains_of
from components.evaluate.multilabel.measure import Measured
from components.evaluate.multilabel.page import HEADLINE, TITLES
from components.evaluate.pictures import jpeg, png
from components.evaluate.samples import Samples
from components.evaluate.wording import listing, score, signed
from components.learning.predictor import Predictor
from components.learning.sets import held
from components.progress import track

LOOK = Look(
    unit="patches",
    decided="decisions",
    titles=TITLES,
    headline=HEADLINE,
    of_classes={"f1": "F1", "ap": "AP"},
    of_blocks={"subset_accuracy": "Subset accuracy", "micro_f1": "Micro-F1"},
)

WHO = {
    BOTH: ("both wholly right", (219, 228, 236)),
    CANDIDATE: ("the candidate is right about more", (0, 114, 178)),
    BASELINE: ("the baseline is right about more", (213, 94, 0)),
    NEITHER: ("both right about as many, but not all", (110, 118, 128)),
}
"""What is said of a patch, and its colour: those of single decisions."""


def write_comparison(baseline: Model, candidate: Model, patches: PatchSet, folder: Path, settings: Settings) -> None:
    """Score both models on a split of `patches` and write a Comparison's files into `folder`.

    Raises:
        GeoductError: the models differ in what it is to hold a class, one does not go with the patches, or the split
            is empty.
    """
    least = baseline.min_fraction
    if least is None or least != candidate.min_fraction:
        raise GeoductError(
            f"the baseline {baseline.path} says that a patch holds a class from a share of {baseline.min_fraction} of "
            f"its pixels on, the candidate {candidate.path} from {candidate.min_fraction}; expected two models that "
            "learned by the same share"
        )
    models = {"baseline": baseline, "candidate": candidate}
    both = Samples(baseline, patches), Samples(candidate, patches)
    numbers = both[0].numbers(settings.split)
    truth = held(patches, settings.split, least)
    measured = measure(*both, numbers, truth, Predictor(baseline), Predictor(candidate), batch=settings.batch_size)
    draws = draw(len(measured.blocks), settings.bootstrap, settings.seed)
    judged = {who: judge(measured, who, draws, settings.level, settings.bins) for who in models}
    gains = gains_of(judged["candidate"], judged["baseline"], settings.level)
    each = compare_classes(judged["candidate"], judged["baseline"], settings.level)
    outcome = who_is_right(measured)
    outcomes = np.stack([(outcome == kind).sum(0) for kind in range(len(OUTCOMES))], 1)
    counted = {
        "samples": len(numbers),
        "patches": len(numbers),
        "decisions": truth.size,
        "blocks": len(measured.blocks),
    }
    found = metrics(judged, gains, outcomes, counted)
    alone = np.eye(len(measured.blocks))
    sides = [score_sets(measured, who, alone, bins=1)[0] for who in models]
    blocks = Blocks(measured.blocks, measured.sizes(), *sides)
    better, worse = choose(outcome, settings.examples)
    content = Content(
        models=models,
        patches=patches,
        settings=settings._asdict(),
        look=LOOK,
        numbers=numbers,
        judged=judged,
        gains=gains,
        each=each,
        outcomes=outcomes,
        blocks=blocks,
        mosaic=measured.mosaic,
        panels=panels(measured, outcome, both[0]),
        who=[*WHO.values()],
        metrics=found,
        also=_precisions(judged, gains["macro_ap"]),
        better=show(both[0], measured, better),
        worse=show(both[0], measured, worse),
    )
    write(folder, content)


def measure(
    baseline: Samples,
    candidate: Samples,
    numbers: NDArray[np.int64],
    truth: NDArray[np.bool_],
    predict_baseline: Predict,
    predict_candidate: Predict,
    *,
    batch: int,
) -> Measured:
    """Read each of the patches `numbers` once and let both models answer; `truth` (n, class) is what each holds."""
    names, positions = np.unique(baseline.patches.index["block"].to_numpy()[numbers].astype(str), return_inverse=True)
    logits = {who: np.empty(truth.shape, np.float32) for who in ("baseline", "candidate")}
    mosaic = Mosaic(baseline.patches, numbers)
    total = -(-len(numbers) // batch)
    for start, (group, images, labels) in enumerate(
        track(baseline.batches(numbers, batch), total=total, label="scoring patches twice")
    ):
        here = slice(start * batch, start * batch + len(group))
        logits["baseline"][here] = predict_baseline(baseline.seen(images))
        logits["candidate"][here] = predict_candidate(candidate.seen(images))
        for number, image, label in zip(group, images, labels, strict=True):
            mosaic.paint(int(number), image, label, label)
    paint_around(baseline, mosaic, numbers, batch)
    return Measured(numbers, [str(name) for name in names], positions, truth, logits, mosaic)


def who_is_right(measured: Measured) -> NDArray[np.intp]:
    """The outcome of each decision, (n, class)."""
    theirs, ours = (measured.said(who) == measured.truth for who in ("baseline", "candidate"))
    return np.select([ours & theirs, ours, theirs], [BOTH, CANDIDATE, BASELINE], NEITHER).astype(np.intp)


def net(outcome: NDArray[np.intp]) -> NDArray[np.int64]:
    """Of outcomes (n, class), how many more decisions about each patch the candidate gets right, (n,)."""
    found: NDArray[np.int64] = (outcome == CANDIDATE).sum(1) - (outcome == BASELINE).sum(1)
    return found


def choose(outcome: NDArray[np.intp], count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of at most `count` patches each: the candidate's largest net gains, and its largest net losses."""
    gain = net(outcome)
    order = np.argsort(-gain, kind="stable")
    return order[gain[order] > 0][:count], order[::-1][gain[order[::-1]] < 0][:count]


def panels(measured: Measured, outcome: NDArray[np.intp], samples: Samples) -> list[tuple[str, str]]:
    """The area: who is right about how much of each patch, the labels and the image; captions and data URIs."""
    gain, whole = net(outcome), (outcome == BOTH).all(1)
    kinds = np.select([gain > 0, gain < 0, whole], [CANDIDATE, BASELINE, BOTH], NEITHER)
    mosaic, size = measured.mosaic, samples.patches.size
    layer = mosaic.blank()
    for number, kind in zip(measured.numbers, kinds, strict=True):
        mosaic.put(int(number), np.full((size, size), kind, np.uint8), layer)
    table = np.full((256, 3), UNSCORED, np.uint8)
    for kind, (_, rgb) in WHO.items():
        table[kind] = rgb
    who: Picture = table[layer]
    labels = colour(mosaic.truth, samples.patches.nomenclature)
    return [
        ("Who is right about more classes of a patch", png(mosaic.framed(who))),
        ("Labels", png(mosaic.framed(labels, faint=True))),
        (f"Composite, {mosaic.stretch.name}", jpeg(mosaic.framed(mosaic.image, faint=True))),
    ]


def show(samples: Samples, measured: Measured, positions: NDArray[np.intp]) -> list[Example]:
    """Read the chosen patches again and say what each model gets wrong about them."""
    shown: list[Example] = []
    index, names, stretch = samples.patches.index, samples.patches.nomenclature, measured.mosaic.stretch
    for at in map(int, positions):
        number = int(measured.numbers[at])
        _, images, labels = samples.read(np.array([number]))
        pictures = [
            (stretch.name.split(" (")[0], jpeg(stretch.picture(images[0]))),
            ("label", png(colour(labels[0], names))),
        ]
        truth = measured.truth[at]
        parts = [f"holds {listing([names.names[c] for c in np.flatnonzero(truth)]) or 'nothing'}"]
        for who in ("baseline", "candidate"):
            said = measured.said(who)[at]
            wrong = [
                f"{verb} {listing([names.names[c] for c in np.flatnonzero(chosen)])}"
                for verb, chosen in (("misses", truth & ~said), ("falsely says", ~truth & said))
                if chosen.any()
            ]
            parts.append(f"the {who} {', '.join(wrong) or 'is right'}")
        where = f"patch {index['id'].iloc[number]}, block {index['block'].iloc[number]}"
        shown.append(Example(pictures, f"{'; '.join(parts)} · {where}"))
    return shown


def _precisions(judged: dict[str, Judged], gain: Gain) -> str:
    theirs, ours = (score(judged[who].scores["macro_ap"]) for who in ("baseline", "candidate"))
    return (
        f"The mean average precision is {ours} against {theirs}, a difference of {signed(gain.value)} "
        f"({signed(gain.low)} to {signed(gain.high)})."
    )
