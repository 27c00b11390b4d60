"""The tools are launched as components are: on a login node without torch they run in the image."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from components.__main__ import dispatch
from components.errors import GeoductError
from components.launch.images import Image, write_entry

IMAGE = Image(f"127.0.0.1:5000/geoduct/learn@sha256:{'a' * 64}", "f00", "debian", 7)


@pytest.fixture(autouse=True)
def lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_entry(tmp_path / "images.lock.yaml", "learn", IMAGE)
    monkeypatch.setenv("GEODUCT_IMAGES", str(tmp_path / "images.lock.yaml"))
    monkeypatch.delenv("GEODUCT_LAUNCHER", raising=False)
    monkeypatch.chdir(tmp_path)


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert dispatch(["weights", *words, "--dry-run"]) == 0
    return shlex.split(capsys.readouterr().out)


def test_what_would_run_here_can_be_typed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = shown(capsys, "fetch", "prithvi_eo_v2_300")
    to = str(tmp_path / "data" / "weights" / "prithvi_eo_v2_300")
    assert said == ["geoduct", "weights", "fetch", "--to", to, "--backbone", "prithvi_eo_v2_300"]
    assert shown(capsys, *said[2:]) == said


@pytest.mark.parametrize("launcher", ["apptainer", "slurm"])  # compute nodes have no internet: the container runs here
def test_in_the_image(
    launcher: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEODUCT_LAUNCHER", launcher)
    file = tmp_path / "files" / "weights.pt"
    file.parent.mkdir()
    file.touch()
    words = ["convert", "files/weights.pt", "--backbone", "prithvi_eo_v2_300", "--to", "out/weights"]
    said = shown(capsys, *words)
    assert said[0] == "apptainer"
    assert f"{file}:{file}:ro" in said
    assert f"{tmp_path / 'out'}:{tmp_path / 'out'}" in said
    inside = ["geoduct", "weights", "convert", "--to", str(tmp_path / "out" / "weights"), "--file", str(file)]
    assert said[-9:] == [*inside, "--backbone", "prithvi_eo_v2_300"]


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["weights"]) == 0
    assert "convert FILE --backbone NAME --to FOLDER" in capsys.readouterr().out


def test_convert_needs_a_place() -> None:
    with pytest.raises(GeoductError, match="weights convert needs --to, the Weights that it writes"):
        dispatch(["weights", "convert", "file.pt", "--backbone", "prithvi_eo_v2_300"])
