"""Several periods as frames: in order, with their dates, turned alike, learned from as TerraTorch does, and mapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import rasterio
import torch

from components.artifacts import Map, Model, PatchSet, Weights
from components.artifacts.weights import Origin, Pretraining, write_weights
from components.errors import GeoductError
from components.export import export
from components.finetune import finetune
from components.finetune.config import build
from components.finetune.data import PatchSetDataModule
from components.finetune.reading import read
from components.learning.networks import build as build_network
from components.learning.networks import load_weights
from components.learning.predictor import Predictor
from components.predict import predict
from tests.components.finetune.losses import both_losses
from tests.components.finetune.seasons import MOMENTS, STORED, seasons, with_periods
from tests.components.finetune.yamls import NETWORK, tiny
from tests.components.predict.scenes import composite
from tests.components.train.worlds import BANDS, land, patchset

NECKS = [
    {"name": "SelectIndices", "indices": [0, 1, 2, 3]},
    {"name": "ReshapeTokensToImage", "effective_time_dim": 2},
    {"name": "LearnedInterpolateToPyramidal"},
]
ARGS = "model.init_args.model_args."
FRAMES: dict[str, Any] = {
    ARGS + "backbone_num_frames": 2,
    ARGS + "backbone_coords_encoding": ["time"],
    ARGS + "necks": NECKS,
    "data.init_args.frames": 2,
    "data.init_args.date": "periods",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    return seasons(tmp_path_factory.mktemp("world") / "patches")


@pytest.fixture(scope="module")
def tuned(world: PatchSet, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("tuned")
    finetune(world.path, None, folder / "m", config=tiny(folder / "m.yaml", FRAMES | {"trainer.max_epochs": 6}))
    return Model.open(folder / "m")


def feed(world: PatchSet, **settings: Any) -> PatchSetDataModule:
    return PatchSetDataModule(world, **{"task": "segmentation", "batch_size": 4, "frames": 2, **settings})


# ---- data -------------------------------------------------------------------------------------------------------


def test_frames_are_the_periods_in_order(world: PatchSet) -> None:
    bands = ["B11", "RED"]
    module = feed(world, bands=bands, augment=False)
    assert module.bands == ("B11@1", "B04@1", "B11@2", "B04@2") and module.frame_bands == ("B11", "B04")
    stacked = torch.cat([batch["image"] for batch in module.val_dataloader()])
    assert stacked.shape == (8, 2, 2, 32, 32) and stacked.dtype == torch.float32
    for frame in (0, 1):
        names = [f"{band}@{frame + 1}" for band in ("B11", "B04")]
        alone = feed(world, bands=names, frames=1, augment=False).val_dataloader()
        assert torch.equal(stacked[:, :, frame], torch.cat([batch["image"] for batch in alone]))


def test_a_backbones_scale_is_that_of_its_band_in_every_period(world: PatchSet) -> None:
    own = {"RED": {"mean": 10.0, "std": 2.0}, "B11": {"mean": 20.0, "std": 4.0}}
    module = feed(world, bands=["B04", "B11"], normalisation="backbone", statistics=own)
    assert [module.statistics[band]["mean"] for band in module.bands] == [10.0, 20.0, 10.0, 20.0]


def test_each_frame_has_the_middle_of_its_period(world: PatchSet) -> None:
    batch = next(iter(feed(world, date="periods").val_dataloader()))
    assert batch["temporal_coords"].dtype == torch.float32
    assert batch["temporal_coords"].tolist() == [MOMENTS] * 4
    one = next(iter(feed(world, frames=1, bands=["B04@2"], date="periods").val_dataloader()))
    assert one["temporal_coords"].tolist() == [MOMENTS[1:]] * 4 and one["image"].shape == (4, 1, 32, 32)


def test_all_frames_of_a_patch_are_turned_alike(tmp_path: Path) -> None:
    image, label = land(40, 32, 3, seed=0)
    patchset(tmp_path / "p", np.concatenate([image, image], axis=1), label, bands=STORED)
    twins = with_periods(tmp_path / "p")
    whole = feed(twins, augment=True)
    images = torch.cat([batch["image"] for batch in whole.train_dataloader()])
    assert torch.equal(images[:, :, 0], images[:, :, 1])
    plain = torch.cat([batch["image"] for batch in feed(twins, augment=False).train_dataloader()])
    assert not torch.equal(images, plain)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"frames": 3}, "frames is 3, but .* has 2 periods; expected at most so many"),
        ({"frames": 0}, "frames is 0; expected 1 or more"),
        ({"bands": ["B04", "B8A"]}, r"period 1 of .* has no band B8A.*; it has B04, B08, B11"),
        ({"bands": ["B04@1"]}, r"period 1 of .* has no band B04@1 \(did you mean B04\?\)"),
        ({"bands": ["B04", "RED"]}, "names a band twice"),
        ({"date": "2024-07-01"}, "date is '2024-07-01', one day for 2 frames; expected 'periods'"),
        (
            {"frames": 1, "date": "periods"},
            "date is 'periods', but the bands B04@1, .* B11@2 of .* are of no one period",
        ),
        ({"frames": 1, "date": "July"}, "date is 'July'; expected a day such as 2024-07-01, or 'periods'"),
    ],
)
def test_frames_that_cannot_be_are_told(world: PatchSet, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(GeoductError, match=sentence):
        feed(world, **settings)


def test_patches_of_one_composite_are_one_frame(tmp_path: Path) -> None:
    plain = patchset(tmp_path / "p", *land(40, 32, 3, seed=0))
    with pytest.raises(GeoductError, match=r"frames is 2, but .* has 0 periods; .* \(composite --periods makes them"):
        feed(plain)


# ---- YAML -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data.init_args.frames": 1}, "num_frames is 2, but data.init_args.frames is 1; expected the same"),
        ({ARGS + "backbone_num_frames": 1}, "backbone_num_frames is 1, but data.init_args.frames is 2"),
        (
            {ARGS + "necks": NETWORK["necks"]},
            "effective_time_dim 1, .* 2 steps in time; expected effective_time_dim: 2",
        ),
        (
            {ARGS + "backbone_coords_encoding": []},
            "date is given, but the backbone makes nothing of it; expected 'time'",
        ),
        (
            {"data.init_args.coordinates": True},
            "coordinates is given, but the backbone makes nothing of it; expected 'location' in .*, or no coordinates",
        ),
        ({"data.init_args.bands": ["B04", "B08"]}, r"takes 3 bands .* gives 2 \(B04, B08\)"),
        (
            {
                ARGS[:-1]: {
                    "backbone": "timm_test_resnet",
                    "backbone_pretrained": False,
                    "backbone_in_chans": 3,
                    "decoder": "FCNDecoder",
                    "num_classes": 3,
                }
            },
            "'timm_test_resnet' does not take patches of 3 bands in 2 frames and 32 x 32 pixels with temporal_coords: ",
        ),
    ],
)
def test_what_a_yaml_says_twice_has_to_agree(
    world: PatchSet, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    change = FRAMES | change
    if change["data.init_args.frames"] == 1:
        del change["data.init_args.date"]
        change["data.init_args.bands"] = [f"{band}@1" for band in BANDS]
    file = tiny(tmp_path / "run.yaml", change)
    with pytest.raises(GeoductError, match=sentence):
        build(read(file, ()), world, None, file)


CONVOLUTIONAL = {
    ARGS[:-1]: {
        "backbone": "timm_test_resnet",
        "backbone_pretrained": False,
        "backbone_in_chans": 3,
        "backbone_use_temporal": True,
        "backbone_out_indices": [0, 1, 2],
        "decoder": "FCNDecoder",
        "num_classes": 3,
    }
}
PRITHVI = {ARGS + "backbone_use_temporal": True, ARGS + "backbone_temporal_pooling": "mean"}


@pytest.mark.parametrize("change", [pytest.param(CONVOLUTIONAL, id="timm"), pytest.param(PRITHVI, id="prithvi")])
def test_a_backbone_without_time_takes_frames_one_by_one(
    world: PatchSet, tmp_path: Path, change: dict[str, Any]
) -> None:
    change = change | {"data.init_args.frames": 2}
    file = tiny(tmp_path / "run.yaml", change)
    assert build(read(file, ()), world, None, file).architecture.arguments["frames"] == 2


# ---- learning ---------------------------------------------------------------------------------------------------


def test_the_same_losses_as_terratorch_itself(world: PatchSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = both_losses(world, tmp_path, monkeypatch, FRAMES)
    assert len(ours) == 12
    assert ours == theirs


def test_dates_reach_the_network(world: PatchSet, tmp_path: Path) -> None:
    changes = FRAMES | {"trainer.max_epochs": 1}
    models = []
    for name, date in (("with", "periods"), ("without", None)):
        file = tiny(tmp_path / f"{name}.yaml", changes | {"data.init_args.date": date})
        finetune(world.path, None, tmp_path / name, config=file)
        models.append(Model.open(tmp_path / name))
    assert models[0].architecture.arguments["moments"] == MOMENTS
    assert "moments" not in models[1].architecture.arguments
    changed = [n for n, v in models[0].weights().items() if not np.array_equal(v, models[1].weights()[n])]
    assert changed


def test_it_learns_what_only_both_periods_tell(world: PatchSet, tuned: Model) -> None:
    assert tuned.bands == list(STORED)
    assert tuned.architecture.arguments["frames"] == 2
    numbers = world.indices("test")
    image, label = world.array("image")[:][numbers], world.array("label")[:][numbers]
    assert (Predictor(tuned)(image).argmax(axis=1) == label).mean() > 0.9
    assert Predictor(tuned)(image[:1, :, :17, :29]).shape == (1, 3, 17, 29)
    other = image[:, [3, 4, 5, 0, 1, 2]]  # with the periods exchanged, classes 0 and 1 are
    found = Predictor(tuned)(other).argmax(axis=1)
    assert (found[label < 2] == 1 - label[label < 2]).mean() > 0.7


def test_the_model_answers_as_the_network_learned(world: PatchSet, tuned: Model) -> None:
    whole = build_network(tuned.architecture).eval()
    load_weights(whole, tuned.weights(), "tuned")
    batch = next(iter(feed(world, date="periods").val_dataloader()))
    with torch.inference_mode():
        expected = whole.network(batch["image"], temporal_coords=batch["temporal_coords"]).output
        dateless = whole.network(batch["image"]).output
    found = Predictor(tuned)(world.array("image")[:][world.indices("val")[:4]])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert not np.allclose(found, dateless, rtol=1e-2, atol=1e-2)


def test_pretrained_weights_of_one_frame_serve_several(world: PatchSet, tmp_path: Path) -> None:
    single = patchset(tmp_path / "p", *land(40, 32, 3, seed=0))
    finetune(single.path, None, tmp_path / "one", config=tiny(tmp_path / "one.yaml", {"trainer.max_epochs": 1}))
    mark = "network.encoder."
    tensors = {n[len(mark) :]: v for n, v in Model.open(tmp_path / "one").weights().items() if n.startswith(mark)}
    told = Pretraining("prithvi_eo_v2_tiny_tl", ("RED", "NIR_BROAD", "SWIR_1"), 32, Origin("tests"))
    write_weights(tmp_path / "weights", told, tensors)
    Weights(tmp_path / "weights").seal({})
    file = tiny(tmp_path / "run.yaml", FRAMES | {ARGS + "backbone_coords_encoding": [], "data.init_args.date": None})
    plan = build(read(file, ()), world, Weights.open(tmp_path / "weights"), file)
    encoder = plan.learner.trained().state_dict()
    for name, values in tensors.items():
        if name != "pos_embed":
            np.testing.assert_array_equal(encoder[f"encoder.{name}"].numpy(), values, err_msg=name)
    assert encoder["encoder.pos_embed"].shape == (1, 1 + 2 * 16, 32)


# ---- use --------------------------------------------------------------------------------------------------------


def test_a_map_of_a_composite_by_periods(world: PatchSet, tuned: Model, tmp_path: Path) -> None:
    image, label = world.array("image")[:], world.array("label")[:]
    wide = [np.concatenate(list(part[-8:]), axis=-1) for part in (image, label)]
    scene = composite(tmp_path / "scene", wide[0], bands=STORED)
    predict(model=tuned.path, composite=scene.path, map=tmp_path / "map")
    with rasterio.open(Map.open(tmp_path / "map").classes) as file:
        assert (file.read(1) == wide[1]).mean() > 0.85


def test_an_export_takes_pixels_as_stored(tuned: Model, tmp_path: Path) -> None:
    export(model=tuned.path, exported=tmp_path / "e")
    session = onnxruntime.InferenceSession(tmp_path / "e" / "model.onnx")
    pixels = np.random.default_rng(0).integers(1, 4000, (2, 6, 32, 32), dtype=np.uint16)
    (found,) = session.run(None, {"pixels": pixels})
    np.testing.assert_allclose(found, Predictor(tuned)(pixels), rtol=1e-3, atol=1e-3)
