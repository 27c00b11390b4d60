#!/usr/bin/env bash
# One task of a step: task.sh apptainer exec …. Hands on what only the task knows to its container, which sees nothing
# else of the environment, and gives the container room for temporary files on the node's own disk.
set -euo pipefail

ranks=(SLURM_PROCID SLURM_LOCALID SLURM_NODEID SLURM_STEP_NUM_TASKS MASTER_ADDR MASTER_PORT)
if [ -n "${GEODUCT_APART:-}" ]; then
    # The tasks are no ranks of one run: each has a number of its own over all of an array, and a GPU of its own.
    ranks=(GEODUCT_WORKER)
    export GEODUCT_WORKER=$((${SLURM_ARRAY_TASK_ID:-0} * SLURM_STEP_NUM_TASKS + SLURM_PROCID))
    if [ "$SLURM_STEP_NUM_TASKS" -gt 1 ] && [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
        IFS=, read -r -a gpus <<< "$CUDA_VISIBLE_DEVICES"
        export CUDA_VISIBLE_DEVICES="${gpus[SLURM_LOCALID % ${#gpus[@]}]}"
    fi
fi
for name in SLURM_JOB_ID "${ranks[@]}" GEODUCT_STOP_FILE GEODUCT_TIMES_FILE GEODUCT_TIMES_STEPS NCCL_SOCKET_IFNAME \
    GLOO_SOCKET_IFNAME CUDA_VISIBLE_DEVICES; do
    if [ -n "${!name:-}" ]; then
        export "APPTAINERENV_$name=${!name}"
    fi
done
# Asked here, for the node that submitted the job may have no GPU.
if [ -e /dev/nvidiactl ]; then
    export APPTAINER_NV=1
fi

scratch=$(mktemp --directory --tmpdir="${LOCALSCRATCH:-${TMPDIR:-/tmp}}" geoduct-XXXXXXXX)
trap 'rm -rf "$scratch"' EXIT
# SLURM signals every process of a step: Geoduct handles SIGTERM and cleans up, and this script waits for it. The program
# that serves the image must outlast it, so Apptainer finds one on PATH that ignores the signal (FUSE leaves it so).
trap : TERM
mkdir "$scratch/bin" "$scratch/work"
if server=$(command -v squashfuse_ll); then
    printf '#!/bin/sh\ntrap "" TERM\nexec "%s" "$@"\n' "$server" > "$scratch/bin/squashfuse_ll"
    chmod +x "$scratch/bin/squashfuse_ll"
fi
export PATH="$scratch/bin:$PATH"
export APPTAINER_WORKDIR="$scratch/work"
code=0
"$@" || code=$?
exit "$code"
