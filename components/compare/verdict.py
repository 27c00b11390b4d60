"""The verdict of a comparison in words: no more than the intervals allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from components.evaluate.bootstrap import FEW
from components.evaluate.judge import Gain, Scored
from components.evaluate.wording import held_out, listing, percent, score, signed


class Verdict(NamedTuple):
    """What a comparison showed: one line, a paragraph with its numbers, and what it does not show, a sentence each."""

    headline: str
    summary: str
    cautions: list[str]


def verdict(
    judged: Mapping[str, Scored],
    gains: Mapping[str, Gain],
    each: Mapping[str, Sequence[Gain]],
    *,
    samples: int,
    also: str,
    names: Sequence[str],
    unit: str,
    blocks: int,
    level: float,
    strangers: Sequence[str],
) -> Verdict:
    """Put a comparison into words.

    Args:
        judged: both models, as `baseline` and `candidate`.
        gains: candidate minus baseline, by score.
        each: the same by score of a class, one a class.
        samples: how many were scored.
        also: a sentence on another score, for the end of the paragraph.
        names: of the classes.
        unit: what is counted, pixels or patches.
        blocks: how many were scored.
        level: share of the resamples that an interval holds.
        strangers: which of the two models were trained on another PatchSet.
    """
    return Verdict(
        _headline(gains, bool(strangers)),
        f"{_summary(judged, gains, samples, unit, blocks, level)} {also}",
        [
            *_strangers(strangers),
            *_few(blocks),
            *_classes(judged["baseline"], each["f1"], names, level),
            "An interval says how far a difference would vary with other blocks of this land. How far it would vary if "
            "both were trained again with other seeds is not in it: train each several times to know.",
        ],
    )


def _headline(gains: Mapping[str, Gain], doubtful: bool) -> str:
    if all(gain == (0, 0, 0) for gain in gains.values()):
        return "No difference at all"
    gain = gains["macro_f1"]
    if not gain.certain:
        return "No difference shown"
    better, worse = ("candidate", "baseline") if gain.value > 0 else ("baseline", "candidate")
    doubt = ", if neither has seen these blocks" if doubtful else ""
    return f"The {better} is better than the {worse}{doubt}"


def accuracies(judged: Mapping[str, Scored], gain: Gain, unit: str) -> str:
    """A sentence on the share of samples that is right."""
    theirs, ours = (percent(judged[who].scores["accuracy"]) for who in ("baseline", "candidate"))
    return (
        f"Right are {ours} of the {unit} against {theirs}, a difference of {signed(gain.value)} ({signed(gain.low)} to "
        f"{signed(gain.high)})."
    )


def _summary(
    judged: Mapping[str, Scored], gains: Mapping[str, Gain], samples: int, unit: str, blocks: int, level: float
) -> str:
    baseline, candidate = judged["baseline"], judged["candidate"]
    f1 = gains["macro_f1"]
    held = "leaves out 0" if f1.certain else "holds 0: it may be chance"
    return (
        f"{held_out(blocks, samples, unit)} the candidate has a macro-F1 of {score(candidate.scores['macro_f1'])} and "
        f"the baseline of {score(baseline.scores['macro_f1'])}. The difference is {signed(f1.value)}, and its "
        f"{percent(level, 0)} interval, {signed(f1.low)} to {signed(f1.high)}, {held}."
    )


def _strangers(strangers: Sequence[str]) -> list[str]:
    if not strangers:
        return []
    both = len(strangers) > 1
    return [
        f"The {listing(strangers)} {'name' if both else 'names'} another PatchSet as the one that "
        f"{'they were' if both else 'it was'} trained on. Where its train area overlaps these blocks, "
        f"{'their' if both else 'its'} scores are too good, and the difference is not fair."
    ]


def _few(blocks: int) -> list[str]:
    if blocks == 1:
        return ["A single block tells nothing of how a difference varies: each interval is the whole range."]
    if blocks < FEW:
        return [f"The intervals rest on {blocks} blocks; below {FEW} they are rough, and likely too narrow."]
    return []


def _classes(baseline: Scored, gains: Sequence[Gain], names: Sequence[str], level: float) -> list[str]:
    present = [(name, gain) for name, gain, there in zip(names, gains, baseline.each.present, strict=True) if there]
    better = [name for name, gain in present if gain.low > 0]
    worse = [name for name, gain in present if gain.high < 0]
    parts = [
        f"{word} in " + (listing(found) if len(found) < len(present) else f"each of the {len(present)} classes present")
        for word, found in (("better", better), ("worse", worse))
        if found
    ]
    if not parts:
        return [f"Class by class, no interval of a difference in F1 leaves out 0, in {len(present)} classes."]
    chance = (1 - level) * len(present)
    return [
        f"Class by class, by F1, the candidate is {' and '.join(parts)}; of {len(present)} intervals at "
        f"{percent(level, 0)} about {chance:.1f} would leave out 0 by chance."
    ]
