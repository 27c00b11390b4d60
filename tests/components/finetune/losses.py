"""The losses of one and the same YAML, trained by Geoduct and by `terratorch fit`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from components.artifacts import PatchSet
from components.finetune import finetune
from tests.components.finetune.yamls import Recorder, tiny

RECORDER = f"{Recorder.__module__}.{Recorder.__name__}"


def both_losses(
    world: PatchSet, folder: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> tuple[list[float], list[float]]:
    """The loss of each training batch, of Geoduct's run and of TerraTorch's own, on one thread."""
    from terratorch.cli_tools import build_lightning_cli

    losses = {}
    for who in ("terratorch", "geoduct"):
        callback = {"class_path": RECORDER, "init_args": {"path": str(folder / who)}}
        changes = settings | {"data.init_args.patches": str(world.path)}
        changes["trainer.callbacks"] = [*settings.get("trainer.callbacks", []), callback]
        if who == "geoduct":
            finetune(world.path, None, folder / "m", config=tiny(folder / "m.yaml", changes))
        else:
            monkeypatch.setattr(os, "environ", os.environ.copy())  # TerraTorch sets some of it for good
            changes |= {"trainer.default_root_dir": str(folder), "trainer.logger": False}
            changes |= {"trainer.enable_checkpointing": False, "trainer.enable_progress_bar": False}
            monkeypatch.setenv("terratorch_FLOAT_32_PRECISION", "highest")
            before, exactness = torch.get_num_threads(), torch.get_float32_matmul_precision()
            torch.set_num_threads(1)
            build_lightning_cli(["fit", "-c", tiny(folder / "t.yaml", changes), "--deploy_config_file", "false"])
            torch.set_num_threads(before)
            torch.set_float32_matmul_precision(exactness)
        losses[who] = [float(line) for line in (folder / who).read_text().split()]
    return losses["geoduct"], losses["terratorch"]
