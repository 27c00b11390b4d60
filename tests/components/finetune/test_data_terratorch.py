"""TerraTorch's own tasks and command line take the data module as it is; its published scales are those we copied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning import Trainer

from components.artifacts import PatchSet
from components.finetune.bands import SENTINEL2, published
from tests.components.finetune.yamls import NETWORK
from tests.components.train.worlds import land, patchset

HLS = ("B02", "B03", "B04", "B8A", "B11", "B12")
ENCODER = {
    "backbone": "prithvi_eo_v2_tiny_tl",
    "backbone_pretrained": False,
    "backbone_bands": ["BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"],
    "backbone_coords_encoding": ["time", "location"],
    "backbone_depth": 4,
}
SPATIAL = {name: NETWORK[name] for name in ("necks", "decoder", "decoder_channels", "num_classes")}
SCALAR = {"decoder": "IdentityDecoder", "necks": [{"name": "AggregateTokens"}]}
TASKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "segmentation": ("SemanticSegmentationTask", {**ENCODER, **SPATIAL}, {"loss": "ce", "ignore_index": 255}),
    "classification": ("ClassificationTask", {**ENCODER, **SCALAR, "num_classes": 3}, {"loss": "ce"}),
    "multilabel": ("MultiLabelClassificationTask", {**ENCODER, **SCALAR, "num_classes": 3}, {"loss": "bce"}),
    "regression": ("ScalarRegressionTask", {**ENCODER, **SCALAR, "num_outputs": 1}, {"loss": "mse"}),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    image, label = land(20, 32, 3, seed=0)
    path = tmp_path_factory.mktemp("world") / "patches"
    world = patchset(path, np.concatenate([image, image[:, ::-1]], axis=1), label, bands=HLS)
    index = world.index
    index["height"] = np.arange(20.0) / 10
    index.to_parquet(path / "index.parquet")
    PatchSet(path).seal({})
    return PatchSet.open(path)


@pytest.mark.parametrize("task", TASKS)
def test_terratorch_fits_and_predicts(
    world: PatchSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    from terratorch.cli_tools import build_lightning_cli

    for name in ("GDAL_DISABLE_READDIR_ON_OPEN", "AWS_NO_SIGN_REQUEST", "GDAL_MAX_RAW_BLOCK_CACHE_SIZE"):
        monkeypatch.setenv(name, "")  # so that what build_lightning_cli sets does not outlive this test
    for name in ("GDAL_SWATH_SIZE", "VSI_CURL_CACHE_SIZE"):
        monkeypatch.setenv(name, "")
    name, network, settings = TASKS[task]
    data = {
        "patches": str(world.path),
        "task": task,
        "batch_size": 4,
        "normalisation": "backbone",
        "backbone": "prithvi_eo_v2_tiny_tl",
        "coordinates": True,
        "date": "2024-07-01",
        "target": "height" if task == "regression" else None,
    }
    config = {
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": str(tmp_path),
            "logger": {"class_path": "TensorBoardLogger", "init_args": {"save_dir": str(tmp_path)}},
        },
        "data": {"class_path": "components.finetune.data.PatchSetDataModule", "init_args": data},
        "model": {
            "class_path": f"terratorch.tasks.{name}",
            "init_args": {"model_factory": "EncoderDecoderFactory", "model_args": network, **settings},
        },
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}},
    }
    file = tmp_path / "task.yaml"
    file.write_text(json.dumps(config))  # JSON is YAML
    cli = build_lightning_cli(["fit", "-c", str(file)])
    assert cli.trainer.global_step == 3  # 12 patches in batches of 4
    assert np.isfinite(float(cli.trainer.callback_metrics["val/loss"]))
    plain = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    predicted = plain.predict(cli.model, datamodule=cli.datamodule)
    names = [name for _, batch in predicted for name in batch]
    assert names == list(world.index["id"])


def test_the_scales_are_terratorchs_and_torchgeos() -> None:
    from terratorch.datasets import HLSBands
    from terratorch.models.backbones import prithvi_vit
    from terratorch.models.backbones.terramind.model import terramind_register as terramind
    from torchgeo.models import resnet

    assert {band.name for band in HLSBands} - set(SENTINEL2) == {"THERMAL_INFRARED_1", "THERMAL_INFRARED_2"}
    for name in prithvi_vit.pretrained_weights:
        known, settings = published(name), prithvi_vit.prithvi_cfgs[name]
        assert [list(known.mean), list(known.std)] == [settings["mean"], settings["std"]]
        assert list(known.bands) == [SENTINEL2[band.name] for band in settings["bands"]]
    for name, mean, std in (
        ("terramind_v1_large", terramind.v1_pretraining_mean, terramind.v1_pretraining_std),
        ("terramind_v01_base", terramind.v01_pretraining_mean, terramind.v01_pretraining_std),
    ):
        known = published(name)
        assert [list(known.mean), list(known.std)] == [mean["untok_sen2l2a@224"], std["untok_sen2l2a@224"]]
    known = published("ssl4eos12_resnet50_sentinel2_all_softcon")
    assert [list(known.mean), list(known.std)] == [resnet._mean_s2, resnet._std_s2]
    assert known.bands == tuple(f"B{band[1:].upper().zfill(2)}" for band in resnet._sentinel2_toa_bands)
