"""From probabilities to classes and percent."""

from __future__ import annotations

import numpy as np

from components.predict.blending import decide


def test_the_likeliest_class_and_its_percent() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(7), (20, 30)).transpose(2, 0, 1).astype(np.float32)
    classes, confidence = decide(probabilities)
    np.testing.assert_array_equal(classes, probabilities.argmax(axis=0))
    assert np.abs(confidence - 100 * probabilities.max(axis=0)).max() <= 0.502


def test_of_equal_classes_the_first_and_of_half_a_percent_the_lower() -> None:
    uniform = np.full((8, 1, 3), 0.125, np.float32)
    uniform[:, 0, 1] += 1e-6  # what the last bit of a sum of weights may do
    uniform[:, 0, 2] -= 1e-6
    classes, confidence = decide(uniform)
    assert (classes == 0).all() and (confidence == 12).all()


def test_certainty_is_a_hundred() -> None:
    classes, confidence = decide(np.array([[[0.0]], [[1.0 + 1e-6]]], np.float32))
    assert classes[0, 0] == 1 and confidence[0, 0] == 100
