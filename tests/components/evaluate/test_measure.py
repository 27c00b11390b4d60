"""One pass over held-out patches, with classifiers whose score is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from components.errors import GeoductError
from components.evaluate.baselines import class_counts, majority, regression
from components.evaluate.calibration import fit_temperature
from components.evaluate.findings import Evidence, findings
from components.evaluate.judge import compare, judge
from components.evaluate.measure import Measured, border_distance, measure
from components.evaluate.metrics import scores
from components.evaluate.mosaic import PAPER, RIGHT, WRONG
from components.evaluate.samples import Samples
from tests.components.evaluate import scenes

SIZE = 32


class World:
    """A noiseless scene, unlabelled and without data in places of its test split, and classifiers to score on it."""

    def __init__(self, folder: Path, task: str = "segmentation", names: int = 3) -> None:
        self.truth = scenes.land(256, 3)
        self.image = scenes.image_of(self.truth, noise=0)
        self.label = self.truth.copy()
        self.label[70:90, 10:40] = 255
        self.image[:, 200:220, 140:150] = 0
        known = scenes.nomenclature(names)
        self.patches = scenes.patchset(folder / "patches.zarr", self.image, self.label, known, size=SIZE, block=2)
        self.samples = Samples(scenes.model(folder / "model", self.patches, task=task), self.patches)
        self.numbers = self.samples.numbers("test")
        self.features = len(scenes.BANDS) * (2 if task == "classification" else 1)

    def classes_of(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The class of each pixel (n, y, x) of (n, band, y, x), by its nearest spectrum."""
        spectra = scenes.SPECTRA[:3]
        return np.abs(pixels[:, None].astype(int) - spectra[None, :, :, None, None]).sum(2).argmin(1)

    def perfect(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Logits that are sure of the right class."""
        return np.eye(self.samples.classes, dtype=np.float32)[self.classes_of(pixels)].transpose(0, 3, 1, 2) * 20

    def constant(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Logits that are sure of class 0."""
        logits = np.zeros((len(pixels), self.samples.classes, *pixels.shape[2:]), np.float32)
        logits[:, 0] = 20
        return logits

    def measure(self, predict: Any, batch: int = 5) -> Measured:
        baseline = majority(class_counts(self.samples, 8), self.features)
        return measure(self.samples, self.numbers, predict, {"majority": baseline}, bins=10, batch=batch, seed=0)

    def scored_truth(self) -> np.ndarray[Any, Any]:
        """Labels of every pixel that counts, in the split."""
        batch = self.samples.read(self.numbers)
        return batch.labels[(batch.labels != 255) & (batch.images != 0).all(1)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_a_perfect_classifier_scores_one_everywhere(world: World) -> None:
    found = world.measure(world.perfect)
    tally = found.tallies["model"]
    assert set(map(float, scores(tally.confusion.sum(0)).values())) == {1.0}
    assert (found.right == 1).all() and (found.sure_errors == 0).all()
    assert (found.confidence > 0.999).all() and tally.log_loss.sum() < 1e-3


def test_only_pixels_with_label_and_data_count(world: World) -> None:
    found = world.measure(world.perfect)
    truth = world.scored_truth()
    assert len(truth) < len(world.numbers) * SIZE**2  # something was left out
    confusion = found.tallies["model"].confusion.sum(0)
    np.testing.assert_array_equal(confusion.sum(1), np.bincount(truth, minlength=3))
    assert found.count.sum() == len(truth) == found.tallies["majority"].samples


def test_a_constant_classifier_scores_the_share_of_its_class(world: World) -> None:
    found = world.measure(world.constant)
    truth = world.scored_truth()
    got = scores(found.tallies["model"].confusion.sum(0))
    assert got["accuracy"] == pytest.approx((truth == 0).mean())
    assert got["macro_f1"] == pytest.approx(sk.f1_score(truth, np.zeros_like(truth), average="macro"))
    assert got["kappa"] == pytest.approx(0, abs=1e-12)


def test_counts_are_kept_by_block(world: World) -> None:
    found = world.measure(world.constant)
    index = world.patches.index
    assert found.blocks == sorted(set(index["block"][index["split"] == "test"]))
    for position, block in enumerate(found.blocks):
        batch = world.samples.read(np.flatnonzero(index["block"] == block))
        kept = batch.labels[(batch.labels != 255) & (batch.images != 0).all(1)]
        np.testing.assert_array_equal(found.tallies["model"].confusion[position].sum(1), np.bincount(kept, minlength=3))


def test_the_size_of_batches_changes_nothing(world: World) -> None:
    first, second = (world.measure(world.constant, batch) for batch in (1, 7))
    for a, b in zip(first.tallies.values(), second.tallies.values(), strict=True):
        np.testing.assert_array_equal(a.confusion, b.confusion)
        np.testing.assert_array_equal(a.bins, b.bins)
    np.testing.assert_array_equal(first.truth, second.truth)


def test_majority_is_counted_on_train_and_calibrated_there(world: World) -> None:
    counts = class_counts(world.samples, 8)
    train = world.patches.array("label")[...][world.patches.indices("train")]
    np.testing.assert_array_equal(counts, np.bincount(train[train != 255], minlength=3))
    confusion = world.measure(world.perfect).tallies["majority"].confusion.sum(0)
    assert confusion.sum(0).nonzero()[0].tolist() == [counts.argmax()]
    logits = majority(counts, 4).logits(np.zeros((4, 1)))
    np.testing.assert_allclose(np.exp(logits[:, 0]), counts / counts.sum(), rtol=1e-5)


def test_logistic_regression_solves_what_spectra_part(world: World) -> None:
    linear, count = regression(world.samples, 2000, seed=0)
    assert 2000 <= count < 2000 + len(world.samples.numbers("train"))
    batch = world.samples.read(world.numbers)
    kept = (batch.labels != 255) & (batch.images != 0).all(1)
    features = batch.images.transpose(1, 0, 2, 3)[:, kept]
    assert (linear.logits(features).argmax(0) == batch.labels[kept]).mean() > 0.999


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_regression_equals_scikit_learns_own_probabilities(tmp_path: Path, classes: int) -> None:
    from scipy.special import softmax
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    truth = scenes.land(64, classes, grain=4)
    image = scenes.image_of(truth, noise=600)
    names = scenes.nomenclature(5)  # the train split lacks class 5, and others
    patches = scenes.patchset(tmp_path / "p.zarr", image, truth, names, size=16, block=1)
    samples = Samples(scenes.model(tmp_path / "m", patches), patches)
    linear, _ = regression(samples, 10**6, seed=0)  # more than there is: every train pixel
    batch = samples.read(samples.numbers("train"))
    x, y = batch.images.transpose(0, 2, 3, 1).reshape(-1, 4).astype(float), batch.labels.ravel()
    peer = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(x, y)
    found = softmax(linear.logits(x.T), 0)
    np.testing.assert_allclose(found[np.unique(y)].T, peer.predict_proba(x), atol=2e-3)
    assert found[classes:].max() < 1e-6


def test_classification_scores_one_sample_a_patch(tmp_path: Path) -> None:
    made = World(tmp_path, "classification")
    found = made.measure(lambda pixels: np.tile(np.array([0, 5, 0], np.float32), (len(pixels), 1)))
    dominant = made.samples.dominant[made.numbers]
    assert (dominant >= 0).all()
    np.testing.assert_array_equal(found.tallies["model"].confusion.sum(0)[:, 1], np.bincount(dominant, minlength=3))
    np.testing.assert_array_equal(found.right == 1, dominant == 1)
    linear, count = regression(made.samples, 1000, seed=0)
    assert linear.weights.shape == (3, 2 * len(scenes.BANDS))
    assert count == len(made.samples.numbers("train"))


def test_border_distance_is_in_pixels_from_the_nearest_other_label() -> None:
    label = np.zeros((5, 9), np.uint8)
    label[:, 5:] = 1
    assert border_distance(label)[2].tolist() == [4, 3, 2, 1, 0, 0, 1, 2, 3]
    assert (border_distance(np.zeros((4, 4), np.uint8)) == 11).all()


def test_mosaic_puts_every_pixel_where_it_was_cut(world: World) -> None:
    mosaic = world.measure(world.perfect).mosaic
    assert mosaic.step == 1
    frame = slice(mosaic.top, mosaic.top + mosaic.covered.shape[0]), slice(mosaic.left, mosaic.left + mosaic.width)
    label, nodata = world.label[frame], (world.image[:, frame[0], frame[1]] == 0).any(0)
    np.testing.assert_array_equal(mosaic.truth[mosaic.known], label[mosaic.known])
    seen = mosaic.covered & ~nodata
    np.testing.assert_array_equal(mosaic.answer[seen], world.truth[frame][seen])
    assert (mosaic.answer[nodata] == 255).all()
    *_, wrong = mosaic.pictures(world.patches.nomenclature)
    assert not (wrong == WRONG).all(-1).any() and (wrong[seen & (label != 255)] == RIGHT).all()
    assert (wrong[~mosaic.known] == PAPER).all()


def evidence(world: World, found: Measured, **other: Any) -> Evidence:
    draws = np.ones((100, len(found.blocks)))
    model = found.tallies["model"]
    gains = {name: compare(model, found.tallies["majority"], draws, 0.95) for name in ("majority", "logistic")}
    known = {
        "measured": found,
        "judged": judge(model, draws, 0.95),
        "gains": gains,
        "nomenclature": world.patches.nomenclature,
        "unit": "pixels",
        "train": class_counts(world.samples, 8),
        "history": {},
        "level": 0.95,
        "bins": 10,
        "same_patches": True,
    }
    return Evidence(**{**known, **other})


def test_findings_say_what_was_built_in(world: World) -> None:
    def mistaken(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Takes class 2 for class 1 in half of its pixels, and is sure of it."""
        classes = world.classes_of(pixels)
        classes[:, ::2][classes[:, ::2] == 2] = 1
        return np.eye(3, dtype=np.float32)[classes].transpose(0, 3, 1, 2) * 20

    found = world.measure(mistaken)
    confusion = found.tallies["model"].confusion.sum(0)
    assert confusion[2, 1] > 0 and confusion[0, 1] == confusion[1, 2] == 0
    history = {"train_loss": [1.0, 0.5, 0.2], "val_loss": [1.1, 0.9, 1.4], "val_macro_f1": [0.5, 0.8, 0.7]}
    said = {f.title: f.text for f in findings(evidence(world, found, history=history, same_patches=False))}
    recall = confusion[2, 2] / confusion[2].sum()
    confused = said["Tell class 3 from class 2"]
    assert f"{confusion[2, 1]:,}".replace(",", "\u202f") in confused and "100.0\u202f% of all errors" in confused
    assert f"Its recall is {recall:.3f}, against 1.000" in said["Class 3 is found least"]
    assert "2 of 3" in said["The network fits its training area closer than new ground"]
    assert "80\u202f% more" in said["The network fits its training area closer than new ground"]
    assert "100.0\u202f% on average" in said["The model is overconfident"]
    assert f"rest on {len(found.blocks)} blocks" in said["Hold out more blocks"]
    assert "Make sure that the model has not seen these blocks" in said
    assert "Errors gather at the borders of the label map" not in said


def test_a_temperature_that_parts_confidence_from_being_right_is_not_advised(world: World) -> None:
    def torn(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Right in every second row, and in the others as good as sure of the next class, the right one behind it."""
        own = np.eye(3, dtype=np.float32)[world.classes_of(pixels)].transpose(0, 3, 1, 2)
        wrong = np.roll(own, 1, axis=1) + np.float32(0.495) * own
        return np.where(np.arange(own.shape[2])[:, None] % 2 == 0, own, wrong)

    found = evidence(world, world.measure(torn))
    assert fit_temperature(found.measured.logits, found.measured.truth) < 0.8
    [said] = [f.text for f in findings(found) if f.title.startswith("The model is ")]
    assert "the expected calibration error is" in said and "temperature" not in said


def test_border_and_rim_errors_are_found_where_they_are(world: World) -> None:
    def blurred(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        classes = world.classes_of(pixels)
        near = np.stack([border_distance(c.astype(np.uint8)) == 0 for c in classes])
        return np.eye(3, dtype=np.float32)[np.where(near, (classes + 1) % 3, classes)].transpose(0, 3, 1, 2) * 20

    def framed(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        classes = world.classes_of(pixels)
        classes[:, :4] = (classes[:, :4] + 1) % 3
        return np.eye(3, dtype=np.float32)[classes].transpose(0, 3, 1, 2) * 20

    at_borders, at_rims = (
        {f.title for f in findings(evidence(world, world.measure(predict)))} for predict in (blurred, framed)
    )
    assert "Errors gather at the borders of the label map" in at_borders - at_rims
    assert "Patches are worse at their edges" in at_rims - at_borders


def test_a_perfect_model_is_told_of_few_blocks_only(world: World) -> None:
    assert [f.title for f in findings(evidence(world, world.measure(world.perfect)))] == ["Hold out more blocks"]


def test_an_absent_class_is_listed(tmp_path: Path) -> None:
    made = World(tmp_path, names=4)
    said = {f.title: f.text for f in findings(evidence(made, made.measure(made.perfect)))}
    assert said["Classes that were not tested"].startswith("Class 4 is absent")
    assert "3 of 4 classes" in said["Classes that were not tested"]


def test_refused_pairs_are_named(tmp_path: Path, world: World) -> None:
    patches = world.patches
    with pytest.raises(GeoductError, match="has no band B11, which the model"):
        Samples(scenes.model(tmp_path / "a", patches, bands=("B02", "B11")), patches)
    with pytest.raises(GeoductError, match="only the model \\(test\\) has the class 40"):
        Samples(scenes.model(tmp_path / "b", patches, names=scenes.nomenclature(4)), patches)
    turned = type(patches.nomenclature)("turned", patches.nomenclature.classes[::-1])
    with pytest.raises(GeoductError, match="stand in the order 30, 20, 10 in the model and 10, 20, 30"):
        Samples(scenes.model(tmp_path / "c", patches, names=turned), patches)
    with pytest.raises(GeoductError, match="has no patch in the split 'val'"):
        empty = scenes.patchset(
            tmp_path / "p.zarr", world.image, world.label, patches.nomenclature, size=32, block=2, splits="train test"
        )
        Samples(scenes.model(tmp_path / "d", empty), empty).numbers("val")


def test_bands_are_taken_by_name_whatever_their_place(tmp_path: Path, world: World) -> None:
    turned = scenes.model(tmp_path / "m", world.patches, bands=("B08", "B02"))
    samples = Samples(turned, world.patches)
    images = samples.read(world.numbers[:2]).images
    np.testing.assert_array_equal(samples.seen(images), images[:, [3, 0]])
