"""`sbatch hpc/train.sbatch` on two nodes, in Apptainer, as an ordinary user: stopped, it goes on to the same end."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.components.train.worlds import land, patchset
from tests.services.cluster import User, administer

pytestmark = pytest.mark.services

EPOCHS = 6
ARGUMENTS = (
    "--patches",
    "patches.zarr",
    f"--epochs {EPOCHS}",
    "--batch-size",
    "4",
    "--patience",
    "0",
    "--workers",
    "1",
)
ENVIRONMENT = 'eval "$(geoduct hpc env train)" && '


@pytest.fixture
def user(user_images: User) -> User:
    """The cluster's user, with small patches to train on."""
    patchset(user_images.project / "patches.zarr", *land(120, 64, 3, seed=1))
    user_images.give(user_images.project / "patches.zarr")
    return user_images


def submit(user: User, model: str, *options: str) -> str:
    """Submit a training; returns the job's number."""
    words = " ".join(("sbatch --parsable", *options, "hpc/train.sbatch", "--model", model, *ARGUMENTS))
    made = user.run("bash", "-c", ENVIRONMENT + words)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def wait(user: User, *jobs: str) -> None:
    """Wait until these jobs are over."""
    words = f"sbatch --wait --account=geoduct --dependency=afterany:{':'.join(jobs)} --output=/dev/null --wrap=true"
    assert user.run(*words.split()).returncode == 0


def seen(user: User, job: str, text: str) -> str:
    """Wait until a job's log holds `text`; returns the log."""
    log = user.project / f"geoduct-train-{job}.out"
    while not (log.exists() and text in log.read_text()):
        if job not in user.jobs():
            raise AssertionError(f"job {job} ended without saying {text!r}:\n{log.read_text()}")
    return log.read_text()


def log(user: User, job: str) -> str:
    """What a job and its successors have said."""
    return (user.project / f"geoduct-train-{job}.out").read_text()


def curve(user: User, model: str) -> np.ndarray:
    """The history of a model: a row for each epoch."""
    return np.genfromtxt(user.project / model / "history.csv", delimiter=",", skip_header=1)


def test_slurm_warns_a_job_before_its_walltime(user: User) -> None:
    # Asked for so early that SLURM, which looks every half a minute, warns soon after the start.
    waiting = 'until test -e "$GEODUCT_STOP_FILE"; do sleep 0.1; done; exit 75'
    done = user.run(
        "bash",
        "-c",
        f"{ENVIRONMENT} sbatch --wait --time=1 --signal=B:USR1@50 --output=log hpc/stage.sbatch bash -c '{waiting}'",
    )
    assert done.returncode == 75, (user.project / "log").read_text()
    assert user.leftovers() == []


def test_stopped_before_its_walltime_it_reaches_the_same_end(user: User) -> None:
    whole = submit(user, "whole")
    wait(user, whole)
    assert (user.project / "whole" / "model.json").is_file(), log(user, whole)

    first = submit(user, "resumed")
    seen(user, first, "epoch 2/")
    administer("scancel", "--batch", "--signal=USR1", first)  # what SLURM sends as a warning
    wait(user, first)
    assert "the same command goes on" in log(user, first)
    while successors := user.jobs():
        wait(user, *successors)
    assert (user.project / "resumed" / "model.json").is_file(), log(user, first)

    np.testing.assert_array_equal(curve(user, "resumed"), curve(user, "whole"))
    one, other = (load_file(user.project / name / "model.safetensors") for name in ("whole", "resumed"))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert user.leftovers() == []


def test_a_failed_node_is_made_up_for(user: User) -> None:
    job = submit(user, "model")
    seen(user, job, "epoch 2/")
    administer("scontrol", "update", "nodename=n1", "state=down", "reason=test")
    # Refused where the node has come back, or the job has begun again, by itself; SLURM lets two minutes pass else.
    subprocess.run(["scontrol", "update", "nodename=n1", "state=resume"], check=False)
    subprocess.run(["scontrol", "update", f"jobid={job}", "starttime=now"], check=False)
    wait(user, job)
    assert (user.project / "model" / "model.json").is_file(), log(user, job)
    assert len(curve(user, "model")) == EPOCHS
    assert log(user, job).count("epoch 1/") == 1  # it did not begin anew


def test_cancelled_it_leaves_no_process_and_no_half_artifact(user: User) -> None:
    job = submit(user, "model")
    seen(user, job, "epoch 1/")
    administer("scancel", job)
    wait(user, job)
    assert not (user.project / "model").exists()
    assert [line for line in user.leftovers() if not line.endswith(".partial")] == []
