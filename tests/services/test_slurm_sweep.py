"""`sbatch hpc/sweep.sbatch` and `hpc/scaling.sbatch`: tools of many runs, in Apptainer, as an ordinary user."""

from __future__ import annotations

import pytest
import yaml

from tests.components.train.worlds import land, patchset
from tests.services.cluster import User
from tests.tables import rows

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.fixture
def user(user_images: User) -> User:
    """The cluster's user with small patches."""
    image, label = land(60, 32, 3, seed=1)
    patchset(user_images.project / "patches.zarr", image, label)
    user_images.give(user_images.project / "patches.zarr")
    return user_images


def submitted(user: User, *words: str) -> str:
    """Submit a job, wait for it, and return all that it has said."""
    command = " ".join(("sbatch", "--wait", "--output=log-%A-%a", *words))
    done = user.run("bash", "-c", f'eval "$(geoduct hpc env train)" && {command}')
    log = "".join(file.read_text() for file in sorted(user.project.glob("log-*")))
    assert done.returncode == 0, done.stderr + log
    return log


def test_the_workers_of_an_array_share_the_trials(user: User) -> None:
    plan = {
        "component": "train",
        "inputs": {"patches": "patches.zarr"},
        "parameters": {"epochs": 1, "batch_size": 8},
        "space": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
        "trials": 4,
    }
    (user.project / "plan.yaml").write_text(yaml.safe_dump(plan))
    user.give(user.project / "plan.yaml")
    log = submitted(user, "--array=0-1", "hpc/sweep.sbatch", "plan.yaml", "study")
    found = rows(user.project / "study" / "trials.csv")
    assert [row["state"] for row in found] == ["complete"] * 4, log
    assert len({row["learning_rate"] for row in found}) == 4
    assert user.leftovers() == []


def test_ranks_on_both_nodes_are_measured(user: User) -> None:
    words = ("--ranks", "1,2", "--batch", "8", "--steps", "3", "study", "train", "--patches", "patches.zarr")
    log = submitted(user, "hpc/scaling.sbatch", *words)
    found = rows(user.project / "study" / "scaling.csv")
    expected = [("strong", "1"), ("strong", "2"), ("weak", "1"), ("weak", "2")]
    assert [(row["mode"], row["ranks"]) for row in found] == expected, log
    assert (user.project / "study" / "scaling.png").is_file()
    assert user.leftovers() == []
