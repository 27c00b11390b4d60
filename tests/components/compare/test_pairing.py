"""One pass with two classifiers whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.compare.pairing import BASELINE, BOTH, CANDIDATE, NEITHER, Paired, pair, who_is_right
from components.compare.pictures import WHO, choose, outcome_picture
from components.evaluate.mosaic import UNSCORED
from components.evaluate.samples import Samples
from tests.components.evaluate import scenes

SIZE = 32


class World:
    """A noiseless scene of three classes, in part unlabelled; in one place B02, which one model lacks, has no data."""

    def __init__(self, folder: Path) -> None:
        self.truth = scenes.land(256, 3)
        self.image = scenes.image_of(self.truth, noise=0)
        self.image[0, 70:90, 10:40] = 0
        label = self.truth.copy()
        label[200:220, 140:150] = 255
        self.patches = scenes.patchset(
            folder / "patches.zarr", self.image, label, scenes.nomenclature(3), size=SIZE, block=2
        )
        self.all = Samples(scenes.model(folder / "all", self.patches), self.patches)
        self.some = Samples(scenes.model(folder / "some", self.patches, bands=("B08", "B04")), self.patches)
        self.numbers = self.all.numbers("test")

    def perfect(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Logits of the right class, from B08 and B04, wherever they stand."""
        columns = [3, 2] if pixels.shape[1] == 4 else [0, 1]
        known = scenes.SPECTRA[:3][:, [3, 2]]
        found = np.abs(pixels[:, None, columns].astype(int) - known[None, :, :, None, None]).sum(2).argmin(1)
        return np.eye(3, dtype=np.float32)[found].transpose(0, 3, 1, 2) * 20

    def blind(self, to: int) -> Any:
        """The same, but class `to` is always taken for the next one."""

        def predict(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            logits = self.perfect(pixels)
            logits[:, (to + 1) % 3] += 2 * logits[:, to]
            return logits

        return predict

    def scored_truth(self) -> np.ndarray[Any, Any]:
        """Labels of the pixels of the split that have a label and data in all bands of both."""
        images, labels = (self.patches.array(name)[...][self.numbers] for name in ("image", "label"))
        return labels[(labels != 255) & (images != 0).all(1)]

    def pair(self, baseline: Any, candidate: Any) -> Paired:
        return pair(self.all, self.some, self.numbers, baseline, candidate, bins=10, batch=5)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("pairing"))


def test_who_is_right_of_each_sample() -> None:
    truth, baseline, candidate = np.array([0, 0, 0, 0, 1]), np.array([0, 1, 0, 1, 0]), np.array([0, 0, 2, 2, 0])
    assert who_is_right(truth, baseline, candidate).tolist() == [BOTH, CANDIDATE, BASELINE, NEITHER, NEITHER]


def test_both_answer_for_the_same_samples(world: World) -> None:
    """Where B02 has no data the second model could answer; the first cannot, so neither is asked."""
    paired = world.pair(world.perfect, world.perfect)
    expected = np.bincount(world.scored_truth(), minlength=3)
    assert expected.sum() < (world.patches.array("label")[...][world.numbers] != 255).sum()
    np.testing.assert_array_equal(paired.outcomes[:, BOTH], expected)
    np.testing.assert_array_equal(paired.baseline.confusion, paired.candidate.confusion)
    assert paired.outcomes.sum() == paired.count.sum() == paired.baseline.samples


def test_outcomes_are_told_apart_by_class(world: World) -> None:
    paired = world.pair(world.blind(to=0), world.blind(to=1))
    expected = np.bincount(world.scored_truth(), minlength=3)
    assert expected.min() > 0
    assert paired.outcomes[0].tolist() == [0, expected[0], 0, 0], "only the candidate knows class 0"
    assert paired.outcomes[1].tolist() == [0, 0, expected[1], 0], "only the baseline knows class 1"
    assert paired.outcomes[2].tolist() == [expected[2], 0, 0, 0]
    correct = [int(np.trace(tally.confusion.sum(0))) for tally in (paired.candidate, paired.baseline)]
    assert correct[0] - correct[1] == expected[0] - expected[1]


def test_patches_are_chosen_by_their_net_gain(world: World) -> None:
    paired = world.pair(world.blind(to=0), world.blind(to=1))
    better, worse = choose(paired, 100)
    net = paired.won - paired.lost
    assert set(better) == set(np.flatnonzero(net > 0)) and set(worse) == set(np.flatnonzero(net < 0))
    assert (np.diff(net[better]) <= 0).all() and (np.diff(net[worse]) >= 0).all()
    assert [len(found) for found in choose(paired, 1)] == [1, 1]
    same = world.pair(world.perfect, world.perfect)
    assert [len(found) for found in choose(same, 5)] == [0, 0]


def test_the_map_shows_both_answers_in_the_same_place(world: World) -> None:
    paired = world.pair(world.blind(to=0), world.perfect)
    scored = (paired.mosaic.truth != 255) & (paired.mosaic.answer != 255) & paired.mosaic.covered
    assert (paired.answer[scored] == paired.mosaic.truth[scored]).all()
    wrong = scored & (paired.mosaic.truth == 0)
    assert wrong.any() and (paired.mosaic.answer[wrong] == 1).all()
    assert (paired.answer[~paired.mosaic.covered] == 255).all()
    picture = outcome_picture(paired.mosaic.truth, paired.mosaic.answer, paired.answer)
    assert (picture[wrong] == WHO[CANDIDATE][1]).all()
    assert (picture[scored & ~wrong] == WHO[BOTH][1]).all()
    assert (picture[~scored] == UNSCORED).all()
