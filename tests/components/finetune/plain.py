"""One rank of a plain Lightning run over the data module, which writes the patches that it saw in each epoch."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from lightning import Trainer
from lightning.pytorch.plugins.environments import TorchElasticEnvironment

from components.finetune.data import PatchSetDataModule
from tests.components.finetune.test_data import Watcher


def main(patches: str, folder: str) -> None:
    """Two epochs under DDP, the ranks told by the variables that torchrun sets."""
    os.environ.setdefault("TORCHELASTIC_RUN_ID", "test")
    watcher = Watcher()
    Trainer(
        accelerator="cpu",
        devices=int(os.environ["WORLD_SIZE"]),
        strategy="ddp",
        plugins=[TorchElasticEnvironment()],
        max_epochs=2,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    ).fit(watcher, datamodule=PatchSetDataModule(patches, task="segmentation", batch_size=6))
    Path(folder, f"{watcher.global_rank}.json").write_text(json.dumps(watcher.seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
