"""The YAMLs that we ship: TerraTorch's own command line accepts them, and so does ours."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from components.artifacts import PatchSet
from components.artifacts.periods import band_at
from components.errors import GeoductError
from components.finetune.config import build
from components.finetune.reading import read
from components.learning.networks import build as build_network
from components.learning.networks import load_weights, weights_of
from tests.components.finetune.seasons import with_periods
from tests.components.train.worlds import land, patchset

CONFIGS = sorted((Path(__file__).parents[3] / "hpc/configs").glob("*.yaml"))
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
SMALL = [file for file in CONFIGS if "tiny" in file.stem]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[int, PatchSet]:
    """Patches of ten bands and fifteen classes, as the sample's, by their number of periods."""
    folder = tmp_path_factory.mktemp("worlds")
    image, label = land(60, 64, 3, seed=0)
    label = label * 5 + (torch.arange(60).numpy() % 5).astype("uint8")[:, None, None]
    image = image[:, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]]
    twice = tuple(band_at(band, number) for number in (1, 2) for band in BANDS)
    patchset(folder / "two", np.concatenate([image, image], axis=1), label, classes=15, bands=twice)
    return {1: patchset(folder / "one", image, label, classes=15, bands=BANDS), 2: with_periods(folder / "two")}


def frames_of(file: Path) -> int:
    """How many frames a YAML asks for."""
    return int(yaml.safe_load(file.read_text())["data"]["init_args"].get("frames", 1))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_terratorch_accepts_it(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from terratorch.cli_tools import build_lightning_cli

    monkeypatch.setattr(os, "environ", os.environ.copy())  # TerraTorch sets some of it for good
    with pytest.raises(SystemExit) as left:
        build_lightning_cli(["fit", "-c", str(file), "--print_config"])
    assert left.value.code == 0
    told = yaml.safe_load(capsys.readouterr().out)
    wanted = yaml.safe_load(file.read_text())
    assert told["model"]["class_path"] == wanted["model"]["class_path"]
    assert told["model"]["init_args"]["model_args"] == wanted["model"]["init_args"]["model_args"]


@pytest.mark.parametrize("file", SMALL, ids=lambda file: file.stem)
def test_we_build_it_and_its_architecture_builds_again(file: Path, worlds: dict[int, PatchSet]) -> None:
    said = read(str(file), ("model.init_args.model_args.backbone_pretrained=false",))
    plan = build(said, worlds[frames_of(file)], None, str(file))
    network = build_network(plan.architecture).eval()
    tensors = weights_of(plan.learner.trained())
    load_weights(network, {f"network.{name}": values for name, values in tensors.items()}, "built")
    with torch.inference_mode():
        for edge in (64, 96, 65):
            a_pixel = (edge, edge) if plan.task == "segmentation" else ()
            assert network(torch.zeros(1, len(plan.data.bands), edge, edge)).shape == (1, 15, *a_pixel)


@pytest.mark.parametrize("file", [f for f in CONFIGS if "convnext" not in f.stem], ids=lambda file: file.stem)
def test_it_begins_from_no_other_weights_than_those_given(file: Path, worlds: dict[int, PatchSet]) -> None:
    with pytest.raises(GeoductError, match="backbone_pretrained is true, but no --weights are given"):
        build(read(str(file), ()), worlds[frames_of(file)], None, str(file))
