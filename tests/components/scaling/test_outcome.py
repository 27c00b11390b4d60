"""What is made of the times of steps: figures that follow from times with a known answer."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from components.errors import GeoductError
from components.scaling.outcome import shares, speed, write
from components.scaling.study import TIMES, keep, place_of, plan

PARTED = {"data": 0.1, "forward": 0.3, "backward": 0.9, "optimiser": 0.2, "agreement": 0.1, "seconds": 2.0}
APART = {**PARTED, "forward": 0.2, "backward": 0.6, "agreement": 0.1, "seconds": 1.6}


def times(ranks: int, seconds: list[float], samples: int = 8, **kinds: dict[str, float]) -> dict[str, Any]:
    """Times of a run: plain steps of these seconds, and four steps of each other kind."""
    steps: dict[str, Any] = {"plain": [{"samples": samples, "seconds": s} for s in seconds]}
    steps |= {kind: [{"samples": samples, **row}] * 4 for kind, row in kinds.items()}
    about = {"nodes": 1, "gpu": None, "cpu": "a CPU", "cores": 2, "threads": 1, "load": 0.5, "torch": "2"}
    return {"ranks": ranks, **about, "steps": steps}


def test_speed_is_of_the_middle_half_of_the_steps() -> None:
    seen = speed(times(2, [100.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.01]))
    assert seen["samples_per_second"] == 4.0
    assert seen["batch"] == 4.0


def test_communication_is_what_exchanging_adds_to_computing() -> None:
    found = shares(times(2, [2.0], parted=PARTED, apart=APART))
    expected = {"data": 0.05, "forward": 0.1, "backward": 0.3, "communication": 0.25, "optimiser": 0.1, "other": 0.2}
    assert found == pytest.approx(expected)


def test_one_rank_exchanges_nothing() -> None:
    found = shares(times(1, [2.0], parted={**PARTED, "agreement": 0.0}))
    assert found["communication"] == 0 and found["backward"] == pytest.approx(0.45)


def test_exchanging_is_never_found_to_save_time() -> None:
    found = shares(times(2, [2.0], parted={**PARTED, "agreement": 0.0}, apart={**PARTED, "backward": 1.0}))
    assert found["communication"] == 0 and sum(found.values()) == pytest.approx(1)


def test_efficiency_is_against_one_rank(tmp_path: Path) -> None:
    study = plan(["train", "--patches", "patches.zarr"], (1, 2), 8, 2)
    keep(study, tmp_path)
    measured = {
        study.run("weak", 1): times(1, [2.0] * 4, parted=PARTED),
        study.run("strong", 2): times(2, [1.6] * 4, parted=PARTED, apart=APART),
        study.run("weak", 2): times(2, [2.0] * 4, samples=16, parted=PARTED, apart=APART),
    }
    for run, told in list(measured.items())[1:]:
        place_of(tmp_path, run).mkdir(parents=True)
        (place_of(tmp_path, run) / TIMES).write_text(json.dumps(told))
    with pytest.raises(GeoductError, match="no measured run of one rank"):
        write(study, tmp_path)
    (first, told), *_ = measured.items()
    place_of(tmp_path, first).mkdir(parents=True)
    (place_of(tmp_path, first) / TIMES).write_text(json.dumps(told))
    text = write(study, tmp_path)
    with (tmp_path / "scaling.csv").open() as file:
        rows = {(row["mode"], int(row["ranks"])): float(row["efficiency"]) for row in csv.DictReader(file)}
    assert rows == {("strong", 1): 1.0, ("strong", 2): 0.625, ("weak", 1): 1.0, ("weak", 2): 1.0}
    assert "62%" in text
    assert json.loads((tmp_path / "scaling.json").read_text())["hardware"]["cpu"] == "a CPU"
