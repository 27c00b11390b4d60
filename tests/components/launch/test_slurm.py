"""The launcher `slurm` where no cluster is: what it would submit, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import GeoductError
from components.launch import launch, preview
from components.launch.images import Image, write_entry
from components.registry import load
from tests.components.hpc.conftest import FOLDER


@pytest.fixture(autouse=True)
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user of JURECA with a lock of images."""
    write_entry(tmp_path / "lock.yaml", "data", Image("r/data@sha256:" + "a" * 64, "f00", "debian", 7))
    variables = {"GEODUCT_IMAGES": str(tmp_path / "lock.yaml"), "GEODUCT_HPC": str(FOLDER), "SYSTEMNAME": "jurecadc"}
    for name, value in {
        **variables,
        "PROJECT": "/p",
        "SCRATCH": "/s",
        "USER": "doe1",
        "SBATCH_ACCOUNT": "land",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("GEODUCT_SITE", "GEODUCT_SIF", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_a_dry_run_shows_the_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    shown = preview("slurm", load("simulate").spec, {"archive": tmp_path / "a"})
    assert shown.startswith(
        "sbatch --parsable --job-name=geoduct-simulate --account=land --partition=dc-cpu --time=02:00:00 --nodes=1 "
        "--ntasks-per-node=1 --cpus-per-task=128 --signal=B:USR1@300 --output=/s/doe1/geoduct-logs/%x-%j.out "
        f"--error=/s/doe1/geoduct-logs/%x-%j.err {FOLDER}/stage.sbatch apptainer --quiet exec "
    )
    assert shown.endswith(f"/p/doe1/geoduct/sif/data.sif geoduct simulate --archive {tmp_path}/a")
    assert "hush" not in shown


def test_gpus_are_asked_for_where_the_profile_says_so(tmp_path: Path) -> None:
    write_entry(tmp_path / "lock.yaml", "learn", Image("r/learn@sha256:" + "b" * 64, "f00", "debian", 7))
    (tmp_path / "patches").mkdir()
    shown = preview("slurm", load("train").spec, {"patches": tmp_path / "patches", "model": tmp_path / "model"})
    assert "--partition=dc-gpu --time=24:00:00 --nodes=2 --ntasks-per-node=4 --cpus-per-task=32 --gres=gpu:4 " in shown


def test_where_no_cluster_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        GeoductError, match="there is no sbatch on PATH: GEODUCT_LAUNCHER=slurm works on a cluster's login"
    ):
        launch("slurm", load("simulate").spec, {"archive": tmp_path / "a"})
