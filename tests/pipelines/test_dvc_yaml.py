"""dvc.yaml says what the signatures say: every stage's command, dependencies and outputs agree with its component."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml

from components.flags import parse
from components.registry import COMPONENTS, load
from tests.conftest import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
HPC = yaml.safe_load((ROOT / "hpc" / "dvc.yaml").read_text())
SECTION = re.compile(r"\$\{(\w+)\}$")


def fine_tuning() -> dict[str, dict[str, Any]]:
    """The stages of hpc/dvc.yaml by the names that DVC gives them, `foreach` and its own variables spelled out."""
    found: dict[str, dict[str, Any]] = {}
    for name, stage in HPC["stages"].items():
        for item in stage.get("foreach", [None]):
            text = yaml.safe_dump(stage["do"] if item else stage).replace("${item}", str(item))
            found[f"{name}@{item}" if item else name] = yaml.safe_load(text)
    return found


EVERY = {**STAGES, **{f"hpc/{name}": stage for name, stage in fine_tuning().items()}}


def test_one_stage_a_component_in_the_order_of_the_pipeline() -> None:
    # On one machine acquire searches itself, and the map is there to be looked at. There is one model, the baseline,
    # and nobody here who takes it elsewhere.
    left_out = ("search", "pretrain", "finetune", "compare", "export", "publish")
    assert list(STAGES) == [name for name in COMPONENTS if name not in left_out]


def test_fine_tuning_stands_beside_the_baseline() -> None:
    stages = fine_tuning()
    assert list(stages) == ["finetune", "evaluate@finetune", "predict@finetune", "compare"]
    assert HPC["vars"][0] == "../params.yaml" and all(stage["wdir"] == ".." for stage in stages.values())
    (model,) = STAGES["train"]["outs"]
    (fine_tuned,) = stages["finetune"]["outs"]
    assert {model, fine_tuned} <= set(stages["compare"]["deps"])
    outputs = [out for stage in EVERY.values() for out in stage["outs"]]
    assert len(set(outputs)) == len(outputs), "two stages would write one place"


@pytest.mark.parametrize("stage", list(EVERY))
def test_stage_agrees_with_signature(stage: str) -> None:
    declared = EVERY[stage]
    component = stage.removeprefix("hpc/").partition("@")[0]
    spec = load(component).spec
    section = SECTION.search(declared["cmd"])
    assert section and section[1] == component, "a stage unpacks the section of its component"
    program, name, *words = shlex.split(SECTION.sub("", declared["cmd"]))
    assert (program, name) == ("geoduct", component)
    given = parse(spec, words)
    optional = {s.name for s in spec.slots if s.optional}
    assert set(given) - optional == {s.name for s in spec.slots} - optional
    outputs = [given[s.name] for s in spec.outputs]
    inputs = [given[s.name] for s in spec.inputs if s.name in given]
    assert declared["outs"] == outputs
    assert set(inputs) <= set(declared["deps"])
    assert f"components/{component}" in declared["deps"]


def test_no_launcher_in_any_command() -> None:
    for stage in EVERY.values():
        assert not re.search(r"docker|apptainer|srun|LAUNCHER", stage["cmd"])
