"""Changing a section of a YAML as it is written."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from components.errors import GeoductError
from pipelines.experiments import render
from pipelines.sections import change_section
from tests.conftest import ROOT

WRITTEN = """# by hand
patch: {size: 64, rare: fail, split: [0.7, 0.15, 0.15]}
train:  # what learns
  epochs: 20   # enough
  decoder:
  - 64
  - 32
  # of the whole
  workers:
  schedule: 'onecycle'
label: x
"""


def test_only_the_values_are_written_anew() -> None:
    values = {"epochs": 7, "decoder": [16, 8], "workers": 2, "schedule": "onecycle", "seed": 1}
    assert change_section(WRITTEN, "train", values, "a.yaml") == (
        WRITTEN.replace("epochs: 20", "seed: 1\n  epochs: 7")
        .replace("- 64\n  - 32", "  [16, 8]")
        .replace("workers:", "workers: 2")
    )


@pytest.mark.parametrize(
    "values",
    [
        {"size": 32, "rare": "a, b: {c", "split": [1.0, 0.0, 0.0]},
        {"rare": "32", "block": 1e-05, "buffer": None},
        {"rare": None, "size": 1.5, "split": []},
        {"rare": ["key.of=1", "other=[1, 2]"], "size": True},
    ],
)
def test_what_is_written_reads_as_it_was_given(values: dict[str, Any]) -> None:
    for section in ("patch", "train"):
        before = yaml.safe_load(WRITTEN)
        after = yaml.safe_load(change_section(WRITTEN, section, values, "a.yaml"))
        assert after == {**before, section: {**before[section], **values}}


def test_parameters_that_are_the_same_change_nothing() -> None:
    text = render(ROOT, "sample")
    for section in ("train", "finetune", "pretrain"):
        assert change_section(text, section, yaml.safe_load(text)[section], "a.yaml") == text


@pytest.mark.parametrize(
    "section",
    ["train:\n  schedule: >-\n    onecycle\n  epochs: 2\n", "train: {epochs: &b 5, schedule: x, seed: *b}\n"],
)
def test_what_cannot_be_changed_by_itself_is_refused(section: str) -> None:
    with pytest.raises(GeoductError, match=r"a\.yaml: section 'train' cannot be changed value by value"):
        change_section(section, "train", {"schedule": "cosine", "epochs": 7, "warmup": 0.25}, "a.yaml")


@pytest.mark.parametrize("section", ["label", "predict"])
def test_a_section_without_values_is_named(section: str) -> None:
    with pytest.raises(GeoductError, match=f"a.yaml has no section '{section}' with values"):
        change_section(WRITTEN, section, {"seed": 1}, "a.yaml")
