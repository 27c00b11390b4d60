"""Stand-ins for SLURM and Apptainer on PATH, so that a batch script runs whole on this machine.

`srun` starts the tasks as processes with the variables of a step, and `geoduct hpc container` gives a command that sees
nothing of the environment but what `task.sh` hands on, as in a container.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.components.hpc.conftest import FOLDER
from tests.conftest import ROOT

SRUN = """#!/usr/bin/env bash
while [[ "$1" == --* ]]; do
    case "$1" in
        --ntasks=*) tasks=${1#*=} ;;
        --ntasks-per-node=*) each=${1#*=} ;;
        --nodes=*) echo "step: $1" >&2 ;;
    esac
    shift
done
children=() worst=0
for ((rank = 0; rank < tasks; rank++)); do
    SLURM_PROCID=$rank SLURM_LOCALID=$((rank % each)) SLURM_STEP_NUM_TASKS=$tasks "$@" &
    children+=($!)
done
for child in "${children[@]}"; do
    code=0
    wait "$child" || code=$?
    [ "$code" -le "$worst" ] || worst=$code
done
exit "$worst"
"""
SCONTROL = """#!/bin/sh
case "$*" in
    *hostnames*) echo 127.0.0.1 ;;
    *) echo "JobId=7 TimeLimit=00:10:00 Command=/jobs/script.sbatch StdOut=/jobs/log for=$4" ;;
esac
"""
SBATCH = """#!/bin/sh
echo "sbatch $*" >&2
"""
GEODUCT = """#!/usr/bin/env bash
if [ "$1 $2" = "hpc container" ]; then
    shift 2
    printf 'container=(contained'
    printf ' %q' {command} "$@"
    echo ')'
else
    exec {command} "$@"
fi
"""
CONTAINED = """#!/usr/bin/env bash
variables=()
while IFS='=' read -r name value; do
    variables+=("${name#APPTAINERENV_}=$value")
done < <(env | grep '^APPTAINERENV_')
exec env -i PATH="$PATH" HOME="$HOME" PYTHONPATH="$PYTHONPATH" OMP_NUM_THREADS=1 "${variables[@]}" "$@"
"""


@dataclass(frozen=True)
class Stubs:
    """A folder to put on PATH, and one for what a job leaves."""

    programs: Path
    scratch: Path

    def sbatch(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script of hpc/ as the job 7, on one node of one task if `variables` do not say otherwise."""
        environment = {
            **os.environ,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "GEODUCT_HPC": str(FOLDER),
            "GEODUCT_SCRATCH": str(self.scratch),
            "GEODUCT_TASKS": "1",
            "GEODUCT_CPUS": "1",
            "GEODUCT_SUCCESSORS": "3",
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "n0",
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_JOB_PARTITION": "batch",
            **variables,
        }
        return subprocess.run(
            ["bash", FOLDER / script, *arguments], env=environment, cwd=self.scratch, capture_output=True, text=True
        )


def make(folder: Path, command: str | None = None) -> Stubs:
    """The stand-ins; containers run `command`, by default the command line of this very source."""
    stubs = Stubs(folder / "bin", folder / "scratch")
    for place in (stubs.programs, stubs.scratch):
        place.mkdir()
    geoduct = GEODUCT.replace("{command}", command or f"{shlex.quote(sys.executable)} -m components")
    programs = {"srun": SRUN, "scontrol": SCONTROL, "sbatch": SBATCH, "geoduct": geoduct, "contained": CONTAINED}
    for name, text in programs.items():
        (stubs.programs / name).write_text(text)
        (stubs.programs / name).chmod(0o755)
    return stubs
