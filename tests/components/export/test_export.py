"""The component as it is run: files that other runtimes run as the model answers, or nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from components.artifacts import Export, Model, PatchSet
from components.artifacts.model import Architecture, Description, write_model
from components.errors import GeoductError
from components.export import export
from components.export.check import check
from components.learning import networks
from components.learning.predictor import Predictor
from tests.components.evaluate import scenes


class Positional(nn.Module):
    """A network of one size, as a transformer with learnt positions is, which gives a class to each pixel."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.linspace(-1, 1, size * size).reshape(1, 1, size, size))
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(image + self.positions)
        return logits


class Neighbours(nn.Module):
    """A network of any size that gives a class to each pixel by its neighbours, or one to the patch."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
        self.pooled = pooled

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.body(image)
        return logits.mean((2, 3)) if self.pooled else logits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model of each kind and what it was exported to."""
    here = tmp_path_factory.mktemp("export")
    truth = scenes.land(128, 3)
    patches = scenes.patchset(
        here / "patches.zarr", scenes.image_of(truth, 300), truth, scenes.nomenclature(3), size=32, block=1
    )
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        for family in (Positional, Neighbours):
            patch.setitem(networks.FAMILIES, family.__name__, family)
        made(here / "segmentation", patches, Architecture("Neighbours", {"pooled": False}))
        made(here / "classification", patches, Architecture("Neighbours", {"pooled": True}), task="classification")
        made(here / "positional", patches, Architecture("Positional", {"size": 32}), normalisation="percentile")
        made(
            here / "multilabel",
            patches,
            Architecture("Neighbours", {"pooled": True}),
            task="multilabel",
            min_fraction=0.05,
        )
        for name in ("segmentation", "classification", "positional", "multilabel"):
            export(here / name, here / f"{name}-export")
        yield here


def made(path: Path, patches: PatchSet, architecture: Architecture, **said: Any) -> Model:
    """A sealed Model of random weights."""
    description = Description(
        architecture=architecture,
        bands=scenes.BANDS,
        statistics=patches.statistics,
        nomenclature=patches.nomenclature,
        size=patches.size,
        patches=patches.digest,
        **{"task": "segmentation", "normalisation": "standardise", **said},
    )
    write_model(path, description, networks.weights_of(networks.build(architecture)))
    Model(path).seal({"component": "test"})
    return Model.open(path)


def pixels(*shape: int) -> np.ndarray[Any, Any]:
    """DN over the whole range, a corner of them without data."""
    made = np.random.default_rng(7).integers(1, 6000, shape).astype(np.uint16)
    made[:, :, :9, :5] = 0
    made[:, 1, 20:22] = 0
    return made


def compare_both(model: Model, exported: Export, *shape: int) -> None:
    """Run both files and the model on pixels of a shape; the answers are equal, and rest on the pixels."""
    given = pixels(*shape)
    wanted = Predictor(model)(given)
    session = onnxruntime.InferenceSession(exported.onnx)
    (by_onnx,) = session.run(None, {"pixels": given})
    by_torch = torch.export.load(exported.torch).module()(torch.from_numpy(given)).detach().numpy()
    scale = np.abs(wanted).max()
    for found in (by_onnx, by_torch):
        assert found.shape == wanted.shape and found.dtype == np.float32
        assert np.abs(found - wanted).max() < 1e-4 * scale
    changed = given.copy()
    changed[:, :, 9:, 5:] += 500
    (moved,) = session.run(None, {"pixels": changed})
    assert np.abs(moved - by_onnx).max() > 1e-3 * scale


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("segmentation", (5, 4, 96, 128)),
        ("classification", (4, 4, 64, 64)),
        ("positional", (6, 4, 32, 32)),
        ("multilabel", (4, 4, 64, 64)),
    ],
)
def test_both_files_take_stored_pixels_and_answer_as_the_model(folder: Path, name: str, shape: tuple[int, ...]) -> None:
    compare_both(Model.open(folder / name), Export.open(folder / f"{name}-export"), *shape)


def test_it_says_how_logits_of_a_set_of_classes_are_to_be_read(folder: Path) -> None:
    description = Export.open(folder / "multilabel-export").description
    assert description["task"] == "multilabel"
    assert "the sigmoid of each" in description["output"]["meaning"]
    assert "at least the share 0.05 of its pixels" in description["output"]["meaning"]
    assert "softmax" in Export.open(folder / "classification-export").description["output"]["meaning"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "architecture"),
    [
        ("segmentation", Architecture("unet", {"encoder": "resnet18", "decoder": [16, 16, 8, 8, 8]})),
        ("classification", Architecture("timm", {"encoder": "resnet18"})),
    ],
)
def test_the_baselines_are_exported_for_any_size(
    folder: Path, tmp_path: Path, task: str, architecture: Architecture
) -> None:
    patches = PatchSet.open(folder / "patches.zarr")
    whole = Architecture(architecture.name, {**architecture.arguments, "bands": 4, "classes": 3})
    model = made(tmp_path / "model", patches, whole, task=task)
    export(model, tmp_path / "export")
    compare_both(model, Export.open(tmp_path / "export"), 3, 4, 96, 160)


