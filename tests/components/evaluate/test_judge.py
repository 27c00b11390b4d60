"""Intervals and gains, from counts by block whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluate.bootstrap import draw, interval, resampled
from components.evaluate.judge import compare, judge
from components.evaluate.measure import Tally

BLOCKS = 30


def tally(shares: np.ndarray, samples: int = 200) -> Tally:
    """Two classes; block i is right in `shares[i]` of the samples of each class, and sure to 0.9 of everything."""
    made = Tally(len(shares), 2, 10)
    right = np.round(shares * samples).astype(int)
    for c in (0, 1):
        made.confusion[:, c, c] = right
        made.confusion[:, c, 1 - c] = samples - right
    made.bins.number[:, 8] = 2 * samples
    made.bins.correct[:, 8] = 2 * right
    made.bins.confidence[:, 8] = 0.9 * 2 * samples
    return made


def test_a_resample_draws_as_many_blocks_as_there_are_and_sums_their_counts() -> None:
    draws = draw(5, 50, seed=3)
    assert (draws.sum(1) == 5).all() and draws.std() > 0
    counts = np.arange(20).reshape(5, 2, 2)
    expected = sum(int(times) * counts[block] for block, times in enumerate(draws[7]))
    np.testing.assert_array_equal(resampled(counts, draws)[7], expected)


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    made = tally(np.random.default_rng(0).uniform(0.5, 1, BLOCKS))
    first, again, other = (judge(made, draw(BLOCKS, 200, seed), 0.95).intervals["accuracy"] for seed in (1, 1, 2))
    assert first == again != other


def test_interval_is_that_of_percentiles_and_leaves_out_what_is_undefined() -> None:
    values = np.arange(1001) / 1000
    assert interval(values, 0.9) == pytest.approx((0.05, 0.95))
    assert interval(values, 0.9, values > 0.5)[0] > 0.5
    assert interval(values, 0.9, values > 2) == pytest.approx((0.05, 0.95))


def test_interval_covers_the_true_accuracy_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        made = tally(generator.beta(8, 2, BLOCKS))  # blocks of mean accuracy 0.8
        low, high = judge(made, draw(BLOCKS, 200, trial), 0.9).intervals["accuracy"]
        covered += low <= 0.8 <= high
    assert 0.82 <= covered / 200 <= 0.96


def test_blocks_are_resampled_not_pixels() -> None:
    """A thousand times the pixels in the same blocks make no interval narrower."""
    shares = np.random.default_rng(0).uniform(0.5, 1, BLOCKS)
    draws = draw(BLOCKS, 500, 0)
    few, many = (judge(tally(shares, n), draws, 0.95).intervals["accuracy"] for n in (1000, 1_000_000))
    assert few == pytest.approx(many, abs=1e-3)


def test_paired_gain_is_certain_where_separate_intervals_overlap() -> None:
    hard = np.random.default_rng(0).uniform(0.3, 0.9, BLOCKS)
    model, baseline = tally(hard + 0.03), tally(hard)
    draws = draw(BLOCKS, 500, 0)
    gain = compare(model, baseline, draws, 0.95)["accuracy"]
    assert gain.value == pytest.approx(0.03, abs=2e-3) and gain.certain and gain.low > 0.025
    ours, theirs = (judge(each, draws, 0.95).intervals["accuracy"] for each in (model, baseline))
    assert ours.low < theirs.high


def test_a_model_gains_nothing_over_itself() -> None:
    made = tally(np.random.default_rng(0).uniform(0.5, 1, BLOCKS))
    gains = compare(made, made, draw(BLOCKS, 100, 0), 0.95)
    assert all(gain == (0, 0, 0) and not gain.certain for gain in gains.values())


def test_a_single_block_makes_nothing_certain() -> None:
    model, baseline = tally(np.array([0.9])), tally(np.array([0.6]))
    draws = draw(1, 100, 0)
    spans = judge(model, draws, 0.95).intervals
    assert spans.pop("kappa") == (-1, 1) and set(spans.values()) == {(0, 1)}
    gain = compare(model, baseline, draws, 0.95)["accuracy"]
    assert gain == (pytest.approx(0.3), -1, 1) and not gain.certain


def test_judgement_of_known_counts() -> None:
    found = judge(tally(np.full(BLOCKS, 0.75)), draw(BLOCKS, 100, 0), 0.95)
    assert found.samples == 2 * 200 * BLOCKS and found.errors == found.samples // 4
    assert found.scores["accuracy"] == found.scores["macro_f1"] == pytest.approx(0.75)
    assert found.scores["ece"] == pytest.approx(0.15) and found.mean_confidence == pytest.approx(0.9)
    assert found.intervals["ece"] == pytest.approx((0.15, 0.15))
    assert found.class_intervals["f1"] == [pytest.approx((0.75, 0.75))] * 2
