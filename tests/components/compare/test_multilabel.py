"""The component on two multilabel Models whose answers are known, beside scikit-learn's scores."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch import nn

from components.artifacts import Comparison, Model, PatchSet
from components.artifacts.model import Architecture
from components.compare import compare
from components.errors import GeoductError
from components.evaluate import evaluate
from components.learning import networks
from components.learning.predictor import Predictor
from tests.components.evaluate import scenes
from tests.tables import rows

CLASSES, LEAST = 4, 0.1
FAST: dict[str, Any] = {"bootstrap": 200, "examples": 2}


class NearestShare(nn.Module):
    """A class is said to be in a patch where its spectrum is the nearest in at least `least` of the pixels."""

    def __init__(self, bands: int, classes: int, least: float) -> None:
        super().__init__()
        self.linear, self.least = nn.Conv2d(bands, classes, 1), least

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        nearest = self.linear(image).argmax(1, keepdim=True) == torch.arange(self.linear.out_channels)[:, None, None]
        return 20 * (nearest.float().mean((2, 3)) - self.least)


def spectral(
    path: Path, patches: PatchSet, *, lost: tuple[str, ...] = (), least: float = LEAST, task: str = "multilabel"
) -> Model:
    """A sealed Model that knows the true spectra; of the bands `lost` it makes nothing."""
    return scenes.model(
        path,
        patches,
        task=task,
        architecture=Architecture("share", {"bands": len(scenes.BANDS), "classes": CLASSES, "least": least}),
        weights=scenes.nearest(patches, CLASSES, lost),
        min_fraction=least if task == "multilabel" else None,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model that knows all bands, and one that is blind to two, on patches of twelve test blocks."""
    here = tmp_path_factory.mktemp("compare")
    truth = scenes.land(256, CLASSES)
    label = np.where(scenes.land(256, 9, seed=5) == 0, 255, truth).astype(np.uint8)
    image = scenes.image_of(truth, 150)
    patches = scenes.patchset(here / "patches.zarr", image, label, scenes.nomenclature(CLASSES), size=32, block=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.FAMILIES, "share", NearestShare)
        spectral(here / "good", patches)
        spectral(here / "poor", patches, lost=("B08", "B04"))
        compare(here / "poor", here / "good", patches, here / "found", **FAST)
        compare(here / "good", here / "good", patches, here / "same", **FAST)
        yield here


def answers(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth of the test split, and the logits of the poor and the good model."""
    patches = PatchSet.open(folder / "patches.zarr")
    numbers = patches.indices("test")
    labels = patches.array("label")[...][numbers]
    kept = (labels != 255).any((1, 2))
    truth = np.stack([(labels[kept] == c).mean((1, 2)) >= LEAST for c in range(CLASSES)], 1)
    pixels = patches.array("image")[...][numbers][kept]
    poor, good = (Predictor(Model.open(folder / name))(pixels) for name in ("poor", "good"))
    return truth, poor, good


def test_the_better_model_is_found_better_by_scores_that_are_scikit_learns(folder: Path) -> None:
    found = Comparison.open(folder / "found")
    truth, poor, good = answers(folder)
    for who, logits in (("baseline", poor), ("candidate", good)):
        scores = found.metrics[who]
        present = truth.any(0)
        f1 = f1_score(truth[:, present], logits[:, present] > 0, average="macro")
        ap = average_precision_score(truth[:, present], logits[:, present], average="macro")
        assert (scores["macro_f1"], scores["macro_ap"]) == pytest.approx((f1, ap), abs=1e-6)
    gain = found.metrics["difference"]["macro_f1"]
    assert 0 < gain["low"] < gain["value"] < gain["high"]
    text = found.page.read_text()
    assert "<h1>The candidate is better than the baseline</h1>" in text
    assert "The mean average precision is" in text and "AP<small>candidate" in text
    assert not re.findall(r"<script|<link|@import|url\(", text)


def test_outcomes_are_counted_a_decision_at_a_time(folder: Path) -> None:
    truth, poor, good = answers(folder)
    theirs, ours = (poor > 0) == truth, (good > 0) == truth
    listed = rows(folder / "found" / "outcomes.csv")
    assert [int(r["candidate"]) for r in listed] == (ours & ~theirs).sum(0)[truth.any(0)].tolist()
    outcomes = Comparison.open(folder / "found").metrics["outcomes"]
    assert outcomes["both"] == pytest.approx((ours & theirs).mean(), abs=1e-6)
    assert outcomes["baseline"] == pytest.approx((theirs & ~ours).mean(), abs=1e-6)
    hamming = Comparison.open(folder / "found").metrics["difference"]["hamming_loss"]["value"]
    assert hamming == pytest.approx(outcomes["baseline"] - outcomes["candidate"], abs=3e-6)


def test_a_model_beside_itself_differs_in_nothing(folder: Path) -> None:
    found = Comparison.open(folder / "same")
    assert all(value == 0 for gain in found.metrics["difference"].values() for value in gain.values())
    assert "No difference at all" in found.page.read_text()


def test_scores_are_those_of_evaluate(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(networks.FAMILIES, "share", NearestShare)
    evaluate(folder / "good", folder / "patches.zarr", tmp_path / "report", bootstrap=200, examples=1)
    alone = Comparison(tmp_path / "report").metrics
    assert alone["model"] == Comparison.open(folder / "found").metrics["candidate"]


def test_what_cannot_be_compared_is_refused_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    patches = PatchSet.open(folder / "patches.zarr")
    other = spectral(tmp_path / "other", patches, least=0.2)
    with pytest.raises(
        GeoductError, match=r"from a share of 0\.1 of its pixels on, the candidate .* from 0\.2; expected"
    ):
        compare(folder / "good", other, patches, tmp_path / "out")
    single = spectral(tmp_path / "single", patches, task="classification")
    with pytest.raises(GeoductError, match=r"does multilabel and the candidate .* classification; expected two"):
        compare(folder / "good", single, patches, tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"other", "single"}


@pytest.mark.parametrize("width", [1400, 480])
def test_a_browser_shows_the_page_whole(folder: Path, browser: Any, width: int) -> None:
    browser.set_window_size(width, 1000)
    browser.get(Comparison.open(folder / "found").page.as_uri())
    assert browser.get_log("browser") == []
    widths = browser.execute_script("return [...document.images].map(i => i.complete ? i.naturalWidth : -1)")
    assert len(widths) >= 4 and min(widths) > 0  # the chart and the three panels, at least
    overflow = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0, "the page scrolls sideways"
    hidden = "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
    assert width < 1000 or browser.execute_script(hidden) == 0, "a table does not fit"
