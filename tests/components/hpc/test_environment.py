"""What `geoduct hpc env` gives to a shell, and that the batch scripts need no more than that."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from components.errors import GeoductError
from components.hpc.command import main
from components.hpc.contained import TOOLS
from components.registry import COMPONENTS
from tests.components.hpc.conftest import FOLDER

SCRIPTS = sorted(FOLDER.glob("*.sbatch"))


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str | None]:
    """Variables that a shell has set after the printed commands; None for those that it has unset."""
    assert main(["env", *words]) == 0
    found: dict[str, str | None] = {}
    for line in capsys.readouterr().out.splitlines():
        verb, rest = line.split(" ", 1)
        name, _, value = rest.partition("=")
        found[name] = "".join(shlex.split(value)) if verb == "export" else None
    return found


def test_jureca(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "--site", "jureca", "--account", "land")
    assert found == {
        "SBATCH_ACCOUNT": "land",
        "SBATCH_PARTITION": "dc-gpu",
        "SBATCH_TIMELIMIT": "24:00:00",
        "SBATCH_MEM_PER_NODE": None,
        "SBATCH_GRES": "gpu:4",
        "SBATCH_SIGNAL": "B:USR1@300",
        "GEODUCT_SITE": "jureca",
        "GEODUCT_HPC": str(FOLDER),
        "GEODUCT_IMAGES": str(FOLDER.parent / "containers" / "images.lock.yaml"),
        "GEODUCT_SIF": "/p/project1/land/doe1/geoduct/sif",
        "GEODUCT_SCRATCH": "/p/scratch/land/doe1",
        "GEODUCT_MODULES": None,
        "GEODUCT_BINDS": None,
        "GEODUCT_TASKS": "4",
        "GEODUCT_CPUS": "32",
        "GEODUCT_HOST_SUFFIX": "i",
        "GEODUCT_SUCCESSORS": "20",
        "NCCL_SOCKET_IFNAME": "ib0",
        "GLOO_SOCKET_IFNAME": "ib0",
    }


def test_what_one_component_needs_does_not_stay_for_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "composite", "--site", "jureca")["SBATCH_GRES"] is None
    assert printed(capsys, "predict", "--site", "jureca")["SBATCH_GRES"] == "gpu:1"


def test_the_users_account_goes_before_the_profiles(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert printed(capsys, "--site", "local")["SBATCH_ACCOUNT"] == "geoduct"
    monkeypatch.setenv("SBATCH_ACCOUNT", "mine")
    assert printed(capsys, "--site", "local")["SBATCH_ACCOUNT"] == "mine"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["evn"], "geoduct hpc has no tool 'evn'; did you mean 'env'"),
        (["env", "tarin"], "there is no component 'tarin'; did you mean 'train'"),
        (["env", "--sit", "local"], "geoduct hpc does not know '--sit'; did you mean '--site'"),
        (["env", "--site"], "geoduct hpc: --site needs a value"),
        (["container", "trian"], "there is no component 'trian'; did you mean 'train'"),
    ],
)
def test_wrong_words(words: list[str], sentence: str) -> None:
    with pytest.raises(GeoductError, match=re.escape(sentence)):
        main(words)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_headers_hold_nothing_of_a_site(script: Path) -> None:
    options = set(re.findall(r"^#SBATCH --([a-z-]+)", script.read_text(), re.MULTILINE))
    assert options <= {"job-name", "nodes", "exclusive", "mem", "requeue", "no-requeue", "output", "open-mode"}


def test_a_component_that_uses_several_nodes_has_its_script() -> None:
    named = {
        name for s in SCRIPTS for name in re.findall(r"^(?:resumable|\s*container) (\w+)", s.read_text(), re.MULTILINE)
    }
    assert named == {"train", "predict", "finetune", "sweep", "scaling"}
    assert named <= {*COMPONENTS, *TOOLS}


@pytest.mark.parametrize("script", [*SCRIPTS, FOLDER / "job.sh", FOLDER / "task.sh"], ids=lambda path: path.name)
def test_scripts_are_shell(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], capture_output=True, text=True).stderr == ""


def test_a_script_without_its_environment_says_what_to_run() -> None:
    told = subprocess.run(
        ["bash", FOLDER / "train.sbatch"], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert told.returncode != 0
    assert 'GEODUCT_HPC: is not set: run eval "$(geoduct hpc env train)" before sbatch' in told.stderr
