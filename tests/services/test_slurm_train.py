"""`sbatch hpc/train.sbatch` on two nodes, in Apptainer, as an ordinary user: stopped, it goes on to the same end."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from tests.components.train.worlds import land, patchset
from tests.services.batch import Batch, assert_same_end, curve
from tests.services.cluster import User, administer

pytestmark = pytest.mark.services

EPOCHS = 6
ARGUMENTS = ("--patches patches.zarr", f"--epochs {EPOCHS}", "--batch-size 4", "--patience 0", "--workers 1")


@pytest.fixture
def batch(user_images: User) -> Batch:
    """Trainings of the cluster's user, on small patches."""
    patchset(user_images.project / "patches.zarr", *land(120, 64, 3, seed=1))
    user_images.give(user_images.project / "patches.zarr")
    return Batch(user_images, "train", ARGUMENTS)


def test_slurm_warns_a_job_before_its_walltime(user_images: User) -> None:
    # SLURM looks every half a minute and may warn that much too early or too late: not in the first 15 s, by when the
    # script has set its trap, and not in the last half a minute.
    waiting = 'until test -e "$GEODUCT_STOP_FILE"; do sleep 0.1; done; exit 75'
    asked = "sbatch --wait --time=1 --signal=B:USR1@20 --output=log"
    done = user_images.run(
        "bash", "-c", f"eval \"$(geoduct hpc env train)\" && {asked} hpc/stage.sbatch bash -c '{waiting}'"
    )
    assert done.returncode == 75, (user_images.project / "log").read_text()
    assert user_images.leftovers() == []


def test_stopped_before_its_walltime_it_reaches_the_same_end(batch: Batch) -> None:
    whole = batch.submit("whole")
    batch.wait(whole)

    first = batch.submit("resumed")
    batch.seen(first, "epoch 2/")
    batch.warn(first)
    batch.wait(first)
    assert "the same command goes on" in batch.log(first)
    batch.wait_for_successors()

    assert_same_end(batch.made("resumed", first), batch.made("whole", whole))
    assert batch.user.leftovers() == []


def test_a_failed_node_is_made_up_for(batch: Batch) -> None:
    job = batch.submit("model")
    batch.seen(job, "epoch 2/")
    administer("scontrol", "update", "nodename=n1", "state=down", "reason=test")
    # Refused where the node has come back, or the job has begun again, by itself; SLURM lets two minutes pass else.
    subprocess.run(["scontrol", "update", "nodename=n1", "state=resume"], check=False)
    subprocess.run(["scontrol", "update", f"jobid={job}", "starttime=now"], check=False)
    batch.wait(job)
    assert len(curve(batch.made("model", job))) == EPOCHS
    assert batch.log(job).count("epoch 1/") == 1  # it did not begin anew


def test_cancelled_it_leaves_no_process_and_no_half_artifact(batch: Batch) -> None:
    batch = replace(batch, arguments=tuple(word.replace(f"--epochs {EPOCHS}", "--epochs 100000") for word in ARGUMENTS))
    job = batch.submit("model")
    batch.seen(job, "epoch 1/")
    administer("scancel", job)  # long before its end
    batch.wait(job)
    assert not (batch.user.project / "model").exists()
    assert [line for line in batch.user.leftovers() if not line.endswith(".partial")] == []
