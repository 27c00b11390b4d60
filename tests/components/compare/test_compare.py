"""The component as it is run, on models whose answers are known, and its page as a browser shows it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from components.artifacts import Comparison, Model, PatchSet, Report
from components.artifacts.model import Architecture
from components.compare import compare
from components.errors import GeoductError
from components.evaluate import evaluate
from components.learning import networks
from tests.components.evaluate import scenes
from tests.tables import rows

CLASSES = 4
FAST: dict[str, Any] = {"bootstrap": 200, "examples": 2}


class NearestSpectrum(nn.Module):
    """Each pixel's class is that of the nearest of its spectra, by one convolution that sees one pixel."""

    def __init__(self, bands: int, classes: int, pooled: bool) -> None:
        super().__init__()
        self.linear = nn.Conv2d(bands, classes, 1)
        self.pooled = pooled

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(image)
        return logits.mean((2, 3)) if self.pooled else logits


def spectral(path: Path, patches: PatchSet, *, task: str = "segmentation", lost: tuple[str, ...] = ()) -> Model:
    """A sealed Model that knows the true spectra; of the bands `lost` it makes nothing."""
    arguments = {"bands": len(scenes.BANDS), "classes": CLASSES, "pooled": task == "classification"}
    weights = scenes.nearest(patches, CLASSES, lost)
    return scenes.model(path, patches, task=task, architecture=Architecture("nearest", arguments), weights=weights)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Patches in 12 test blocks; a model that knows all bands, and one that is blind to two: worse by construction."""
    here = tmp_path_factory.mktemp("compare")
    truth = scenes.land(256, CLASSES)
    label = np.where(scenes.land(256, 9, seed=5) == 0, 255, truth).astype(np.uint8)
    patches = scenes.patchset(
        here / "patches.zarr", scenes.image_of(truth, 300), label, scenes.nomenclature(CLASSES), size=32, block=1
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.FAMILIES, "nearest", NearestSpectrum)
        for task in ("segmentation", "classification"):
            spectral(here / f"good-{task}", patches, task=task)
            spectral(here / f"poor-{task}", patches, task=task, lost=("B08", "B04"))
            compare(here / f"poor-{task}", here / f"good-{task}", patches, here / task, **FAST)
        compare(here / "good-segmentation", here / "poor-segmentation", patches, here / "turned", **FAST)
        compare(here / "good-segmentation", here / "good-segmentation", patches, here / "same", **FAST)
        yield here


def heading(comparison: Comparison) -> str:
    found = re.search(r"<h1>(.*?)</h1>", comparison.page.read_text())
    assert found
    return found[1]


def test_what_is_better_by_construction_is_found_better(folder: Path) -> None:
    found = Comparison.open(folder / "segmentation")
    gain = found.metrics["difference"]["macro_f1"]
    assert 0 < gain["low"] < gain["value"] < gain["high"]
    assert heading(found) == "The candidate is better than the baseline"
    accuracy = found.metrics["difference"]["accuracy"]["value"]
    outcomes = found.metrics["outcomes"]
    assert accuracy == pytest.approx(outcomes["candidate"] - outcomes["baseline"], abs=3e-6)
    assert sum(outcomes.values()) == pytest.approx(1, abs=3e-6)


def test_a_transformer_of_terratorch_is_compared_like_any_other(folder: Path, tmp_path: Path) -> None:
    patches = PatchSet.open(folder / "patches.zarr")
    exactness = torch.get_float32_matmul_precision()
    scenes.model(tmp_path / "random", patches, architecture=scenes.transformer(patches.size, classes=CLASSES))
    assert torch.get_float32_matmul_precision() == exactness
    compare(folder / "good-segmentation", tmp_path / "random", patches, tmp_path / "out", **FAST)
    found = Comparison.open(tmp_path / "out")
    assert heading(found) == "The baseline is better than the candidate"
    text = found.page.read_text()
    assert "terratorch (backbone prithvi_eo_v2_tiny_tl, decoder UNetDecoder)" in text
    assert f"worse in each of the {CLASSES} classes present" in text


def test_turned_round_every_difference_changes_its_sign(folder: Path) -> None:
    there, back = (Comparison.open(folder / name) for name in ("segmentation", "turned"))
    assert heading(back) == "The baseline is better than the candidate"
    for name, gain in there.metrics["difference"].items():
        other = back.metrics["difference"][name]
        assert (-gain["value"], -gain["high"], -gain["low"]) == pytest.approx(
            (other["value"], other["low"], other["high"]), abs=2e-6
        )
    assert there.metrics["outcomes"]["candidate"] == back.metrics["outcomes"]["baseline"]


def test_a_model_differs_from_itself_by_exactly_nothing(folder: Path) -> None:
    found = Comparison.open(folder / "same")
    assert all(gain == {"value": 0, "low": 0, "high": 0} for gain in found.metrics["difference"].values())
    assert found.metrics["outcomes"]["candidate"] == found.metrics["outcomes"]["baseline"] == 0
    for row in rows(found.path / "per_class.csv"):
        assert {float(row[f"f1_{part}"]) for part in ("difference", "low", "high")} == {0}
    assert heading(found) == "No difference at all"


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_each_side_scores_as_evaluate_scores_it(folder: Path, tmp_path: Path, task: str) -> None:
    metrics = Comparison.open(folder / task).metrics
    for who, name in (("baseline", "poor"), ("candidate", "good")):
        evaluate(folder / f"{name}-{task}", folder / "patches.zarr", tmp_path / name, bootstrap=10, sample=200)
        assert metrics[who] == Report.open(tmp_path / name).metrics["model"]


def test_tables_add_up(folder: Path) -> None:
    found = Comparison.open(folder / "segmentation")
    for row in rows(found.path / "per_class.csv"):
        for score in ("f1", "iou"):
            sides = float(row[f"{score}_candidate"]) - float(row[f"{score}_baseline"])
            assert float(row[f"{score}_difference"]) == pytest.approx(sides, abs=2e-6)
            assert float(row[f"{score}_low"]) <= float(row[f"{score}_difference"]) <= float(row[f"{score}_high"])
    total = found.metrics["split"]["samples"]
    counted = sum(int(r[k]) for r in rows(found.path / "outcomes.csv") for k in r if k not in ("code", "name"))
    assert counted == total == sum(int(r["samples"]) for r in rows(found.path / "blocks.csv"))
    listed = {r["score"]: float(r["difference"]) for r in rows(found.path / "scores.csv")}
    assert listed == {name: gain["value"] for name, gain in found.metrics["difference"].items()}


def test_the_same_inputs_give_the_same_bytes_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    for name in ("poor-classification", "good-classification", "patches.zarr"):
        shutil.copytree(folder / name, tmp_path / name)
    compare(
        tmp_path / "poor-classification",
        tmp_path / "good-classification",
        tmp_path / "patches.zarr",
        tmp_path / "out",
        **FAST,
    )
    assert Comparison.open(tmp_path / "out").digest == Comparison.open(folder / "classification").digest


def test_models_trained_elsewhere_are_compared_with_a_caution(folder: Path, tmp_path: Path) -> None:
    truth = scenes.land(128, CLASSES, seed=3)
    other = scenes.patchset(
        tmp_path / "other.zarr", scenes.image_of(truth, 300), truth, scenes.nomenclature(CLASSES), size=32, block=1
    )
    poor = spectral(tmp_path / "poor", other, lost=("B08", "B04"))
    compare(poor, folder / "good-segmentation", folder / "patches.zarr", tmp_path / "out", **FAST)
    found = Comparison.open(tmp_path / "out")
    assert "The baseline names another PatchSet" in found.page.read_text()
    assert heading(found).endswith("if neither has seen these blocks")
    assert "names another PatchSet" not in Comparison.open(folder / "segmentation").page.read_text()


def test_what_cannot_be_compared_is_refused_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    patches = PatchSet.open(folder / "patches.zarr")
    good = folder / "good-segmentation"
    with pytest.raises(GeoductError, match=r"does segmentation and the candidate .* classification; expected two"):
        compare(good, folder / "good-classification", patches, tmp_path / "out")
    names = scenes.model(tmp_path / "names", patches, names=scenes.nomenclature(5))
    with pytest.raises(GeoductError, match="different nomenclatures"):
        compare(good, names, patches, tmp_path / "out")
    bands = scenes.model(tmp_path / "bands", patches, bands=("B02", "B99"))
    with pytest.raises(GeoductError, match="has no band B99"):
        compare(bands, good, patches, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bands", "names"]


@pytest.mark.parametrize("width", [1400, 480])
@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_a_browser_shows_the_page_whole(folder: Path, browser: Any, task: str, width: int) -> None:
    found = Comparison.open(folder / task)
    text = found.page.read_text()
    assert not re.findall(r"<script|<link|@import|url\(", text) and str(folder) not in text
    browser.set_window_size(width, 1000)
    browser.get(found.page.as_uri())
    assert browser.get_log("browser") == []
    widths = browser.execute_script("return [...document.images].map(i => i.complete ? i.naturalWidth : -1)")
    assert len(widths) >= 7 and min(widths) > 0  # the chart, the five maps, and an example at least
    shown = {e.get_attribute("data-metric"): e for e in browser.find_elements("css selector", "data[data-metric]")}
    assert set(shown) == {"macro_f1", "miou", "accuracy", "ece"}
    for name, element in shown.items():
        value = found.metrics["difference"][name]["value"]
        assert float(element.get_attribute("value")) == value
        assert float(element.text.replace("−", "-")) == pytest.approx(value, abs=5.1e-4)
    overflow = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0, "the page scrolls sideways"
