"""The component on a multilabel Model: numbers that scikit-learn finds as well, and the page as a browser shows it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, multilabel_confusion_matrix

from components.artifacts import Model, PatchSet, Report
from components.errors import GeoductError
from components.evaluate import evaluate
from components.evaluate.multilabel.measure import measure
from components.evaluate.samples import Samples
from components.learning.predictor import Predictor
from components.learning.sets import held
from tests.components.evaluate import scenes
from tests.tables import rows

LEAST = 0.15
FAST: dict[str, Any] = {"bootstrap": 60, "examples": 2}
HISTORY = """epoch,train_loss,val_loss,val_macro_f1,val_macro_ap,learning_rate
0,0.7,0.6,0.3,0.4,0.001
1,0.4,0.5,0.6,0.7,0.001
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PatchSet with another order of bands than the model's, of which some pixels have no label; and a report."""
    here = tmp_path_factory.mktemp("evaluate")
    truth = scenes.land(256, 4)
    label = np.where(scenes.land(256, 9, seed=5) == 0, 255, truth).astype(np.uint8)
    names = scenes.nomenclature(5)  # class 5 occurs nowhere
    image = scenes.image_of(truth, 300)[::-1]
    patches = scenes.patchset(here / "patches.zarr", image, label, names, size=32, block=1, bands=scenes.BANDS[::-1])
    scenes.model(here / "model", patches, task="multilabel", history=HISTORY, min_fraction=LEAST)
    evaluate(here / "model", patches, here / "report", **FAST)
    return here


