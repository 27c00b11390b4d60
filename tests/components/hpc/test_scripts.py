"""The batch scripts for sweeps and scaling studies, run whole with stand-ins for SLURM and Apptainer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.components.hpc.batch_stubs import make
from tests.components.train.worlds import land, patchset
from tests.ports import free_port
from tests.tables import rows


def test_each_worker_of_a_sweep_has_its_own_number_and_gpu(tmp_path: Path) -> None:
    stubs = make(tmp_path, "python3 " + str(told := tmp_path / "tell.py"))
    told.write_text("import json, os\nprint(json.dumps(dict(os.environ)))")
    done = stubs.sbatch(
        "sweep.sbatch",
        "plan.yaml",
        "study",
        GEODUCT_TASKS="2",
        SLURM_ARRAY_JOB_ID="5",
        SLURM_ARRAY_TASK_ID="3",
        CUDA_VISIBLE_DEVICES="4,6",
    )
    assert done.returncode == 0, done.stderr
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(v["GEODUCT_WORKER"], v["CUDA_VISIBLE_DEVICES"]) for v in seen} == {("6", "4"), ("7", "6")}
    for variables in seen:
        assert variables["GEODUCT_STOP_FILE"].endswith("geoduct-job-7/stop")
        assert not {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "MASTER_ADDR"} & variables.keys(), "a trial is no rank"


def test_a_stopped_worker_is_followed_by_the_same_task_of_the_array(tmp_path: Path) -> None:
    stubs = make(tmp_path, "sh " + str(stop := tmp_path / "stop.sh"))
    stop.write_text("exit 75\n")
    done = stubs.sbatch("sweep.sbatch", "plan.yaml", "study", SLURM_ARRAY_JOB_ID="5", SLURM_ARRAY_TASK_ID="3")
    assert done.returncode == 0, done.stderr
    (submitted,) = (line for line in done.stderr.splitlines() if line.startswith("sbatch "))
    assert submitted == (
        "sbatch --dependency=afterany:5_3 --nodes=1 --array=3 --partition=batch --time=00:10:00 --output=/jobs/log "
        "/jobs/script.sbatch plan.yaml study"
    )
    stop.write_text("exit 2\n")
    assert stubs.sbatch("sweep.sbatch", "plan.yaml", "study").returncode == 2


@pytest.mark.slow
def test_a_sweep_as_a_job(tmp_path: Path) -> None:
    stubs = make(tmp_path)
    image, label = land(40, 32, 3, seed=1)
    patchset(stubs.scratch / "patches.zarr", image, label)
    plan = {
        "component": "train",
        "inputs": {"patches": "patches.zarr"},
        "parameters": {"epochs": 1, "batch_size": 8},
        "space": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
        "trials": 2,
    }
    (stubs.scratch / "plan.yaml").write_text(yaml.safe_dump(plan))
    done = stubs.sbatch("sweep.sbatch", "plan.yaml", "study", GEODUCT_TASKS="2")
    assert done.returncode == 0, done.stderr
    trials = rows(stubs.scratch / "study" / "trials.csv")
    assert [row["state"] for row in trials] == ["complete"] * 2
    assert len({row["learning_rate"] for row in trials}) == 2


@pytest.mark.slow
def test_a_scaling_study_as_a_job(tmp_path: Path) -> None:
    stubs = make(tmp_path)
    image, label = land(80, 32, 3, seed=1)
    patchset(stubs.scratch / "patches.zarr", image, label)
    words = ["--ranks", "1,2", "--batch", "8", "--steps", "2", "study", "train", "--patches", "patches.zarr"]
    refused = stubs.sbatch("scaling.sbatch", *words)
    assert refused.returncode == 2
    assert "2 ranks do not fill whole nodes of 1 tasks, or need more than the 1 nodes" in refused.stderr
    job = str(free_port() - 20_000)  # the ranks meet at the port that follows from it
    done = stubs.sbatch("scaling.sbatch", *words, SLURM_JOB_NUM_NODES="2", SLURM_JOB_ID=job)
    assert done.returncode == 0, done.stderr
    assert "1 ranks on" not in done.stderr, "what the first job has measured is not measured again"
    listed = rows(stubs.scratch / "study" / "scaling.csv")
    assert [(row["mode"], row["ranks"]) for row in listed] == [
        ("strong", "1"),
        ("strong", "2"),
        ("weak", "1"),
        ("weak", "2"),
    ]
    times = json.loads((stubs.scratch / "study" / "runs" / "2x4" / "times.json").read_text())
    assert times["ranks"] == 2 and set(times["steps"]) == {"plain", "parted", "apart"}
    assert not list((stubs.scratch / "study" / "runs").rglob("*.ckpt"))
