"""A YAML of TerraTorch for a network of 0.1 million weights, and what records its losses."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.callbacks import Callback

NETWORK: dict[str, Any] = {
    "backbone": "prithvi_eo_v2_tiny_tl",
    "backbone_pretrained": False,
    "backbone_bands": ["RED", "NIR_BROAD", "SWIR_1"],
    "backbone_img_size": 32,
    "backbone_patch_size": [1, 8, 8],
    "backbone_embed_dim": 32,
    "backbone_depth": 4,
    "backbone_num_heads": 2,
    "backbone_coords_encoding": [],
    "necks": [
        {"name": "SelectIndices", "indices": [0, 1, 2, 3]},
        {"name": "ReshapeTokensToImage"},
        {"name": "LearnedInterpolateToPyramidal"},
    ],
    "decoder": "UNetDecoder",
    "decoder_channels": [16, 16, 8, 8],
    "num_classes": 3,
}
"""Of four layers, whose outputs the decoder takes."""

TINY: dict[str, Any] = {
    "seed_everything": 0,
    "model": {
        "class_path": "terratorch.tasks.SemanticSegmentationTask",
        "init_args": {
            "model_factory": "EncoderDecoderFactory",
            "model_args": NETWORK,
            "loss": "ce",
            "ignore_index": 255,
            "optimizer": "AdamW",
            "lr": 3e-3,
            "optimizer_hparams": {"weight_decay": 0.01},
            "plot_on_val": False,
        },
    },
    "data": {
        "class_path": "components.finetune.data.PatchSetDataModule",
        "init_args": {"patches": "none", "task": "segmentation", "batch_size": 4, "workers": 1},
    },
    "trainer": {"max_epochs": 2},
}
"""Six batches an epoch of the 24 training patches of these tests' worlds."""

OURS = "components.finetune.tasks.SegmentationTask"
LORA = {
    "method": "LORA",
    "replace_qkv": "qkv",
    "peft_config_kwargs": {"r": 4, "lora_alpha": 8, "target_modules": ["qkv.q_linear", "qkv.v_linear"]},
}


def tiny(path: Path, changes: dict[str, Any] | None = None) -> str:
    """Write the YAML with changes by dotted key; a value None takes a key out."""
    found = deepcopy(TINY)
    for key, value in (changes or {}).items():
        *parents, last = key.split(".")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = deepcopy(value)
    path.write_text(yaml.safe_dump(found))
    return str(path)


class Recorder(Callback):
    """Appends the loss of each training batch to a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        with Path(self.path).open("a") as file:
            file.write(f"{float(outputs['loss'])!r}\n")
