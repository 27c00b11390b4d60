"""One pass over the held-out patches with two models: each patch is read once and both answer for the same samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.measure import Predict, Tally, counted, paint_around, painted, painted_truth
from components.evaluate.mosaic import Mosaic
from components.evaluate.samples import Samples
from components.progress import track

BOTH, CANDIDATE, BASELINE, NEITHER = range(4)
"""Who is right about a sample."""
OUTCOMES = ("both", "candidate", "baseline", "neither")
"""Names of those, in order."""


@dataclass
class Paired:
    """What one pass found.

    `blocks` are the names of the split's blocks in the order of both tallies. `outcomes` (class, outcome) counts
    samples by their truth and by who is right. Per patch of `numbers`: its samples, and the share of them that only
    the candidate, and only the baseline, gets right. `mosaic` shows the area with the baseline's answer, `answer` is
    the candidate's in the same frame.
    """

    numbers: NDArray[np.int64]
    blocks: list[str]
    baseline: Tally
    candidate: Tally
    outcomes: NDArray[np.int64]
    count: NDArray[np.int64]
    won: NDArray[np.float64]
    lost: NDArray[np.float64]
    mosaic: Mosaic
    answer: NDArray[np.uint8]


def who_is_right(
    truth: NDArray[np.integer], baseline: NDArray[np.integer], candidate: NDArray[np.integer]
) -> NDArray[np.intp]:
    """The outcome of each sample, from class indices of one shape."""
    ours, theirs = candidate == truth, baseline == truth
    return np.select([ours & theirs, ours, theirs], [BOTH, CANDIDATE, BASELINE], NEITHER).astype(np.intp)


def pair(
    baseline: Samples,
    candidate: Samples,
    numbers: NDArray[np.int64],
    predict_baseline: Predict,
    predict_candidate: Predict,
    *,
    bins: int,
    batch: int,
) -> Paired:
    """Score both models on the patches `numbers`; `baseline` and `candidate` are those patches as each sees them."""
    patches, classes = baseline.patches, baseline.classes
    names, positions = np.unique(patches.index["block"].to_numpy()[numbers].astype(str), return_inverse=True)
    mosaic = Mosaic(patches, numbers)
    result = Paired(
        numbers=numbers,
        blocks=[str(name) for name in names],
        baseline=Tally(len(names), classes, bins),
        candidate=Tally(len(names), classes, bins),
        outcomes=np.zeros((classes, len(OUTCOMES)), np.int64),
        count=np.zeros(len(numbers), np.int64),
        won=np.zeros(len(numbers)),
        lost=np.zeros(len(numbers)),
        mosaic=mosaic,
        answer=mosaic.blank(),
    )
    total = -(-len(numbers) // batch)
    for start, (group, images, labels) in enumerate(
        track(baseline.batches(numbers, batch), total=total, label="scoring patches twice")
    ):
        theirs, ours = baseline.seen(images), candidate.seen(images)
        answers = zip(predict_baseline(theirs), predict_candidate(ours), strict=True)
        for offset, (number, (their_logits, our_logits)) in enumerate(zip(map(int, group), answers, strict=True)):
            at, label = start * batch + offset, labels[offset]
            scored = baseline.scored(theirs[offset], label) & candidate.scored(ours[offset], label)
            truth, their_flat = counted(baseline, number, label, scored, their_logits)
            _, our_flat = counted(candidate, number, label, scored, our_logits)
            their_answer = result.baseline.add(positions[at], truth, their_flat).predicted
            our_answer = result.candidate.add(positions[at], truth, our_flat).predicted
            outcome = who_is_right(truth, their_answer, our_answer)
            np.add.at(result.outcomes, (truth, outcome), 1)
            if len(truth):
                result.count[at] = len(truth)
                result.won[at] = (outcome == CANDIDATE).mean()
                result.lost[at] = (outcome == BASELINE).mean()
            image = images[offset]
            mosaic.paint(number, image, painted_truth(baseline, number, label), painted(baseline, their_logits, image))
            mosaic.put(number, painted(candidate, our_logits, image), result.answer)
    paint_around(baseline, mosaic, numbers, batch)
    return result
