"""The contract: what a signature declares, what is refused, and that outputs are all or nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.artifacts import Archive, LabelMap, Weights
from components.errors import GeoductError
from components.flags import parse
from tests.components.toys import resumable, toys
from tests.components.train.worlds import land, patchset
from tests.disks import disk
from tests.makers import labelmap

LABEL = np.arange(12, dtype="uint8").reshape(3, 4)


@pytest.fixture
def source(tmp_path: Path) -> LabelMap:
    return labelmap(tmp_path / "source.zarr", LABEL)


def start(name: str, arguments: dict[str, Any]) -> subprocess.Popen[str]:
    """Run a toy in a process of its own and return once it says that it is half way."""
    command = [sys.executable, "-m", "tests.components.toys", name, json.dumps(arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half way\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_it_says_where_its_result_is(source: LabelMap, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toys(source.path, tmp_path / "result")
    assert f"toys: {tmp_path / 'result'} is a LabelMap\n" in capsys.readouterr().err


def test_signature_is_the_declaration() -> None:
    spec = toys.spec
    assert [(s.name, s.kind, s.direction, s.optional) for s in spec.slots] == [
        ("source", "LabelMap", "input", False),
        ("result", "LabelMap", "output", False),
        ("mask", "LabelMap", "input", True),
    ]
    assert [p.name for p in spec.parameters] == ["shift", "share", "names", "mode", "strict_order"]
    assert spec.parameters[0].expected == "an integer, at least 0, at most 9 (classes)"
    assert spec.slots[2].help == "a second label map, told over two lines"
    assert spec.summary == "Shift the classes of a label map."
    assert spec.description == "A second paragraph."


def test_command_line_and_python_call_bind_alike() -> None:
    words = "--source a --result b --shift 3 --share 0.1 0.9 --names x y --mode fail --no-strict_order"
    _, parameters = toys.spec.bind(parse(toys.spec, words.split()))
    assert parameters == {
        "shift": 3,
        "share": (0.1, 0.9),
        "names": ("x", "y"),
        "mode": "fail",
        "strict_order": False,
    }
    assert toys.spec.bind({"source": "a", "result": "b", **parameters})[1] == parameters


def test_null_as_dvc_writes_it() -> None:
    assert toys.spec.bind(parse(toys.spec, ["--source", "a", "--result", "b", "--names", "None"]))[1]["names"] is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--shift ten", "--shift is 'ten'; expected an integer, at least 0, at most 9 (classes)"),
        ("--shift 1.5", "--shift is '1.5'; expected an integer, at least 0, at most 9 (classes)"),
        ("--shift 10", "--shift is 10; expected an integer, at least 0, at most 9 (classes)"),
        ("--share 0.1", "--share is '0.1'; expected 2 values, each a number"),
        ("--share nan 1", "--share is 'nan 1'; expected 2 values, each a number"),
        ("--mode kep", "--mode is 'kep'; expected one of keep, fail, wait, fill"),
        ("--strict-order maybe", "--strict-order is 'maybe'; expected true or false"),
        ("--shfit 3", "toys does not know '--shfit'; did you mean '--shift'?"),
        ("--result", "toys: argument --result: expected one argument"),
    ],
)
def test_bad_parameters_are_refused_by_name(words: str, sentence: str) -> None:
    with pytest.raises(GeoductError) as caught:
        toys.spec.bind(parse(toys.spec, ["--source", "a", "--result", "b", *words.split()]))
    assert str(caught.value) == sentence


def test_missing_artifact_is_named() -> None:
    with pytest.raises(GeoductError, match="toys needs --result, the LabelMap that it writes"):
        toys.spec.bind({"source": "a"})


def test_result_is_sealed_with_its_provenance(source: LabelMap, tmp_path: Path) -> None:
    toys(source, tmp_path / "result.zarr", shift=2)
    result = LabelMap.open(tmp_path / "result.zarr")
    np.testing.assert_array_equal(result.array("label")[...], LABEL + 2)
    assert result.provenance["component"] == "toys"
    assert result.provenance["parameters"]["shift"] == 2
    assert result.provenance["inputs"] == {"source": {"kind": "LabelMap", "digest": source.digest}}
    result.verify()


def test_same_run_gives_same_digest_and_replaces(source: LabelMap, tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two", "two"):
        toys.run({"source": source.path, "result": tmp_path / name})
        digests.append(LabelMap.open(tmp_path / name).digest)
    assert len(set(digests)) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "source.zarr", "two"]


def test_failure_leaves_nothing_and_keeps_the_former_result(source: LabelMap, tmp_path: Path) -> None:
    toys.run({"source": source.path, "result": tmp_path / "result"})
    before = LabelMap.open(tmp_path / "result").digest
    with pytest.raises(GeoductError, match="told to fail"):
        toys.run({"source": source.path, "result": tmp_path / "result", "mode": "fail", "shift": 5})
    assert LabelMap.open(tmp_path / "result").digest == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["result", "source.zarr"]


def test_foreign_output_is_refused(source: LabelMap, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(GeoductError, match="mine exists and is no Geoduct artifact"):
        toys.run({"source": source.path, "result": tmp_path / "mine"})
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_an_artifact_of_another_kind_is_not_replaced(source: LabelMap, tmp_path: Path) -> None:
    world = patchset(tmp_path / "patches", *land(4, 8, 2, seed=0))
    words = "patches is a PatchSet, and --result writes a LabelMap; remove it or choose another --result"
    with pytest.raises(GeoductError, match=words):
        toys.run({"source": source.path, "result": world.path})
    world.verify()


@pytest.mark.parametrize("place", ["source.zarr", "source.zarr/inside", "."])
def test_output_may_not_overlap_an_input(source: LabelMap, tmp_path: Path, place: str) -> None:
    with pytest.raises(GeoductError, match="overlaps with --source"):
        toys.run({"source": source.path, "result": tmp_path / place})
    source.verify()


def test_wrong_kind_and_unfinished_inputs_are_named(source: LabelMap, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(GeoductError, match=r"empty is no finished LabelMap: it has no geoduct\.json"):
        toys.run({"source": tmp_path / "empty", "result": tmp_path / "r"})
    with pytest.raises(GeoductError, match="nowhere does not exist; a Weights artifact is expected there"):
        Weights.open(tmp_path / "nowhere")
    with pytest.raises(GeoductError, match="nowhere does not exist; an Archive is expected there"):
        Archive.open(tmp_path / "nowhere")
    with pytest.raises(GeoductError, match="nowhere does not exist; a LabelMap is expected there"):
        toys.run({"source": tmp_path / "nowhere", "result": tmp_path / "r"})
    manifest = json.loads((source.path / "geoduct.json").read_text())
    (source.path / "geoduct.json").write_text(json.dumps({**manifest, "kind": "Composite"}))
    with pytest.raises(GeoductError, match="is a Composite, but a LabelMap is expected here"):
        toys.run({"source": source.path, "result": tmp_path / "r"})


def test_flipped_bit_and_truncation_are_found(source: LabelMap, tmp_path: Path) -> None:
    chunk = source.path / "label" / "c" / "0" / "0"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
    with pytest.raises(GeoductError, match="label/c/0/0 differs from its manifest"):
        toys.run({"source": source.path, "result": tmp_path / "r"})
    chunk.write_bytes(whole[:-1])
    with pytest.raises(GeoductError, match=r"label/c/0/0 has \d+ bytes, its manifest says"):
        toys.run({"source": source.path, "result": tmp_path / "r"})
    assert not (tmp_path / "r").exists()


def test_killed_run_leaves_no_artifact_and_the_next_one_cleans_up(source: LabelMap, tmp_path: Path) -> None:
    arguments = {"source": str(source.path), "result": str(tmp_path / "result")}
    kill(start("toys", {**arguments, "mode": "wait"}))
    assert not (tmp_path / "result").exists()
    toys.run(arguments)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["result", "source.zarr"]


def test_a_killed_run_that_nobody_has_waited_for_counts_as_dead(source: LabelMap, tmp_path: Path) -> None:
    arguments = {"source": str(source.path), "result": str(tmp_path / "result")}
    process = start("toys", {**arguments, "mode": "wait"})
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, but still a zombie
    toys.run(arguments)
    process.communicate()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["result", "source.zarr"]


def test_two_runs_may_not_write_one_output(source: LabelMap, tmp_path: Path) -> None:
    arguments = {"source": str(source.path), "result": str(tmp_path / "result")}
    process = start("toys", {**arguments, "mode": "wait"})
    with pytest.raises(GeoductError, match=f"is being written by process {process.pid}"):
        toys.run(arguments)
    process.communicate("")
    assert process.returncode == 0
    LabelMap.open(tmp_path / "result").verify()


def test_two_machines_may_not_write_one_output(source: LabelMap, tmp_path: Path) -> None:
    arguments = {"source": str(source.path), "result": str(tmp_path / "result"), "wait": True}
    process = start("resumable", arguments)
    [staged] = tmp_path.glob(".result.*.partial")
    elsewhere = staged.rename(staged.with_name(staged.name.replace(socket.gethostname(), "elsewhere")))
    with pytest.raises(GeoductError, match=f"is being written by process {process.pid} of "):
        resumable.run({**arguments, "wait": False})
    assert elsewhere.exists()
    kill(process)
    start("resumable", arguments).communicate("")
    assert (tmp_path / "result" / "runs").read_text() == "++"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["result", "source.zarr"]


def test_resumable_run_goes_on_where_a_killed_one_stopped(source: LabelMap, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"source": str(source.path), "result": str(tmp_path / "result"), "wait": True}
    kill(start("resumable", arguments))
    process = start("resumable", arguments)
    process.communicate("")
    assert (tmp_path / "result" / "runs").read_text() == "++"


def test_resumable_run_with_other_parameters_starts_afresh(source: LabelMap, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"source": str(source.path), "result": str(tmp_path / "result")}
    kill(start("resumable", {**arguments, "wait": True}))
    resumable.run({**arguments, "tag": "b"})
    assert (tmp_path / "result" / "runs").read_text() == "+"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["result", "source.zarr"]


def test_resumable_run_knows_a_file_by_its_relative_path(source: LabelMap, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    arguments: dict[str, Any] = {"source": str(source.path), "result": str(tmp_path / "result"), "wait": True}
    kill(start("resumable", {**arguments, "notes": str(tmp_path / "notes.txt")}))
    start("resumable", {**arguments, "notes": os.path.relpath(tmp_path / "notes.txt")}).communicate("")
    assert (tmp_path / "result" / "runs").read_text() == "++"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    with disk(tmp_path / "disk", "8m") as place:
        yield place


def test_full_disk_is_one_sentence_and_leaves_nothing(source: LabelMap, small_disk: Path) -> None:
    with pytest.raises(GeoductError, match=r"the disk is full: .*result could not be written"):
        toys.run({"source": source.path, "result": small_disk / "result", "mode": "fill"})
    assert list(small_disk.iterdir()) == []
