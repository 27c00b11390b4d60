"""A YAML with a mistake is refused in one sentence that names the key, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.artifacts import PatchSet
from components.errors import GeoductError
from components.finetune.config import build
from components.finetune.reading import read
from tests.components.finetune.yamls import LORA, tiny
from tests.components.train.worlds import land, patchset

NETWORK = "model.init_args.model_args."


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    return patchset(tmp_path_factory.mktemp("world") / "patches", *land(40, 32, 3, seed=0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trainr": {}}, "unknown key 'trainr'; did you mean 'trainer'?"),
        ({"trainer.max_epoch": 2}, "unknown key 'trainer.max_epoch'; did you mean 'max_epochs'?"),
        ({"trainer.max_epochs": None}, "trainer.max_epochs is missing"),
        ({"trainer.max_epochs": "two"}, "trainer.max_epochs is 'two'; expected an integer, at least 1"),
        ({"trainer.precision": "bf61"}, "trainer.precision is 'bf61'; expected one of"),
        ({"trainer.accumulate_grad_batches": 0}, "trainer.accumulate_grad_batches is 0; expected"),
        ({"trainer.strategy": "fsdp"}, "trainer.strategy is 'fsdp'; expected auto, ddp, or fsdp2, .*class_path"),
        (
            {"trainer.strategy": {"class_path": "components.learning.sharding.Sharded", "init_args": {"x": 1}}},
            "trainer.strategy.init_args are given; expected none",
        ),
        (
            {"trainer.strategy": "fsdp2", "trainer.precision": "16-mixed"},
            "16-mixed and trainer.strategy fsdp2, .* expected bf16-mixed",
        ),
        (
            {"trainer.strategy": "fsdp2", "model.init_args.optimizer": "Adafactor"},
            "the optimiser Adafactor may look beyond .* expected one of Adam, AdamW",
        ),
        (
            {"trainer.strategy": "fsdp2", "optimizer": {"class_path": "torch.optim.Adafactor"}},
            "the optimiser Adafactor may look beyond",
        ),
        ({"model.init_args.los": "ce"}, "unknown key 'model.init_args.los'; did you mean 'loss'?"),
        ({"model.class_path": "terratorch.tasks.SemanticSegmentationTsk"}, "did you mean 'SemanticSegmentationTask'?"),
        ({"model.class_path": "terratorch.tasks.PixelwiseRegressionTask"}, "terratorch fit takes the same file"),
        ({"data.class_path": "GenericNonGeoSegmentationDataModule"}, "expected components.finetune.data.PatchSet"),
        ({"data.init_args.batchsize": 4}, "unknown key 'data.init_args.batchsize'; did you mean 'batch_size'?"),
        ({"data.init_args.task": "classification"}, "but model.class_path learns segmentation"),
        ({"data.init_args.bands": ["B04", "B08"]}, "takes 3 bands .* but the data module gives 2"),
        (
            {NETWORK + "backbone": "prithvi_eo_v2_tini_tl"},
            "in TerraTorch's registry; did you mean 'prithvi_eo_v2_t",
        ),
        (
            {NETWORK + "num_classes": 4},
            r"num_classes is 4, but the nomenclature of .* has 3 classes \(class 1, ",
        ),
        ({NETWORK + "decoder_chanels": [1]}, "TerraTorch cannot build what it describes: .*chanels"),
        ({NETWORK + "backbone_embed_dimm": 32}, "unknown key 'backbone_embed_dimm'; did you mean 'embed_dim'?"),
        ({NETWORK + "backbone_num_heads": 5}, "TerraTorch cannot build what it describes: dim should be divisible"),
        ({NETWORK + "decoder": "UnetDecoder"}, "the decoder 'UnetDecoder' is not .*; did you mean 'UNetDecoder'?"),
        ({"model.init_args.lr": "fast"}, "model.init_args.lr is 'fast'; expected a number above 0"),
        ({"model.init_args.lr": -1.0}, "model.init_args.lr is -1.0; expected a number above 0"),
        ({"model.init_args.optimizer": "AdanW"}, "optimizer is 'AdanW'; did you mean 'AdamW'?"),
        ({"model.init_args.optimizer_hparams": {"decay": 1}}, "optimizer_hparams: .*argument 'decay'"),
        ({"model.init_args.optimizer_hparams": {"lr": 3}}, "optimizer_hparams: .*multiple values"),
        ({"model.init_args.scheduler": "CosineAnnealingLR"}, "scheduler_hparams: .*'T_max'"),
        ({"model.init_args.lr_overrides": {"encodr": 1e-5}}, "'encodr' is in the name of no .* mean 'encoder'"),
        ({"model.init_args.class_weights": [1.0, 2.0]}, "class_weights has 2 numbers; expected 3"),
        (
            {"model.class_path": "components.finetune.tasks.SegmentationTask", "model.init_args.warmup": 2.0},
            "warmup is 2; expected a share of the run",
        ),
        ({"trainer.gradient_clip_val": -1.0}, "gradient_clip_val is -1.0; expected a number above 0"),
        ({"data.init_args.workers": 0}, "workers is 0; expected 1 or more"),
        ({NETWORK + "backbone_pretrained": True}, "downloads nothing; stage them by geoduct weights fetch prithvi"),
        ({NETWORK + "peft_config": LORA}, "begins from chance; expected --weights"),
        ({"model.init_args.ignore_index": None}, "ignore_index is None, but pixels without a label are 255"),
        ({"model.init_args.loss": "cee"}, "TerraTorch cannot build .*'cee'"),
        ({"model.init_args.model_factory": "SMPModelFactory"}, "model_factory is 'SMPModelFactory'; expected Enc"),
        (
            {"trainer.callbacks": [{"class_path": "EarlyStopping", "init_args": {"monitor": "val/los"}}]},
            "EarlyStopping monitors 'val/los'; did you mean 'val/loss'?",
        ),
    ],
)
def test_a_mistake_is_named(world: PatchSet, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    file = tiny(tmp_path / "run.yaml", change)
    with pytest.raises(GeoductError, match=words) as caught:
        build(read(file, ()), world, None, file)
    assert "\n" not in str(caught.value)


def test_the_schedule_needs_the_optimiser_where_it_reaches_it(world: PatchSet, tmp_path: Path) -> None:
    change = {
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}},
        "model.class_path": "components.finetune.tasks.SegmentationTask",
        "model.init_args.layer_decay": 0.8,
    }
    file = tiny(tmp_path / "run.yaml", change)
    with pytest.raises(GeoductError, match=r"optimizer stands at the top, where layer_decay .* do not reach it"):
        build(read(file, ()), world, None, file)


def test_what_geoduct_has_its_own_of_is_passed_over_by_name(world: PatchSet, tmp_path: Path) -> None:
    change = {
        "trainer.logger": True,
        "trainer.devices": 4,
        "trainer.callbacks": [{"class_path": "ModelCheckpoint", "init_args": {"monitor": "val/mIoU"}}],
    }
    file = tiny(tmp_path / "run.yaml", change)
    plan = build(read(file, ()), world, None, file)
    assert plan.passed_over == ("trainer.devices", "trainer.logger", "ModelCheckpoint")
    assert plan.settings["callbacks"] == []
    assert plan.settings["epochs"] == 2


@pytest.mark.parametrize(
    ("strategy", "sharded"),
    [
        ("auto", False),
        ("ddp_find_unused_parameters_true", False),
        ({"class_path": "lightning.pytorch.strategies.DDPStrategy"}, False),
        ("fsdp2", True),
        ({"class_path": "components.learning.sharding.Sharded"}, True),
    ],
)
def test_the_ranks_share_out_batches_or_the_network_too(
    world: PatchSet, tmp_path: Path, strategy: Any, sharded: bool
) -> None:
    file = tiny(tmp_path / "run.yaml", {"trainer.strategy": strategy})
    plan = build(read(file, ()), world, None, file)
    assert plan.settings["sharded"] is sharded
    assert plan.passed_over == ()


def test_overrides_are_read_as_yaml(tmp_path: Path) -> None:
    found = read(tiny(tmp_path / "run.yaml"), ("model.init_args.lr=1e-5", "data.init_args.bands=[B04]", "x.y=z"))
    assert found["model"]["init_args"]["lr"] == 1e-5
    assert found["data"]["init_args"]["bands"] == ["B04"]
    assert found["x"] == {"y": "z"}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainer.max_epochs", "expected key=value"),
        ("seed_everything.x=1", "seed_everything of .* is no dictionary"),
        ("trainer.max_epochs=[1", "is no YAML value"),
    ],
)
def test_a_malformed_override_is_refused(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(GeoductError, match=words):
        read(tiny(tmp_path / "run.yaml"), (override,))


@pytest.mark.parametrize(("text", "words"), [("- 1", "holds no dictionary"), ("a: [", "is no YAML")])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(GeoductError, match=words):
        read(str(tmp_path / "run.yaml"), ())
    with pytest.raises(GeoductError, match=r"cannot be read"):
        read(str(tmp_path / "none.yaml"), ())
