"""A Model opens as written, and every way in which its files can be wrong is told in one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.artifacts.model import Architecture, Description, Model, write_model
from components.artifacts.nomenclature import LandClass, Nomenclature
from components.errors import GeoductError

LAND = Nomenclature("two", (LandClass("1", "land", "#009e73"), LandClass("2", "water", "#0072b2")))
WEIGHTS = {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "steps": np.array(7, dtype=np.int64)}


def description(**changes: Any) -> Description:
    plain = Description(
        task="segmentation",
        architecture=Architecture("unet", {"encoder": "resnet18", "bands": 2, "classes": 2}),
        bands=("B04", "B08"),
        statistics={b: {"mean": 1000.0, "std": 200.0, "min": 1.0, "max": 9000.0} for b in ("B04", "B08", "B12")},
        normalisation="standardise",
        nomenclature=LAND,
        size=64,
        patches="sha256:abc",
    )
    return replace(plain, **changes)


def sealed(path: Path) -> Model:
    write_model(path, description(), WEIGHTS)
    Model(path).seal({"component": "train"})
    return Model.open(path)


def test_a_model_reads_back_as_it_was_written(tmp_path: Path) -> None:
    model = sealed(tmp_path / "model")
    assert (model.task, model.bands, model.normalisation, model.size) == (
        "segmentation",
        ["B04", "B08"],
        "standardise",
        64,
    )
    assert model.architecture == description().architecture
    assert model.nomenclature == LAND
    assert model.statistics == {b: dict(description().statistics[b]) for b in ("B04", "B08")}
    assert model.description.patches == "sha256:abc"
    read = model.weights()
    assert read.keys() == WEIGHTS.keys()
    for name, values in WEIGHTS.items():
        np.testing.assert_array_equal(read[name], values)
        assert (read[name].dtype, read[name].shape) == (values.dtype, values.shape)


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    one = sealed(tmp_path / "one")
    write_model(tmp_path / "two", description(), dict(reversed(WEIGHTS.items())))
    Model(tmp_path / "two").seal({})
    assert Model.open(tmp_path / "two").digest == one.digest


def recorded(path: Path, run: str, *, weights: dict[str, Any] = WEIGHTS, history: str = "epoch\n0\n") -> Model:
    """A Model with records that say `run`."""
    write_model(path, description(), weights)
    (path / "history.csv").write_text(history)
    (path / "tensorboard").mkdir()
    for name in ("run.json", "performance.csv", f"tensorboard/events.{run}"):
        (path / name).write_text(run)
    Model(path).seal({"run": run})
    return Model.open(path)


def test_the_digest_is_of_what_the_model_is_and_not_of_its_run(tmp_path: Path) -> None:
    one = recorded(tmp_path / "one", "in 5 seconds")
    assert recorded(tmp_path / "again", "in 6 seconds").digest == one.digest
    weights = {**WEIGHTS, "steps": np.array(8, dtype=np.int64)}
    assert recorded(tmp_path / "weights", "in 5 seconds", weights=weights).digest != one.digest
    assert recorded(tmp_path / "history", "in 5 seconds", history="epoch\n1\n").digest != one.digest


@pytest.mark.parametrize("name", ["run.json", "performance.csv", "tensorboard/events.x"])
def test_a_damaged_record_of_the_run_is_found(tmp_path: Path, name: str) -> None:
    model = recorded(tmp_path / "model", "x")
    model.verify()
    (model.path / name).write_text("y")
    with pytest.raises(GeoductError, match=f"is damaged: {name} differs from its manifest"):
        model.verify()
    (model.path / name).unlink()
    with pytest.raises(GeoductError, match=f"is damaged: {name} is missing"):
        Model.open(model.path)


def test_a_model_of_sets_says_from_which_share_on_a_patch_holds_a_class(tmp_path: Path) -> None:
    write_model(tmp_path / "model", description(task="multilabel", min_fraction=0.02), WEIGHTS)
    Model(tmp_path / "model").seal({})
    model = Model.open(tmp_path / "model")
    assert (model.task, model.min_fraction) == ("multilabel", 0.02)
    plain = sealed(tmp_path / "plain")
    assert plain.min_fraction is None
    assert "min_fraction" not in json.loads((plain.path / "model.json").read_text())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "regression"}, "task is 'regression'"),
        ({"normalisation": "log"}, "normalisation is 'log'"),
        ({"bands": ["B04", "B04"]}, "each once"),
        ({"bands": ["B04", "B99"]}, "band B99 has no finite 'mean'"),
        ({"normalisation": "percentile"}, "no finite 'p02'"),
        ({"task": "multilabel"}, "a multilabel model's min_fraction is None; expected more than 0, at most 1"),
        ({"task": "multilabel", "min_fraction": 0}, r"min_fraction is 0\.0; expected more than 0"),
        ({"min_fraction": 0.5}, r"a segmentation model's min_fraction is 0\.5; expected none, which is for multilabel"),
        ({"task": "multilabel", "min_fraction": "some"}, "malformed"),
        ({"size": "large"}, "malformed"),
        ({"architecture": "resnet"}, "malformed"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    model = sealed(tmp_path / "model")
    file = model.path / "model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(GeoductError, match=words) as error:
        Model(model.path).validate()
    assert str(file) in str(error.value)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    file = sealed(tmp_path / "model").path / "model.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "nomenclature"}))
    with pytest.raises(GeoductError, match="the field 'nomenclature' is missing"):
        Model(tmp_path / "model").validate()


def test_weights_that_are_missing_or_damaged_are_refused(tmp_path: Path) -> None:
    model = sealed(tmp_path / "model")
    (model.path / "model.safetensors").write_bytes(b"not a tensor file at all")
    with pytest.raises(GeoductError, match=r"model\.safetensors is not a readable safetensors file"):
        model.weights()
    (model.path / "model.safetensors").unlink()
    with pytest.raises(GeoductError, match=r"has no model\.safetensors"):
        model.validate()


def test_bands_that_pixels_lack_are_named(tmp_path: Path) -> None:
    model = sealed(tmp_path / "model")
    model.require_bands(["B08", "B04", "B02"], "composite.zarr")
    with pytest.raises(GeoductError, match=r"composite\.zarr has no band B08, which the model .* needs; it has B04"):
        model.require_bands(["B04"], "composite.zarr")
