"""Weights and draws for rare classes, against values worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.learning.balance import class_weights, content, labelled, patch_weights
from components.learning.datamodule import PatchDataModule
from tests.components.train.worlds import land, patchset


def test_class_weights_go_with_the_inverse_square_root_and_average_to_one() -> None:
    fractions = np.array([[0.8, 0.1, 0.0], [0.0, 0.1, 0.0]])  # shares 0.8, 0.2, 0
    weights = class_weights(fractions)
    assert weights[0] / weights[1] == pytest.approx(0.5)
    assert weights[2] == 0
    assert 0.8 * weights[0] + 0.2 * weights[1] == pytest.approx(1.0)


def test_patches_are_drawn_by_their_rarest_class() -> None:
    # Class 0 is in 4 of 4 patches, class 1 in 2, class 2 in 1: the median share is 1/2, so only class 2 is repeated.
    fractions = np.array([[1.0, 0, 0], [0.9, 0.1, 0], [0.9, 0.05, 0.05], [1.0, 0, 0]])
    np.testing.assert_allclose(patch_weights(fractions), [1, 1, 2**0.5, 1])


def test_the_sampler_draws_the_rare_class_more_often(tmp_path: Path) -> None:
    image, label = land(60, 16, 3, seed=0)
    label[:] = np.where(label == 2, 0, label)
    label[:3, :4] = 2
    label[40], label[50] = 2, 2  # so that val and test hold it too
    patches = patchset(tmp_path / "patches", image, label)

    def share(sampler: bool) -> float:
        data = PatchDataModule(patches, task="segmentation", batch_size=6, sampler=sampler, augment=False)
        loader = data.train_dataloader()
        drawn = np.concatenate([batch["index"].numpy() for _ in range(20) for batch in loader])
        assert len(drawn) == 20 * 36
        return float((drawn < 3).mean())

    assert share(sampler=False) == pytest.approx(3 / 36)
    factor = (np.median([1.0, 34 / 36, 3 / 36]) / (3 / 36)) ** 0.5
    assert share(sampler=True) == pytest.approx(3 * factor / (33 + 3 * factor), rel=0.25)


def test_content_is_of_labelled_patches_alone(tmp_path: Path) -> None:
    image, label = land(10, 16, 3, seed=0)
    label[1] = 255
    label[2], label[2, :4] = 0, 1
    patches = patchset(tmp_path / "patches", image, label)
    assert labelled(patches, "train").tolist() == [0, 2, 3, 4, 5]
    np.testing.assert_allclose(content(patches, "train", "segmentation")[1], [0.75, 0.25, 0])
    np.testing.assert_allclose(content(patches, "train", "classification")[1], [1, 0, 0])
