"""`GEODUCT_LAUNCHER=slurm` on a real cluster, as an ordinary user: how a job can end, and that nothing is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from components import artifacts
from components.hpc.jobs import Lost, look_up
from components.launch.images import read_lock
from tests.services.cluster import User, administer, lines_until

pytestmark = pytest.mark.services

LONG = ("simulate", "--archive", "archive", "--size", "8192")
"""A run that is still at work when a test has its way with it."""


@pytest.fixture
def user(user_images: User) -> User:
    """The cluster's user, who launches through SLURM."""
    user_images.environment["GEODUCT_LAUNCHER"] = "slurm"
    return user_images


def begun(user: User) -> tuple[subprocess.Popen[str], str]:
    """Start a long run and wait until its job writes; returns it and the job's number."""
    child = user.start("geoduct", *LONG)
    lines_until(child, " runs on n0 since ")
    while child.poll() is None and not any(user.project.glob(".archive.*.partial")):
        pass
    (number,) = user.jobs()
    return child, number


def ended(child: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and last line that it said."""
    _, said = child.communicate()
    return child.returncode, said.strip().splitlines()[-1]


def test_artifact_message_and_exit_code_come_back(user: User) -> None:
    made = user.run("geoduct", "simulate", "--archive", "archive", "--size", "512")
    assert made.returncode == 0, made.stderr
    archive = artifacts.Archive.open(user.project / "archive")
    assert archive.provenance["image"] == read_lock(user.project / "containers" / "images.lock.yaml")["data"].reference
    assert re.search(r"geoduct: job \d+ submitted to partition batch\n", made.stderr)
    refused = user.run("geoduct", "acquire", "--catalog", "archive", "--scenes", "s.zarr", "--start", "soon")
    assert refused.returncode == 2
    assert "geoduct: --start is 'soon'; expected a day as YYYY-MM-DD\n" in refused.stderr
    assert user.leftovers() == []
    assert list((user.project.parent / "scratch" / "geoduct-logs").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "variables", "reason"),
    [
        (
            {},
            {"SBATCH_ACCOUNT": "nobody"},
            "Invalid account or account/partition combination specified (account nobody,",
        ),
        ({"partition": "nowhere"}, {}, "Invalid partition name specified (account geoduct, partition nowhere,"),
        ({"partition": "short"}, {}, "Requested time limit is invalid (missing or exceeds some limit)"),
        ({"memory": "900G"}, {}, "Requested node configuration is not available"),
    ],
)
def test_refused(user: User, change: dict[str, str], variables: dict[str, str], reason: str) -> None:
    user.mend_site(**change)
    refused = user.run("geoduct", *LONG, **variables)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"geoduct: SLURM refused the job of simulate: {reason}")
    assert refused.stderr.count("\n") == 1
    assert user.leftovers() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_told_to_end(user: User, number: int, code: int) -> None:
    child, _ = begun(user)
    child.send_signal(number)
    assert ended(child)[0] == code
    assert user.leftovers() == []


def test_cancelled(user: User) -> None:
    child, number = begun(user)
    administer("scancel", number)
    code, said = ended(child)
    assert code == 2
    assert said.startswith(f"geoduct: simulate (job {number}) was cancelled by ")
    assert user.leftovers() == []


def test_walltime(user: User) -> None:
    child, number = begun(user)
    administer("scontrol", "update", f"jobid={number}", "endtime=now+1")
    code, said = ended(child)
    assert code == 2
    assert said.startswith(f"geoduct: simulate (job {number}) reached its walltime of 00:10:00 and was ended;")
    assert user.leftovers() == []


def test_out_of_memory(user: User) -> None:
    user.mend_site(memory="60M")
    child = user.start("geoduct", *LONG)
    code, said = ended(child)
    assert code == 2
    assert re.match(r"geoduct: simulate \(job \d+\) ran out of memory on n0: it had 60M; give it more in ", said), said
    assert user.leftovers() == []


@pytest.fixture
def node_back() -> Iterator[None]:
    """Node n0 is well again at the end."""
    yield
    if "down" in administer("sinfo", "--noheader", "--nodes=n0", "--format=%T"):
        administer("scontrol", "update", "nodename=n0", "state=resume")


def test_node_failed(user: User, node_back: None) -> None:
    child, number = begun(user)
    administer("scontrol", "update", "nodename=n0", "state=down", "reason=test")
    code, said = ended(child)
    assert code == 2
    assert said.startswith(f"geoduct: simulate (job {number}) ended because a node failed (n0); give the same command")
    while user.processes():  # SLURM calls the job over while the node's daemon still ends what ran there
        pass
    assert user.leftovers() == []


def test_controller_silent(user: User, slurm_state: Path) -> None:
    file = user.project / "hpc" / "sites" / "local.yaml"
    file.write_text(file.read_text().replace("patience: 30", "patience: 2"))
    child, number = begun(user)
    controller = int((slurm_state / "run" / "slurmctld.pid").read_text())
    os.kill(controller, signal.SIGSTOP)
    try:
        code, said = ended(child)
    finally:
        os.kill(controller, signal.SIGCONT)
    assert code == 2
    assert said.startswith(f"geoduct: SLURM has not answered for 2 s, so job {number} counts as lost; it may still be")


def test_dry_run_submits_nothing(user: User) -> None:
    told = user.run("geoduct", *LONG, "--dry-run")
    assert told.stdout.startswith("sbatch --parsable --job-name=geoduct-simulate --account=geoduct --partition=batch ")
    assert f"{user.project}/hpc/stage.sbatch apptainer --quiet exec " in told.stdout
    assert user.leftovers() == []


def test_a_job_that_slurm_has_forgotten_is_lost(slurm: None) -> None:
    assert look_up("4000000") is Lost
