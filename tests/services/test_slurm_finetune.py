"""`sbatch hpc/finetune.sbatch` on two nodes, in Apptainer, as an ordinary user: stopped or hurt, it reaches its end."""

from __future__ import annotations

import os
import re
import signal
from datetime import datetime

import numpy as np
import pytest

from tests.components.train.worlds import land, patchset
from tests.services.batch import Batch, assert_same_end
from tests.services.cluster import User, administer

pytestmark = [pytest.mark.services, pytest.mark.slow]

BANDS = ("B02", "B03", "B04", "B8A", "B11", "B12")
OVERRIDES = (
    "model.init_args.model_args.backbone_pretrained=false",
    "model.init_args.model_args.backbone_img_size=64",
    "model.init_args.model_args.num_classes=3",
    "data.init_args.batch_size=4",
    "data.init_args.workers=1",
    "trainer.max_epochs=8",
)
ARGUMENTS = ("--patches patches.zarr", "--config hpc/configs/prithvi-v2-tiny.yaml", "--override", *OVERRIDES)


@pytest.fixture
def batch(user_images: User) -> Batch:
    """Jobs of the cluster's user that fine-tune the smallest Prithvi on small patches."""
    image, label = land(60, 64, 3, seed=1)
    patchset(user_images.project / "patches.zarr", np.concatenate([image, image], axis=1), label, bands=BANDS)
    user_images.give(user_images.project / "patches.zarr")
    return Batch(user_images, "finetune", ARGUMENTS)


def test_stopped_twice_and_robbed_of_a_rank_it_reaches_the_same_end(batch: Batch) -> None:
    whole = batch.submit("whole")
    batch.wait(whole)

    first = batch.submit("resumed")
    job = first
    for _ in range(2):
        batch.seen(first, f"epoch {batch.epochs(first) + 1}/")
        batch.warn(job)
        batch.wait(job)
        (job,) = batch.user.jobs()  # its successor, which writes to the same log

    batch.seen(first, f"epoch {batch.epochs(first) + 1}/")
    lost = datetime.now()
    os.kill(batch.ranks()[1], signal.SIGKILL)  # as the kernel does when memory runs out
    batch.wait(job)
    about = administer("scontrol", "show", "job", job)
    assert "JobState=FAILED" in about
    ended = datetime.fromisoformat(re.search(r"EndTime=(\S+)", about)[1])
    assert (ended - lost).total_seconds() < 60, "the other rank is to stop within a minute, not at the walltime"
    assert batch.user.jobs() == []

    again = batch.submit("resumed")  # the same command
    batch.wait(again)
    assert_same_end(batch.made("resumed", again), batch.made("whole", whole))
    said = batch.log(first) + batch.log(again)
    assert [said.count(f"epoch {epoch}/") for epoch in (1, 2)] == [1, 1], "it began anew"
    assert batch.user.leftovers() == []