@pytest.mark.slow
def test_layers_that_pad_by_the_image_are_exported_for_one_size(folder: Path, tmp_path: Path) -> None:
    model = scenes.model(tmp_path / "model", PatchSet.open(folder / "patches.zarr"))
    export(model, tmp_path / "export")
    exported = Export.open(tmp_path / "export")
    assert exported.description["input"]["edge"] == {"fixed": 32}
    compare_both(model, exported, 3, 4, 32, 32)


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 40])
def test_a_transformer_of_terratorch_is_exported_for_the_size_of_its_patches(
    folder: Path, tmp_path: Path, size: int
) -> None:
    """Traced for any size its ONNX file would be refused by onnxruntime; 40 pixels are padded to 48 within it."""
    truth = scenes.land(160, 3)
    patches = scenes.patchset(
        tmp_path / "patches.zarr", scenes.image_of(truth, 300), truth, scenes.nomenclature(3), size=size, block=1
    )
    model = made(tmp_path / "model", patches, scenes.transformer(size, classes=3))
    export(model, tmp_path / "export")
    exported = Export.open(tmp_path / "export")
    assert exported.description["input"]["edge"] == {"fixed": size}
    compare_both(model, exported, 3, 4, size, size)


def test_description_says_what_goes_in_and_comes_out(folder: Path) -> None:
    model, exported = Model.open(folder / "segmentation"), Export.open(folder / "segmentation-export")
    said = exported.description
    assert said["bands"] == model.bands and said["model"] == model.digest
    assert exported.nomenclature == model.nomenclature
    assert said["input"]["shape"] == ["batch", 4, "y", "x"] and said["input"]["edge"] == {"multiple": 32, "least": 64}
    assert said["normalisation"]["statistics"] == model.statistics
    for name in ("onnx", "torch"):
        assert 0 <= said["checks"][name]["relative"] <= said["checks"]["tolerance"]
    assert Export.open(folder / "classification-export").description["output"]["shape"] == ["batch", 3]
    network = onnx.load(exported.onnx)
    onnx.checker.check_model(network, full_check=True)
    (stored,) = (json.loads(p.value) for p in network.metadata_props if p.key == "geoduct")
    assert stored == {name: value for name, value in said.items() if name != "checks"}


def test_a_network_of_one_size_is_exported_for_that_size(folder: Path) -> None:
    said = Export.open(folder / "positional-export").description
    assert said["input"]["edge"] == {"fixed": 32} and said["input"]["shape"] == ["batch", 4, 32, 32]
    assert {tuple(shape[2:]) for shape in said["checks"]["onnx"]["shapes"]} == {(32, 32)}


def test_the_files_tell_nothing_of_the_machine_that_wrote_them(folder: Path) -> None:
    exported = Export.open(folder / "segmentation-export")
    for file in (exported.onnx, exported.torch):
        content = file.read_bytes()
        for word in (b".py", str(Path.home()).encode() + b"/", str(Path.cwd()).encode()):
            assert word not in content


def test_what_answers_otherwise_is_not_published(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(GeoductError, match=r"the (onnx|torch) export .* answers otherwise than the model: a logit"):
        export(folder / "positional", tmp_path / "out", tolerance=1e-30)
    assert not list(tmp_path.iterdir())


def test_a_difference_is_measured_and_what_is_not_finite_is_one() -> None:
    def wanted(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.stack([pixels[:, 0], 10.0 - pixels[:, 0]], 1).astype(np.float32)

    def moved(by: float) -> Any:
        return lambda pixels: wanted(pixels) + np.array([by, 0], np.float32)[:, None, None]

    batches = [np.full((2, 1, 3, 3), 4, np.uint16), np.full((1, 1, 6, 3), 1, np.uint16)]

    def likeliest(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = logits.argmax(1)
        return found

    assert check(wanted, wanted, iter(batches), likeliest) == (0, 0, 0, [(2, 1, 3, 3), (1, 1, 6, 3)])
    found = check(moved(3), wanted, iter(batches), likeliest)
    # The largest logit is 9; of 36 answers the 18 of the first batch become 7 against 6.
    assert (found.largest, found.relative, found.changed) == (3, pytest.approx(1 / 3), 0.5)
    assert check(moved(np.nan), wanted, iter(batches), likeliest).relative == np.inf
    with pytest.raises(GeoductError, match=r"gives logits \(2, 1, 3, 3\) .* the model \(2, 2, 3, 3\)"):
        check(lambda pixels: wanted(pixels)[:, :1], wanted, iter(batches), likeliest)


def test_an_export_that_lacks_something_does_not_open(folder: Path, tmp_path: Path) -> None:
    for name, content, message in (
        ("model.onnx", None, "has no model.onnx"),
        ("model.pt2", None, "has no model.pt2"),
        ("export.json", "{", "missing or not JSON"),
        ("export.json", "{}", "lacks the field 'task'"),
    ):
        path = tmp_path / f"{name}-{content}"
        shutil.copytree(folder / "classification-export", path)
        (path / name).unlink() if content is None else (path / name).write_text(content)
        with pytest.raises(GeoductError, match=message):
            Export(path).validate()
