"""The component as it is run: a Report from a Model and a PatchSet, and the page as a browser shows it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.artifacts import Model, PatchSet, Report
from components.errors import GeoductError
from components.evaluate import evaluate
from components.learning.predictor import Predictor
from tests.components.evaluate import scenes
from tests.tables import rows

FAST: dict[str, Any] = {"bootstrap": 100, "sample": 500, "examples": 2}
HISTORY = """epoch,train_loss,val_loss,val_macro_f1,val_accuracy,learning_rate
0,1.5,1.4,0.3,0.4,0.001
1,0.9,1.0,0.6,0.7,0.001
2,0.4,1.2,0.5,0.6,0.001
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PatchSet with another order of bands than the model's and one band more, two models, two reports."""
    here = tmp_path_factory.mktemp("evaluate")
    truth = scenes.land(192, 4)
    label = np.where(scenes.land(192, 9, seed=5) == 0, 255, truth).astype(np.uint8)
    image = np.concatenate([scenes.image_of(truth, 300)[::-1], np.full((1, 192, 192), 7, np.uint16)])
    bands = (*scenes.BANDS[::-1], "B12")
    names = scenes.nomenclature(5)  # class 5 occurs nowhere
    patches = scenes.patchset(here / "patches.zarr", image, label, names, size=32, block=1, bands=bands)
    for task in ("segmentation", "classification"):
        scenes.model(here / task, patches, task=task, history=HISTORY)
        evaluate(here / task, patches, here / f"{task}-report", **FAST)
    return here


@pytest.fixture(params=["segmentation", "classification"])
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def counted(folder: Path, task: str) -> np.ndarray[Any, Any]:
    """The confusion matrix of the test split, counted here from the predictor's logits and nothing else."""
    patches, model = PatchSet.open(folder / "patches.zarr"), Model.open(folder / task)
    numbers = patches.indices("test")
    images, labels = patches.array("image")[...][numbers], patches.array("label")[...][numbers]
    answers = Predictor(model)(np.ascontiguousarray(images[:, [3, 2, 1, 0]])).argmax(1)
    if task == "segmentation":
        kept = labels != 255
        truth, answer = labels[kept], answers[kept]
    else:
        dominant = patches.index["dominant"].to_numpy()[numbers]
        truth, answer = dominant[dominant >= 0], answers[dominant >= 0]
    confusion = np.zeros((5, 5), int)
    np.add.at(confusion, (truth, answer), 1)
    return confusion


def test_the_report_counts_what_the_predictor_says(folder: Path, task: str) -> None:
    report, confusion = Report.open(folder / f"{task}-report"), counted(folder, task)
    found = np.array([int(r["samples"]) for r in rows(report.path / "confusion_counts.csv")]).reshape(5, 5)
    np.testing.assert_array_equal(found, confusion)
    model = report.metrics["model"]
    assert model["accuracy"] == pytest.approx(np.trace(confusion) / confusion.sum(), abs=1e-6)
    f1 = [2 * confusion[c, c] / (confusion[c].sum() + confusion[:, c].sum()) for c in range(5) if confusion[c].sum()]
    assert model["macro_f1"] == pytest.approx(np.mean(f1), abs=1e-6)
    assert report.metrics["split"]["samples"] == confusion.sum()
    assert report.metrics["split"]["classes_absent"] == 5 - len(f1) > 0


def test_metrics_hold_intervals_and_gains_that_fit_their_scores(folder: Path, task: str) -> None:
    metrics = Report.open(folder / f"{task}-report").metrics
    assert set(metrics["baselines"]) == set(metrics["gain"]) == {"majority", "logistic"}
    for name, ends in metrics["interval"].items():
        assert ends["low"] <= ends["high"]
        assert name in metrics["model"]
    for name, gains in metrics["gain"].items():
        for key, gain in gains.items():
            expected = metrics["model"][key] - metrics["baselines"][name][key]
            assert gain["value"] == pytest.approx(expected, abs=2e-6)
            assert gain["low"] <= gain["high"]
    assert metrics["baselines"]["logistic"]["accuracy"] > metrics["baselines"]["majority"]["accuracy"]


def test_tables_add_up(folder: Path, task: str) -> None:
    report, confusion = Report.open(folder / f"{task}-report"), counted(folder, task)
    parts = rows(report.path / "confusion.csv")
    present = [c for c in range(5) if confusion[c].sum()]
    assert len(parts) == 100 * len(present)
    for c in present:
        hits = sum(r["actual"] == r["predicted"] == f"class {c + 1}" for r in parts)
        assert hits == pytest.approx(100 * confusion[c, c] / confusion[c].sum(), abs=1)
    classes = rows(report.path / "per_class.csv")
    assert [int(r["support"]) for r in classes] == confusion.sum(1)[present].tolist()
    assert all(float(r["f1_low"]) <= float(r["f1_high"]) for r in classes)
    total = confusion.sum()
    assert sum(int(r["samples"]) for r in rows(report.path / "reliability.csv")) == total
    assert sum(int(r["samples"]) for r in rows(report.path / "blocks.csv")) == total
    for row in rows(report.path / "baselines.csv"):
        where = (
            report.metrics["model"] if row["classifier"] == "model" else report.metrics["baselines"][row["classifier"]]
        )
        assert float(row["value"]) == where[row["score"]]


