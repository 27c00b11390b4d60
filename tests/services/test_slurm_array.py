"""`sbatch hpc/predict-array.sbatch`: one map a line, shared out over the tasks of an array."""

from __future__ import annotations

import pytest

from components.artifacts import Map
from tests.services.cluster import User

pytestmark = pytest.mark.services


@pytest.fixture
def user(user_images: User) -> User:
    """The cluster's user with a sample scene, its composite and a model of one epoch."""
    for words in (
        "simulate --archive archive --size 512",
        "acquire --catalog archive --scenes scenes.zarr",
        "composite --scenes scenes.zarr --composite one.zarr",
        "composite --scenes scenes.zarr --composite two.zarr --reduction best",
        "label --composite one.zarr --source archive/corine.tif --labels labels.zarr",
        "patch --composite one.zarr --labels labels.zarr --patches patches.zarr --size 32 --stride 32 --block 640",
        "train --patches patches.zarr --model model --epochs 1",
    ):
        made = user_images.run("geoduct", *words.split(), GEODUCT_LAUNCHER="apptainer")
        assert made.returncode == 0, made.stderr
    return user_images


def test_every_line_is_done_and_a_bad_one_is_named(user: User) -> None:
    (user.project / "list").write_text("one.zarr\tmaps/one\nnone.zarr\tmaps/none\ntwo.zarr\tmaps/two\n")
    done = user.run(
        "bash",
        "-c",
        'eval "$(geoduct hpc env predict)" && '
        "sbatch --wait --array=1-2 --output=log-%a hpc/predict-array.sbatch list --model model",
    )
    first, second = ((user.project / f"log-{task}").read_text() for task in (1, 2))
    for name in ("one", "two"):
        assert (user.project / "maps" / name).is_dir(), first + second
        Map.open(user.project / "maps" / name).verify()
    assert "geoduct: none.zarr does not exist; predict reads it as --composite\n" in second
    assert "geoduct: line 2 of list (none.zarr) ended with exit code 2\n" in second
    assert "exit code" not in first
    assert done.returncode == 2
    assert user.leftovers() == []
