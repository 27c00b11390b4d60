"""`geoduct hpc check` on a real cluster: what it finds is made true first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.disks import disk
from tests.services.cluster import User

pytestmark = pytest.mark.services


def findings(user: User, *words: str, **variables: str) -> tuple[int, dict[str, str]]:
    """Exit code, and what is said of each subject, its cure included."""
    told = user.run("geoduct", "hpc", "check", *words, **variables)
    assert told.stderr == ""
    found: dict[str, str] = {}
    for line in told.stdout.splitlines()[:-1]:
        if match := re.match(r"(ok|MEND|\?) +(\S+( data| learn)?) +(.*)", line):
            subject = match[2]
            found[subject] = f"{match[1]}: {match[4]}"
        else:
            found[subject] += line.strip()
    return told.returncode, found


@contextmanager
def folders(user: User, size: str) -> Iterator[Path]:
    """Project and scratch of the user on a disk of a certain size."""
    with disk(user.project / "disk", size) as place:
        profile = user.project / "hpc" / "sites" / "local.yaml"
        text = profile.read_text()
        for name, where in (("project", "$HOME"), ("scratch", "$HOME/scratch")):
            assert f"{name}: {where}\n" in text
            text = text.replace(f"{name}: {where}\n", f"{name}: {place / name}\n")
        profile.write_text(text)
        yield place


def test_ready(user_images: User) -> None:
    with folders(user_images, "30g"):
        code, found = findings(user_images, "simulate", "--data", "hpc", "containers/images.lock.yaml")
    assert [text.partition(":")[0] for text in found.values()] == ["ok"] * len(found), found
    assert code == 0
    assert list(found) == ["apptainer", "fuse", "image data", "slurm", "project", "scratch", "data", "network"]
    assert "sif/data.sif runs, and is sha256:" in found["image data"]


def test_folders_without_room(user_images: User) -> None:
    with folders(user_images, "10g") as place:
        code, found = findings(user_images, "simulate")
    assert code == 1
    for name in ("project", "scratch"):
        assert found[name] == f"MEND: {place / name} has 10.7 GB left→ make room: 20 GB"


@pytest.mark.parametrize(
    ("resources", "variables", "said"),
    [
        (
            {},
            {"SBATCH_ACCOUNT": "nobody"},
            r"MEND: account nobody, .*: Invalid account.*→ your accounts: geoduct; choose",
        ),
        (
            {"partition": "nowhere"},
            {},
            r"MEND: .* partition nowhere, .*: Invalid partition.*→ partitions: batch, short;",
        ),
        ({"partition": "short"}, {}, r"MEND: .*Requested time limit is invalid.*short up to 2:00; mend `time` in "),
        ({"nodes": 9}, {}, r"MEND: .*→ mend what is asked for in \S+local\.yaml"),
    ],
)
def test_slurm_would_refuse(
    user_images: User, resources: dict[str, str | int], variables: dict[str, str], said: str
) -> None:
    user_images.mend_site(**resources)
    code, found = findings(user_images, "simulate", **variables)
    assert code == 1
    assert re.match(said, found["slurm"]), found["slurm"]


def test_no_slurm_here(user_images: User, tmp_path: Path) -> None:
    bare = user_images.project / ".bin"
    (bare / "apptainer").symlink_to("/usr/bin/apptainer")
    code, found = findings(user_images, "simulate", PATH=str(bare))
    assert code == 1
    assert found["slurm"] == "MEND: there is no sbatch on PATH→ log in to a login node of the cluster"


def test_no_apptainer_here(user_images: User) -> None:
    code, found = findings(user_images, "simulate", PATH=str(user_images.project / ".bin"))
    assert code == 1
    assert found["apptainer"].startswith("MEND: not on PATH→ load the module that has it")
    assert found["image data"].startswith("MEND: there is no apptainer on PATH")


def test_truncated_image(user_images: User) -> None:
    sif = user_images.project / "containers" / "sif" / "data.sif"
    whole = sif.read_bytes()
    sif.unlink()  # it shares its bytes with the original
    sif.write_bytes(whole[: len(whole) // 2])
    code, found = findings(user_images, "simulate")
    assert code == 1
    assert re.match(rf"MEND: {sif} is truncated: it has \d+ of \d+ bytes", found["image data"])


def test_image_of_another_build(user_images: User) -> None:
    lock = user_images.project / "containers" / "images.lock.yaml"
    lock.write_text(re.sub("sha256:[0-9a-f]{64}", "sha256:" + "a" * 64, lock.read_text()))
    code, found = findings(user_images, "simulate")
    assert code == 1
    assert re.match(rf"MEND: .*data\.sif was built from .*, but the lock names sha256:{'a' * 64}", found["image data"])


def test_permission_folders_data_and_network(user_images: User) -> None:
    sites = user_images.project / "hpc" / "sites"
    text = (sites / "local.yaml").read_text()
    text = text.replace("group: null", "group: container").replace("internet: true", "internet: false")
    text = text.replace("project: $HOME", "project: /etc/project").replace("$HOME/scratch", "$NOWHERE/scratch")
    (sites / "local.yaml").write_text(text)
    code, found = findings(user_images, "simulate", "--data", "gone.zarr", "https://stac.example/v1")
    assert code == 1
    assert found["permission"].startswith("MEND: not a member of the group container→ ask for access to the Container")
    assert found["project"].startswith("MEND: /etc/project cannot be written: Permission denied→")
    assert found["scratch"].startswith("MEND: $NOWHERE/scratch: not set")
    assert found["data"].startswith("MEND: gone.zarr is not here→ stage it from a login node")
    assert found["network"].startswith("MEND: https://stac.example/v1: compute nodes have no internet→ acquire it on a")