def test_the_page_needs_nothing_from_elsewhere(folder: Path, task: str) -> None:
    page = Report.open(folder / f"{task}-report").page.read_text()
    assert not re.findall(r"<script|<link|@import|url\(", page)
    assert set(re.findall(r'src="([a-z]+:[a-z/+]+)', page)) <= {
        "data:image/png",
        "data:image/jpeg",
        "data:image/svg+xml",
    }
    assert str(folder) not in page
    text = re.sub(r"<[^>]+>", " ", page)
    assert not re.search(r"\bnan\b", text, re.IGNORECASE) and "None" not in text


def test_the_same_inputs_give_the_same_bytes_wherever_they_lie(folder: Path, tmp_path: Path, task: str) -> None:
    shutil.copytree(folder / "patches.zarr", tmp_path / "elsewhere.zarr")
    shutil.copytree(folder / task, tmp_path / "model")
    evaluate(tmp_path / "model", tmp_path / "elsewhere.zarr", tmp_path / "report", **FAST)
    assert Report.open(tmp_path / "report").digest == Report.open(folder / f"{task}-report").digest


def test_another_split_can_be_scored(folder: Path, tmp_path: Path) -> None:
    evaluate(folder / "classification", folder / "patches.zarr", tmp_path / "val", split="val", **FAST)
    index = PatchSet.open(folder / "patches.zarr").index
    scored = ((index["split"] == "val") & (index["dominant"] >= 0)).sum()
    assert Report.open(tmp_path / "val").metrics["split"]["samples"] == scored


def test_a_refused_pair_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    patches = PatchSet.open(folder / "patches.zarr")
    model = scenes.model(tmp_path / "model", patches, bands=("B02", "B99"))
    with pytest.raises(GeoductError, match="has no band B99"):
        evaluate(model, patches, tmp_path / "report")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_report_with_a_broken_file_does_not_open(folder: Path, tmp_path: Path) -> None:
    def broken(name: str, content: str | None) -> Report:
        path = tmp_path / f"{name}-{content is None}-{len(content or '')}"
        shutil.copytree(folder / "classification-report", path)
        (path / name).unlink() if content is None else (path / name).write_text(content)
        return Report(path)

    broken("metrics.json", '{"model": {"accuracy": 1}}').validate()
    for name, content, message in (
        ("metrics.json", "{", "missing or not JSON"),
        ("metrics.json", "[]", "holds a list"),
        ("metrics.json", '{"model": {"accuracy": NaN}}', "'model.accuracy' is not a number"),
        ("metrics.json", '{"model": {"name": "x"}}', "'model.name' is not a number"),
        ("blocks.csv", None, "has no blocks.csv"),
        ("report.html", None, "has no report.html"),
    ):
        with pytest.raises(GeoductError, match=message):
            broken(name, content).validate()


@pytest.mark.parametrize("width", [1400, 480])
def test_a_browser_shows_the_page_whole(folder: Path, browser: Any, task: str, width: int) -> None:
    report = Report.open(folder / f"{task}-report")
    browser.set_window_size(width, 1000)
    browser.get(report.page.as_uri())
    assert browser.get_log("browser") == []
    widths = browser.execute_script("return [...document.images].map(i => i.complete ? i.naturalWidth : -1)")
    # Intervals, map (4), reliability, curves, plans of blocks and split, and the examples of both kinds.
    assert len(widths) >= 9 and min(widths) > 0
    shown = {e.get_attribute("data-metric"): e for e in browser.find_elements("css selector", "data[data-metric]")}
    assert set(shown) == {"macro_f1", "miou", "accuracy", "ece"}
    for name, element in shown.items():
        assert float(element.get_attribute("value")) == report.metrics["model"][name]
        assert float(element.text) == pytest.approx(report.metrics["model"][name], abs=5.1e-4)
    overflow = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0, "the page scrolls sideways"


def test_metrics_are_what_dvc_takes_for_metrics(folder: Path, task: str) -> None:
    def leaves(value: Any) -> Iterator[Any]:
        for inner in value.values():
            yield from leaves(inner) if isinstance(inner, dict) else [inner]

    stored = json.loads((folder / f"{task}-report" / "metrics.json").read_text())
    assert all(isinstance(leaf, int | float) and np.isfinite(leaf) for leaf in leaves(stored))