def answers(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Truth and logits of the test split, from labels and predictor and nothing else."""
    patches = PatchSet.open(folder / "patches.zarr")
    numbers = patches.indices("test")
    labels = patches.array("label")[...][numbers]
    kept = (labels != 255).any((1, 2))
    truth = np.stack([(labels[kept] == c).mean((1, 2)) >= LEAST for c in range(5)], 1)
    images = patches.array("image")[...][numbers][kept]
    return truth, Predictor(Model.open(folder / "model"))(np.ascontiguousarray(images[:, ::-1]))


def test_the_report_says_what_the_predictor_says(folder: Path) -> None:
    report = Report.open(folder / "report")
    truth, logits = answers(folder)
    counts = multilabel_confusion_matrix(truth, logits > 0)
    found = [
        [int(row[name]) for name in ("true_negative", "false_positive", "false_negative", "true_positive")]
        for row in rows(report.path / "decisions.csv")
    ]
    np.testing.assert_array_equal(found, counts.reshape(5, 4))
    metrics = report.metrics
    present = truth.any(0)
    macro = f1_score(truth[:, present], logits[:, present] > 0, average="macro")
    assert metrics["model"]["macro_f1"] == pytest.approx(macro, abs=1e-6)
    precision = average_precision_score(truth[:, present], logits[:, present], average="macro")
    assert metrics["model"]["macro_ap"] == pytest.approx(precision, abs=1e-6)
    assert metrics["split"] == {
        "samples": len(truth),
        "patches": len(truth),
        "decisions": truth.size,
        "blocks": len(truth),
        "classes_present": int(present.sum()),
        "classes_absent": int((~present).sum()),
    }
    assert not present[4] and present.sum() > 1


def test_baselines_are_what_they_say(folder: Path) -> None:
    """The usual classes come from the train split, and the regression, which sees spectra, knows better."""
    metrics = Report.open(folder / "report").metrics
    patches = PatchSet.open(folder / "patches.zarr")
    labels = patches.array("label")[...][patches.indices("train")]
    labels = labels[(labels != 255).any((1, 2))]
    usual = np.array([((labels == c).mean((1, 2)) >= LEAST).mean() > 0.5 for c in range(5)])
    truth, _ = answers(folder)
    found = metrics["baselines"]["majority"]
    said = np.broadcast_to(usual, truth.shape)
    assert found["micro_f1"] == pytest.approx(f1_score(truth, said, average="micro"), abs=1e-6)
    present = truth.any(0)
    assert found["macro_ap"] == pytest.approx(truth[:, present].mean(), abs=1e-6)
    assert metrics["baselines"]["logistic"]["macro_ap"] > found["macro_ap"] + 0.1
    assert set(metrics["gain"]) == {"majority", "logistic"}
    for name, gains in metrics["gain"].items():
        for key, gain in gains.items():
            assert gain["low"] <= gain["high"]
            expected = metrics["model"][key] - metrics["baselines"][name][key]
            assert gain["value"] == pytest.approx(expected, abs=2e-6)


def test_the_map_shows_the_labels_themselves_also_around_what_is_held_out(folder: Path) -> None:
    """Not one class a patch, as where a patch has but one."""
    patches, model = PatchSet.open(folder / "patches.zarr"), Model.open(folder / "model")
    samples = Samples(model, patches)
    numbers = samples.numbers("test")
    truth = held(patches, "test", LEAST)
    mosaic = measure(samples, numbers, truth, Predictor(model), {}, batch=5).mosaic
    assert (mosaic.known & ~mosaic.covered).any()
    labels, index = patches.array("label")[...], patches.index
    whole = np.full((256, 256), 255, np.uint8)
    for label, row, col in zip(labels, index["row"], index["col"], strict=True):
        whole[row : row + 32, col : col + 32] = label
    frame = whole[mosaic.top :, mosaic.left :][: mosaic.truth.shape[0], : mosaic.truth.shape[1]]
    np.testing.assert_array_equal(mosaic.truth[mosaic.known], frame[mosaic.known])


def test_tables_add_up(folder: Path) -> None:
    report = Report.open(folder / "report")
    truth, logits = answers(folder)
    classes = rows(report.path / "per_class.csv")
    assert [int(r["support"]) for r in classes] == truth.sum(0)[truth.any(0)].tolist()
    for row in classes:
        c = int(row["code"]) // 10 - 1
        assert float(row["ap"]) == pytest.approx(average_precision_score(truth[:, c], logits[:, c]), abs=1e-6)
        assert float(row["ap_low"]) <= float(row["ap_high"])
    assert sum(int(r["samples"]) for r in rows(report.path / "reliability.csv")) == truth.size
    blocks = rows(report.path / "blocks.csv")
    assert sum(int(r["samples"]) for r in blocks) == len(truth)
    wrong = sum(float(r["hamming_loss"]) * int(r["samples"]) for r in blocks) * 5
    assert wrong == pytest.approx(((logits > 0) != truth).sum(), abs=1e-3)


def test_the_same_inputs_give_the_same_bytes_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "patches.zarr", tmp_path / "elsewhere.zarr")
    shutil.copytree(folder / "model", tmp_path / "model")
    evaluate(tmp_path / "model", tmp_path / "elsewhere.zarr", tmp_path / "report", **FAST)
    assert Report.open(tmp_path / "report").digest == Report.open(folder / "report").digest


def test_the_page_needs_nothing_from_elsewhere_and_says_what_a_patch_holds(folder: Path) -> None:
    page = Report.open(folder / "report").page.read_text()
    assert not re.findall(r"<script|<link|@import|url\(", page)
    assert str(folder) not in page
    text = re.sub(r"<[^>]+>", " ", page)
    assert not re.search(r"\bnan\b", text, re.IGNORECASE) and "None" not in text
    assert "a class that covers 15\u202f% of its pixels or more" in text
    assert "holds it<small>patches</small>" in page


def test_a_report_without_its_decisions_does_not_open(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "report", tmp_path / "report")
    (tmp_path / "report" / "decisions.csv").unlink()
    with pytest.raises(GeoductError, match=r"has neither confusion\.csv nor decisions\.csv; a Report holds one"):
        Report(tmp_path / "report").validate()


def test_a_train_split_with_nothing_to_tell_apart_is_refused(tmp_path: Path) -> None:
    truth = scenes.land(128, 2)
    patches = scenes.patchset(
        tmp_path / "patches.zarr", scenes.image_of(truth, 300), truth * 0, scenes.nomenclature(2), size=32, block=1
    )
    model = scenes.model(tmp_path / "model", patches, task="multilabel", min_fraction=LEAST)
    with pytest.raises(GeoductError, match="all train patches hold the same classes"):
        evaluate(model, patches, tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("width", [1400, 480])
def test_a_browser_shows_the_page_whole(folder: Path, browser: Any, width: int) -> None:
    report = Report.open(folder / "report")
    browser.set_window_size(width, 1000)
    browser.get(report.page.as_uri())
    assert browser.get_log("browser") == []
    widths = browser.execute_script("return [...document.images].map(i => i.complete ? i.naturalWidth : -1)")
    # Intervals, map (2), reliability, curves, plans of patches and split, and the examples of the mistakes.
    assert len(widths) >= 9 and min(widths) > 0
    shown = {e.get_attribute("data-metric"): e for e in browser.find_elements("css selector", "data[data-metric]")}
    assert set(shown) == {"macro_f1", "macro_ap", "subset_accuracy", "ece"}
    for name, element in shown.items():
        assert float(element.get_attribute("value")) == report.metrics["model"][name]
    overflow = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0, "the page scrolls sideways"
    hidden = "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
    assert width < 1000 or browser.execute_script(hidden) == 0, "a table does not fit"
