"""The predictor's logits are the network's on normalised pixels, whatever lies in nodata and in the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from components.artifacts.model import Description, Model, Task, write_model
from components.artifacts.nomenclature import LandClass, Nomenclature
from components.errors import GeoductError
from components.learning.networks import build, design, weights_of
from components.learning.predictor import Predictor

LAND = Nomenclature("two", (LandClass("1", "land", "#009e73"), LandClass("2", "water", "#0072b2")))
BANDS = ("B04", "B08", "B11")


def model_of(path: Path, task: Task = "segmentation") -> Model:
    torch.manual_seed(0)
    encoder = "tu-test_resnet" if task == "segmentation" else "test_resnet"
    architecture = design(task, encoder, bands=len(BANDS), classes=len(LAND), decoder=(8, 8, 8, 8, 8))
    description = Description(
        task=task,
        architecture=architecture,
        bands=BANDS,
        statistics={b: {"mean": 1000.0 * (i + 1), "std": 400.0} for i, b in enumerate(BANDS)},
        normalisation="standardise",
        nomenclature=LAND,
        size=32,
        patches="sha256:abc",
    )
    write_model(path, description, weights_of(build(architecture)))
    Model(path).seal({})
    return Model.open(path)


def pixels(size: int = 32, n: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(1, 5000, (n, len(BANDS), size, size), dtype=np.uint16)


def test_logits_are_those_of_the_network_on_standardised_pixels(tmp_path: Path) -> None:
    predictor = Predictor(model_of(tmp_path / "m"))
    dn = pixels()
    mean = np.array([1000.0, 2000.0, 3000.0])[:, None, None]
    expected = predictor.network(torch.from_numpy(((dn - mean) / 400.0).astype(np.float32)))
    found = predictor(dn)
    assert found.shape == (3, 2, 32, 32) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_nodata_counts_as_the_mean(tmp_path: Path) -> None:
    predictor = Predictor(model_of(tmp_path / "m"))
    holes, filled = pixels(), pixels()
    holes[:, :, 4:9, 4:9] = 0
    filled[:, :, 4:9, 4:9] = np.array([1000, 2000, 3000], np.uint16)[None, :, None, None]
    assert np.isfinite(predictor(holes)).all()
    np.testing.assert_allclose(predictor(holes), predictor(filled), rtol=1e-5, atol=1e-5)


def test_the_same_pixels_give_the_same_logits_in_any_batch_and_at_any_size(tmp_path: Path) -> None:
    predictor = Predictor(model_of(tmp_path / "m"))
    dn = pixels(size=20)
    together = predictor(dn)
    assert together.shape == (3, 2, 20, 20)
    np.testing.assert_array_equal(predictor(dn), together)
    np.testing.assert_allclose(np.concatenate([predictor(p[None]) for p in dn]), together, rtol=1e-4, atol=1e-4)


def test_a_classifier_gives_a_row_a_patch(tmp_path: Path) -> None:
    assert Predictor(model_of(tmp_path / "m", "classification"))(pixels()).shape == (3, 2)


def test_pixels_of_another_layout_are_refused(tmp_path: Path) -> None:
    predictor = Predictor(model_of(tmp_path / "m"))
    with pytest.raises(GeoductError, match="takes pixels"):
        predictor(pixels()[:, :2])
    with pytest.raises(GeoductError, match="takes pixels"):
        predictor(pixels().astype(np.float32))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = model_of(tmp_path / "m")
    write_model(model.path, model.description, {**model.weights(), "stray": np.zeros(1, np.float32)})
    with pytest.raises(GeoductError, match=r"model\.safetensors has a tensor 'stray'"):
        Predictor(Model(model.path))


def test_an_answer_that_is_no_number_is_told(tmp_path: Path) -> None:
    model = model_of(tmp_path / "m")
    predictor = Predictor(model)
    with torch.no_grad():
        next(predictor.network.parameters()).fill_(float("nan"))
    with pytest.raises(
        GeoductError, match=r"m answers with what is no number \(NaN or infinite\); it has to be trained"
    ):
        predictor(pixels())
