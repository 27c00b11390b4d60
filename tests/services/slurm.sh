#!/usr/bin/env bash
# A SLURM cluster of two nodes, n0 and n1, on this host: start | stop | status.
#
# Real munge, slurmctld, two slurmd, and slurmdbd on a MariaDB (without which SLURM knows no accounts), from Debian, with
# a configuration, a key, a database and a spool of their own. Jobs run as the ordinary user `geoduct` (made here), in
# partition `batch` under account `geoduct`; partition `short` ends at two minutes. Waiting times are small, so that
# tests are quick.
set -euo pipefail

readonly STATE="${GEODUCT_SERVICES:-/var/tmp/geoduct-services}/slurm"
readonly CONF="$STATE/slurm.conf"
readonly LINK=/etc/slurm/slurm.conf # where SLURM's commands look
readonly ACCOUNT=geoduct
readonly PIDS=("$STATE"/run/slurmd-n{0,1}.pid "$STATE"/run/{slurmctld,slurmdbd,mariadb}.pid "$STATE/munge/pid") # ended in this order
readonly HOSTS="127.0.0.1 n0 n1 # geoduct tests/services/slurm.sh"
readonly APT=(apt-get -qq -o DPkg::Lock::Timeout=300) # others may be installing at the same moment

fail() {
    echo "slurm.sh: $1" >&2
    exit 1
}

alive() { kill -0 "$(cat "$1" 2> /dev/null)" 2> /dev/null; }

dead() { ! alive "$1"; }

# Waits up to $1 seconds for the command that follows.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

idle() { [ "$(SLURM_CONF="$CONF" timeout 5 sinfo --noheader --nodes n0,n1 --partition batch --format '%T' 2> /dev/null)" = idle ]; }

answers() { [ "$(readlink -f "$LINK")" = "$CONF" ] && SLURM_CONF="$CONF" timeout 5 scontrol ping > /dev/null 2>&1; }

status() {
    answers || { echo "slurm: not running"; return 1; }
    SLURM_CONF="$CONF" timeout 5 sinfo
}

install() {
    local missing=() command
    for command in munged slurmctld slurmd slurmdbd sbatch mariadbd mariadb-install-db; do
        command -v "$command" > /dev/null || missing+=("$command")
    done
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get > /dev/null || fail "${missing[*]} not found, and this script installs SLURM on Debian only"
    export DEBIAN_FRONTEND=noninteractive
    "${APT[@]}" update
    "${APT[@]}" install --no-install-recommends munge slurmctld slurmd slurmdbd slurm-client \
        slurm-wlm-mysql-plugin mariadb-server-core mariadb-client-core > /dev/null
}

# Twice the cores are promised, so that two nodes of two tasks each fit a small machine.
configure() {
    local cpus memory
    cpus=$(($(nproc) * 2))
    memory=$(awk '/^MemTotal/ { print int($2 / 1024 / 2) }' /proc/meminfo)
    cat > "$CONF" << END
ClusterName=geoduct
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=slurm
AuthType=auth/munge
AuthInfo=socket=$STATE/munge/socket
SlurmctldPort=16817
SlurmctldPidFile=$STATE/run/slurmctld.pid
SlurmctldLogFile=$STATE/run/slurmctld.log
StateSaveLocation=$STATE/save
SlurmdPidFile=$STATE/run/slurmd-%n.pid
SlurmdLogFile=$STATE/slurmd-%n.log
SlurmdSpoolDir=$STATE/spool-%n
# No cgroups: containers and small machines do not lend them.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
# What cgroups would do for memory: a job is measured every second and killed above what it asked for.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
DefMemPerCPU=512
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
AccountingStoragePass=$STATE/munge/socket
AccountingStorageEnforce=associations,limits
# A job that can never run is refused at once instead of waiting for ever, as big sites have it.
EnforcePartLimits=ALL
ReturnToService=2
KillWait=3
UnkillableStepTimeout=30
InactiveLimit=0
SlurmdTimeout=30
MessageTimeout=4
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
NodeName=n[0-1] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=batch Nodes=n[0-1] Default=YES MaxTime=24:00:00 DefaultTime=00:10:00 AllowAccounts=$ACCOUNT
PartitionName=short Nodes=n[0-1] MaxTime=00:02:00 DefaultTime=00:01:00 AllowAccounts=$ACCOUNT
END
    cat > "$STATE/slurmdbd.conf" << END
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=16819
SlurmUser=slurm
AuthType=auth/munge
AuthInfo=socket=$STATE/munge/socket
LogFile=$STATE/run/slurmdbd.log
PidFile=$STATE/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageUser=slurm
END
    chown slurm: "$STATE/slurmdbd.conf"
    chmod 600 "$STATE/slurmdbd.conf" # slurmdbd insists
}

