#!/usr/bin/env bash
# One task of a step: task.sh apptainer exec …. Hands on what only the task knows to its container, which sees nothing
# else of the environment, and gives the container room for temporary files on the node's own disk.
set -euo pipefail

for name in SLURM_JOB_ID SLURM_PROCID SLURM_LOCALID SLURM_NODEID SLURM_STEP_NUM_TASKS MASTER_ADDR MASTER_PORT \
    GEODUCT_STOP_FILE NCCL_SOCKET_IFNAME GLOO_SOCKET_IFNAME CUDA_VISIBLE_DEVICES HF_HUB_OFFLINE; do
    if [ -n "${!name:-}" ]; then
        export "APPTAINERENV_$name=${!name}"
    fi
done
export APPTAINER_MESSAGELEVEL=-1 # warnings and errors: which optional tools it lacks is no news in a job's log
# Asked here, for the node that submitted the job may have no GPU.
if [ -e /dev/nvidiactl ]; then
    export APPTAINER_NV=1
fi

scratch=$(mktemp --directory --tmpdir="${LOCALSCRATCH:-${TMPDIR:-/tmp}}" geoduct-XXXXXXXX)
trap 'rm -rf "$scratch"' EXIT
trap : TERM USR1 # the container gets SLURM's signals as well; this script waits until it has cleaned up
export APPTAINER_WORKDIR="$scratch"
code=0
"$@" || code=$?
exit "$code"
