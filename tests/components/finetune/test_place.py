"""A network that learned with the places of its patches is also asked with one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from components.artifacts import Model
from components.finetune import finetune
from components.finetune.data import PatchSetDataModule
from components.learning.networks import build, load_weights
from components.learning.predictor import Predictor
from tests.components.finetune.seasons import seasons
from tests.components.finetune.yamls import tiny


@pytest.mark.parametrize("placed", [True, False])
def test_the_model_is_asked_with_the_middle_of_its_train_patches(tmp_path: Path, placed: bool) -> None:
    world = seasons(tmp_path / "patches")
    bands = [band for band in world.bands if band.endswith("@1")]
    changed = {
        "model.init_args.model_args.backbone_coords_encoding": ["location"],
        "data.init_args.bands": bands,
        "data.init_args.coordinates": placed,
        "trainer.max_epochs": 1,
    }
    finetune(world.path, None, tmp_path / "m", config=tiny(tmp_path / "m.yaml", changed))
    model = Model.open(tmp_path / "m")
    network = build(model.architecture).eval()
    load_weights(network, model.weights(), "m")
    data = PatchSetDataModule(world, task="segmentation", batch_size=4, bands=bands)
    image = next(iter(data.val_dataloader()))["image"]
    centres = world.index.geometry[world.indices("train")].centroid.to_crs("EPSG:4326")
    middle = torch.tensor([[centres.y.mean(), centres.x.mean()]], dtype=torch.float32).expand(len(image), -1)
    with torch.inference_mode():
        there = network.network(image, location_coords=middle).output
        nowhere = network.network(image).output
    stored = [world.bands.index(band) for band in bands]
    found = Predictor(model)(world.array("image")[:][world.indices("val")[:4]][:, stored])
    np.testing.assert_allclose(found, there if placed else nowhere, rtol=1e-4, atol=1e-4)
    assert not np.allclose(there, nowhere, rtol=1e-2, atol=1e-2)


def test_a_date_and_a_place_that_the_backbone_does_not_encode_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = seasons(tmp_path / "patches")
    changed = {
        "model.init_args.model_args.backbone_coords_encoding": ["location"],
        "data.init_args.bands": [band for band in world.bands if band.endswith("@1")],
        "data.init_args.coordinates": True,
        "data.init_args.date": "periods",
        "trainer.max_epochs": 1,
    }
    finetune(world.path, None, tmp_path / "m", config=tiny(tmp_path / "m.yaml", changed))
    said = capsys.readouterr().err
    assert "passing over data.init_args.date of" in said
    assert "passing over data.init_args.coordinates of" not in said
