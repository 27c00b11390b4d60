"""dvc.yaml says what the signatures say: every stage's command, dependencies and outputs agree with its component."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml

from components.__main__ import parse
from components.registry import COMPONENTS, load
from tests.conftest import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SECTION = re.compile(r"\$\{(\w+)\}$")


def test_one_stage_a_component_in_the_order_of_the_pipeline() -> None:
    # On one machine acquire searches itself, and the map is there to be looked at. There is one model, the baseline, and
    # nobody here who takes it elsewhere.
    left_out = ("search", "pretrain", "finetune", "compare", "export", "publish")
    assert list(STAGES) == [name for name in COMPONENTS if name not in left_out]


@pytest.mark.parametrize("stage", list(STAGES))
def test_stage_agrees_with_signature(stage: str) -> None:
    spec = load(stage).spec
    command = STAGES[stage]["cmd"]
    section = SECTION.search(command)
    assert section and section[1] == stage, "a stage unpacks the section of its own name"
    program, name, *words = shlex.split(SECTION.sub("", command))
    assert (program, name) == ("geoduct", stage)
    given = parse(spec, words)
    assert set(given) == {s.name for s in spec.slots if not s.optional}
    outputs = [given[s.name] for s in spec.outputs]
    inputs = [given[s.name] for s in spec.inputs if s.name in given]
    assert STAGES[stage]["outs"] == outputs
    assert set(inputs) <= set(STAGES[stage]["deps"])
    assert f"components/{stage}" in STAGES[stage]["deps"]


def test_no_launcher_in_any_command() -> None:
    for stage in STAGES.values():
        assert not re.search(r"docker|apptainer|srun|LAUNCHER", stage["cmd"])
