# shellcheck shell=bash
# What the batch scripts share; sourced, for sbatch copies a script away from its folder. `geoduct hpc env` sets the
# GEODUCT_* variables. Offers: container, step, spread, resumable, successor.
set -euo pipefail

if [ -n "${GEODUCT_MODULES:-}" ]; then
    # shellcheck disable=SC2086 # several names in one variable
    module load $GEODUCT_MODULES
fi

# A folder of this job that every node and every container sees: the word to stop is left here.
job_folder="$GEODUCT_SCRATCH/geoduct-job-$SLURM_JOB_ID"
mkdir -p "$job_folder"
trap 'rm -rf "$job_folder"' EXIT
export GEODUCT_STOP_FILE="$job_folder/stop"
rm -f "$GEODUCT_STOP_FILE" # a job that SLURM starts again has the same number
APPTAINER_BIND="$job_folder:$job_folder:ro${GEODUCT_BINDS:+,$GEODUCT_BINDS}"
export APPTAINER_BIND

# Where the tasks of a step meet. The port follows from the job, so that two jobs on one node do not meet.
MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)${GEODUCT_HOST_SUFFIX:-}"
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export MASTER_ADDR MASTER_PORT

# container COMPONENT --flag value …: sets the array `container` to the `apptainer exec …` of a component, as its
# signature, the lock of images and the arguments say; also exports the variables that go into the container.
container=()
container() {
    local words
    words=$(geoduct hpc container "$@") || return
    eval "$words"
}

# step TASKS WORD…: runs the words as one step, that many times on each node, and returns the step's exit code.
step() {
    spread "$SLURM_JOB_NUM_NODES" "$@"
}

# spread NODES TASKS WORD…: the same on so many of the nodes.
spread() {
    local nodes=$1 tasks=$2 child code
    shift 2
    # A rank that ends with an error tells the others, which end by themselves: SLURM must not kill them meanwhile,
    # for they may be writing a checkpoint.
    srun --nodes="$nodes" --ntasks="$((nodes * tasks))" --ntasks-per-node="$tasks" --cpus-per-task="$GEODUCT_CPUS" \
        --quiet --cpu-bind=none --kill-on-bad-exit=0 --wait=0 "$GEODUCT_HPC/task.sh" "$@" &
    child=$!
    trap 'touch "$GEODUCT_STOP_FILE"' USR1 # sent shortly before the walltime, see --signal
    trap : TERM                            # the tasks are told as well, and need a moment to clean up
    while true; do
        code=0
        wait "$child" || code=$?
        kill -0 "$child" 2> /dev/null || break # else a trapped signal ended the wait
    done
    # The last wait may itself have been cut short by a signal just before the step ended.
    if [ "$code" -gt 128 ]; then
        code=0
        wait "$child" || code=$?
    fi
    return "$code"
}

# resumable COMPONENT --flag value …: runs a component on all tasks of all nodes; stopped with a checkpoint at its walltime,
# the job submits its successor.
resumable() {
    local code=0
    container "$@" || return
    step "$GEODUCT_TASKS" "${container[@]}" || code=$?
    [ "$code" -eq 75 ] || return "$code"
    shift
    successor "$@"
}

# successor ARGUMENT…: submits the running script again, as this job was submitted, to start once this job is over.
successor() {
    local generation=$((${GEODUCT_GENERATION:-0} + 1)) job=$SLURM_JOB_ID about value
    # The first task of an array has the number of the whole.
    [ -z "${SLURM_ARRAY_JOB_ID:-}" ] || job="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    if [ "$generation" -gt "$GEODUCT_SUCCESSORS" ]; then
        echo "geoduct: stopped at the walltime for the ${generation}th time, and GEODUCT_SUCCESSORS allows" \
            "$GEODUCT_SUCCESSORS successors: submit again to go on" >&2
        return 75
    fi
    about=" $(scontrol --oneliner show job "$job") "
    field() { # of what SLURM says of this job
        value=${about#* "$1"=}
        echo "${value%% *}"
    }
    GEODUCT_GENERATION=$generation sbatch --dependency="afterany:$job" --nodes="$SLURM_JOB_NUM_NODES" \
        ${SLURM_ARRAY_TASK_ID:+--array="$SLURM_ARRAY_TASK_ID"} --partition="$SLURM_JOB_PARTITION" --time="$(field TimeLimit)" --output="$(field StdOut)" "$(field Command)" "$@"
}