# A munge of our own: the system's, if there is one, is left alone. --force: the folder's parents may belong to root.
start_munge() {
    dd if=/dev/urandom of="$STATE/munge/key" bs=1024 count=1 status=none
    chmod 600 "$STATE/munge/key"
    chown -R munge: "$STATE/munge"
    setpriv --reuid munge --regid munge --clear-groups munged --force --key-file "$STATE/munge/key" \
        --socket "$STATE/munge/socket" --pid-file "$STATE/munge/pid" --log-file "$STATE/munge/log" \
        --seed-file "$STATE/munge/seed" 2> "$STATE/munge/err" || fail "munged did not start: $(tail -n 1 "$STATE/munge/err")"
}

# The database listens on a socket that only SLURM's user can reach, hence no passwords. Nothing in it must last.
start_database() {
    local folder="$STATE/database"
    mkdir "$folder"
    chown slurm: "$folder"
    chmod 700 "$folder"
    mariadb-install-db --no-defaults --user=slurm --datadir="$folder/data" --skip-test-db > "$folder/install.log" 2>&1 ||
        fail "the database was not made: $(tail -n 1 "$folder/install.log")"
    setsid mariadbd --no-defaults --user=slurm --datadir="$folder/data" --socket="$folder/socket" \
        --pid-file="$STATE/run/mariadb.pid" --skip-networking --skip-grant-tables \
        --innodb-buffer-pool-size=32M --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900 \
        > "$folder/log" 2>&1 < /dev/null &
    within 120 test -S "$folder/socket" || fail "mariadbd did not start: $(tail -n 1 "$folder/log")"
    MYSQL_UNIX_PORT="$folder/socket" SLURM_CONF="$CONF" slurmdbd ||
        fail "slurmdbd did not start"
    within 120 timeout 5 sacctmgr --noheader list cluster > /dev/null 2>&1 || fail "slurmdbd does not answer: $(tail -n 1 "$STATE/run/slurmdbd.log")"
    sacctmgr --immediate --quiet add cluster geoduct > /dev/null
    sacctmgr --immediate --quiet add account "$ACCOUNT" > /dev/null
    sacctmgr --immediate --quiet add user geoduct account="$ACCOUNT" > /dev/null
}

start() {
    if answers && within 5 idle; then
        status
        return
    fi
    [ "$(id -u)" -eq 0 ] || fail "SLURM is not running, and only root can start it"
    install
    [ ! -e "$LINK" ] || [ "$(readlink "$LINK")" = "$CONF" ] || fail "$LINK exists: this machine belongs to a cluster"
    stop # what an earlier start left half done
    id geoduct > /dev/null 2>&1 || useradd --create-home --shell /bin/bash geoduct
    grep -qxF "$HOSTS" /etc/hosts || echo "$HOSTS" >> /etc/hosts

    rm -rf "$STATE"
    mkdir -p "$STATE"/{save,run,spool-n0,spool-n1,munge} /etc/slurm
    chown slurm: "$STATE/save" "$STATE/run"
    configure
    ln -sfn "$CONF" "$LINK"

    start_munge
    start_database
    slurmctld -f "$CONF" || fail "slurmctld did not start: $(tail -n 1 "$STATE/run/slurmctld.log")"
    for node in n0 n1; do
        slurmd -f "$CONF" -N "$node" || fail "slurmd of $node did not start: $(tail -n 1 "$STATE/slurmd-$node.log")"
    done
    within 120 idle || fail "the nodes did not become idle within 120 s: $(tail -n 1 "$STATE/run/slurmctld.log")"
    status
}

empty() { [ -z "$(SLURM_CONF="$CONF" timeout 5 squeue --noheader 2> /dev/null)" ]; }

# Ends the jobs first: their processes would outlive slurmd.
stop() {
    local file
    [ -d "$STATE" ] || return 0
    [ "$(id -u)" -eq 0 ] || fail "only root can stop SLURM"
    if answers; then
        SLURM_CONF="$CONF" timeout 5 squeue --noheader --format %A | xargs -r env SLURM_CONF="$CONF" scancel || true
        within 60 empty || echo "slurm.sh: jobs did not end within 60 s" >&2
    fi
    for file in "${PIDS[@]}"; do
        alive "$file" || continue
        kill "$(cat "$file")"
        within 60 dead "$file" || fail "process $(cat "$file") did not end within 60 s"
    done
    [ "$(readlink "$LINK" 2> /dev/null)" != "$CONF" ] || rm -f "$LINK"
    # Written in place: /etc/hosts may be a mount of its own.
    grep -vxF "$HOSTS" /etc/hosts > "$STATE/hosts" || true
    cat "$STATE/hosts" > /etc/hosts
    rm -rf "$STATE"
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    status) status ;;
    *) fail "usage: slurm.sh start|stop|status" ;;
esac
