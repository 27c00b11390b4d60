"""What to improve: rules over the figures of one evaluation. Each finding is a sentence that carries its numbers; a
rule that does not apply says nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.artifacts.nomenclature import Nomenclature
from components.evaluate.bootstrap import FEW
from components.evaluate.calibration import calibration_error, certainty, fit_temperature, reliability
from components.evaluate.history import History, best_epoch
from components.evaluate.judge import Gain, Judged
from components.evaluate.measure import RIM, Measured
from components.evaluate.metrics import scores
from components.evaluate.wording import count, listing, percent, score, signed

NEAR = 2
"""A wrong pixel within this many pixels of a label border is called a border error."""
SMALL_SHARE = 0.05
"""A class with less than this share of the train samples is called rare."""
LEAST_TO_FIT = 200
"""With fewer samples no temperature is fitted."""
GAP_TOLD = 0.10
"""Relative gap of validation and training loss from which on it is worth a sentence."""


class Finding(NamedTuple):
    """One thing to improve: a short title, and a sentence with the numbers it rests on."""

    title: str
    text: str


@dataclass(frozen=True)
class Evidence:
    """All that the rules look at. `train` counts train samples by class; `history` has a list of numbers per column;
    `same_patches` is whether the model was trained on this very PatchSet."""

    measured: Measured
    judged: Judged
    gains: Mapping[str, Mapping[str, Gain]]
    nomenclature: Nomenclature
    unit: str
    train: NDArray[np.int64]
    history: History
    level: float
    bins: int
    same_patches: bool


def findings(evidence: Evidence) -> list[Finding]:
    """Every finding that the figures give, the most telling first."""
    e = evidence
    blocks = len(e.measured.blocks)
    sees = "pixel" if e.unit == "pixels" else "set of band averages"
    return capitalised(
        strange_patches(e.same_patches),
        uncertain_gain(e.gains["logistic"]["macro_f1"], e.level, blocks, sees),
        _confusion(e),
        _weakest(e),
        overfit(e.history),
        _calibration(e),
        _borders(e),
        _rim(e),
        _places(e),
        absent_classes(e.nomenclature, e.judged.each.present),
        few_blocks(blocks),
    )


def capitalised(*rules: Iterable[Finding]) -> list[Finding]:
    """What all rules found, each text beginning as a sentence does."""
    return [Finding(*(text[:1].upper() + text[1:] for text in finding)) for rule in rules for finding in rule]


def strange_patches(same: bool) -> Iterator[Finding]:
    """Whether the model was trained on the PatchSet that it is scored on."""
    if not same:
        yield Finding(
            "Make sure that the model has not seen these blocks",
            "The model names another PatchSet as the one that it was trained on. If their areas overlap, these scores "
            "are too good.",
        )


def uncertain_gain(gain: Gain, level: float, blocks: int, sees: str) -> Iterator[Finding]:
    """What the gain in macro-F1 over the logistic regression shows, which `sees` one pixel, say, at a time."""
    here = "this block" if blocks == 1 else f"these {blocks} blocks"
    span = f"{signed(gain.value)} macro-F1 ({percent(level, 0)} interval {signed(gain.low)} to {signed(gain.high)})"
    if not gain.certain:
        yield Finding(
            "The gain over the logistic regression is not certain",
            f"The difference is {span}, which includes 0: on {here} the network cannot be told from a "
            f"regression that sees one {sees} at a time. More held-out blocks would narrow the interval.",
        )
    elif gain.value < 0:
        yield Finding(
            "The logistic regression is better",
            f"The difference is {span}: use the regression, or look for an error in the training of the network.",
        )


def _confusion(e: Evidence) -> Iterator[Finding]:
    if not e.judged.errors:
        return
    off = e.judged.confusion.copy()
    np.fill_diagonal(off, 0)
    truth, predicted = np.unravel_index(int(off.argmax()), off.shape)
    wrong, support = int(off[truth, predicted]), int(e.judged.each.support[truth])
    names = e.nomenclature.names
    back = int(off[predicted, truth])
    yield Finding(
        f"Tell {names[truth]} from {names[predicted]}",
        f"{count(wrong)} {e.unit} of {names[truth]} are taken for {names[predicted]}: "
        f"{percent(wrong / e.judged.errors)} of all errors and {percent(wrong / support)} of that class; the other "
        f"way round it is {count(back)}. A band or a date that parts these two would help most.",
    )


def _weakest(e: Evidence) -> Iterator[Finding]:
    present = np.flatnonzero(e.judged.each.present)
    if len(present) < 2 or not e.judged.errors:
        return
    c = int(present[e.judged.each.recall[present].argmin()])
    recall, name = e.judged.each.recall[c], e.nomenclature.names[c]
    share = e.train[c] / e.train.sum()
    others = score(float(e.judged.each.recall[present[present != c]].mean()))
    advice = (
        "It is rare in training: more patches with it, a class-weighted loss or a weighted sampler come first."
        if share < SMALL_SHARE
        else "It is not rare in training, so more of it will help little: look at its labels and confusions first."
    )
    yield Finding(
        f"{name} is found least",
        f"Its recall is {score(recall)}, against {others} on average over the other classes; it holds {percent(share)} "
        f"of the train {e.unit} ({count(int(e.train[c]))}). {advice}",
    )


def overfit(history: History) -> Iterator[Finding]:
    """How the losses of training and validation stand to each other."""
    train, val, best = history.get("train_loss", []), history.get("val_loss", []), best_epoch(history)
    last = min(len(train), len(val)) - 1
    if (
        best is None
        or last < 1
        or best > last
        or not np.isfinite([train[best], val[best], train[last], val[last]]).all()
    ):
        return
    where = (
        f"At the epoch that was kept ({best + 1} of {last + 1}) the validation loss is {score(val[best])} and the "
        f"training loss {score(train[best])}"
    )
    if best == last:
        yield Finding("Train longer", f"{where}; it is the last epoch, so the best may not have been reached.")
    elif train[best] > 0 and val[best] / train[best] - 1 > GAP_TOLD:
        yield Finding(
            "The network fits its training area closer than new ground",
            f"{where}, so {percent(val[best] / train[best] - 1, 0)} more; in the last epoch they are "
            f"{score(val[last])} and {score(train[last])}. More varied training blocks, stronger augmentation or "
            "weight decay address this.",
        )


def _calibration(e: Evidence) -> Iterator[Finding]:
    accuracy, sure, error = e.judged.scores["accuracy"], e.judged.mean_confidence, e.judged.scores["ece"]
    if error < 0.01:
        return
    text = (
        f"It is sure of its answer to {percent(sure)} on average and right in {percent(accuracy)}; the expected "
        f"calibration error is {score(error)}."
    )
    if len(e.measured.truth) >= LEAST_TO_FIT:
        temperature = fit_temperature(e.measured.logits, e.measured.truth)
        before, after = (_error(e, t) for t in (1.0, temperature))
        if after < before:  # it is fitted by the log-loss, which another error may not follow
            text += (
                f" Dividing the logits by a temperature of {temperature:.2f} would take it from {score(before)} to "
                f"{score(after)} on the sample of {count(len(e.measured.truth))} {e.unit} on which the temperature was "
                "fitted (so a little less elsewhere); no class would change."
            )
    yield Finding(f"The model is {'overconfident' if sure > accuracy else 'underconfident'}", text)


def _error(e: Evidence, temperature: float) -> float:
    found = certainty(e.measured.logits / np.float32(temperature), e.measured.truth)
    return float(calibration_error(reliability(found.confidence, found.predicted == e.measured.truth, e.bins)))


def _borders(e: Evidence) -> Iterator[Finding]:
    counts = e.measured.border
    if not counts[:, 1].sum() or not counts[: NEAR + 1].sum() or not counts[NEAR + 1 :].sum():
        return
    wrong = counts[: NEAR + 1, 1].sum() / counts[:, 1].sum()
    area = counts[: NEAR + 1].sum() / counts.sum()
    inside = counts[NEAR + 1 :, 0].sum() / counts[NEAR + 1 :].sum()
    if wrong < 1.5 * area:
        return
    yield Finding(
        "Errors gather at the borders of the label map",
        f"{percent(wrong)} of the errors lie within {NEAR} pixels of a border between labels, where {percent(area)} "
        f"of the pixels are; farther inside {percent(inside)} are right. How exact the labels' borders are limits "
        "this score as much as the model does.",
    )


def _rim(e: Evidence) -> Iterator[Finding]:
    totals = e.measured.rim.sum(1)
    if not totals.all():
        return
    inside, rim = e.measured.rim[:, 1] / totals
    if rim - inside < 0.02 or rim < 1.25 * inside:
        return
    yield Finding(
        "Patches are worse at their edges",
        f"In the outer {RIM} pixels of a patch {percent(float(rim))} are wrong, farther inside "
        f"{percent(float(inside))}: the network lacks what lies beyond the edge. Larger patches help, and overlapping "
        "tiles when it maps a scene.",
    )


def _places(e: Evidence) -> Iterator[Finding]:
    confusion = e.measured.tallies["model"].confusion
    sizes = confusion.sum((1, 2))
    kept = np.flatnonzero(sizes > 0)
    if len(kept) < 3:
        return
    accuracy = scores(confusion[kept])["accuracy"]
    worst = int(accuracy.argmin())
    middle = float(np.median(accuracy))
    wrong = (1 - accuracy[worst]) * sizes[kept[worst]] / max(e.judged.errors, 1)
    if middle - accuracy[worst] < 0.05:
        return
    yield Finding(
        f"Look at block {e.measured.blocks[kept[worst]]}",
        f"Its accuracy is {percent(accuracy[worst])}, against a median of {percent(middle)} over {len(kept)} blocks; "
        f"it holds {percent(sizes[kept[worst]] / sizes.sum())} of the {e.unit} and {percent(float(wrong))} of the "
        "errors.",
    )


def absent_classes(nomenclature: Nomenclature, present: NDArray[np.bool_]) -> Iterator[Finding]:
    """Which classes the held-out truth lacks."""
    absent = [c.name for c, there in zip(nomenclature, present, strict=True) if not there]
    if absent:
        verb = "are" if len(absent) > 1 else "is"
        yield Finding(
            "Classes that were not tested",
            f"{listing(absent)} {verb} absent from the held-out truth and left out of every mean: the scores speak of "
            f"{int(present.sum())} of {len(nomenclature)} classes.",
        )


def few_blocks(blocks: int) -> Iterator[Finding]:
    """Whether there are too few blocks for their intervals."""
    if blocks == 1:
        yield Finding(
            "Hold out more blocks",
            "There is a single held-out block, and nothing to tell how far its score would vary: every interval is "
            "given as the whole range. Smaller blocks or a larger scene would give more.",
        )
    elif blocks < FEW:
        yield Finding(
            "Hold out more blocks",
            f"The intervals rest on {blocks} blocks; below {FEW} they are rough, and likely "
            "too narrow. Smaller blocks or a larger scene would give more.",
        )
