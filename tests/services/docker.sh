#!/usr/bin/env bash
# A real Docker engine for the tests: `docker.sh start|stop|status`, Debian's docker.io run by hand (no init system is
# needed), on the default socket, so that every client finds it. An engine that answers already is used as it is and is
# never stopped. Where it cannot run, one sentence
# on stderr says why.
set -euo pipefail

# Debian's own tools first: a newer client earlier on the PATH may lack what the engine's own brings.
export PATH="/usr/sbin:/usr/bin:/sbin:/bin:$PATH"
state="${GEODUCT_SERVICES:-/var/tmp/geoduct-services}/docker"
pidfile="$state/pid"
socket=/var/run/docker.sock
sockets=/run/geoduct-docker # not under the state folder: the path of a socket holds 107 characters at most

fail() {
    echo "docker.sh: $*" >&2
    exit 1
}

answers() { command -v docker > /dev/null && docker -H "unix://$socket" info > /dev/null 2>&1; }

ours() { [ -s "$pidfile" ] && [ "$(cat "/proc/$(cat "$pidfile")/comm" 2> /dev/null)" = dockerd ]; }

install_engine() {
    command -v dockerd > /dev/null && command -v docker > /dev/null && return
    command -v apt-get > /dev/null || fail "there is no Docker engine, and only Debian's can be installed here (no apt-get)"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq -o DPkg::Lock::Timeout=300 # others may be installing at the same moment
    apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends docker.io iptables > /dev/null
}

# Packets larger than the way out carries are lost without a word: the bridge takes its size from the default route.
mtu() {
    local interface
    interface=$(awk '$2 == "00000000" { print $1; exit }' /proc/net/route)
    cat "/sys/class/net/${interface:-lo}/mtu"
}

start() {
    if answers; then
        echo "docker: running"
        return
    fi
    [ "$(id -u)" -eq 0 ] || fail "no Docker engine answers on $socket, and only root can start one"
    install_engine
    if ! ours; then
        mkdir -p "$state"
        rm -f "$pidfile"
        setsid dockerd --data-root "$state/data" --exec-root "$sockets" --pidfile "$pidfile" --mtu "$(mtu)" \
            > "$state/log" 2>&1 < /dev/null &
    fi
    for _ in $(seq 600); do
        if answers; then
            echo "docker: started"
            return
        fi
        sleep 0.2
    done
    tail -n 5 "$state/log" >&2
    fail "the Docker engine did not start; its log is $state/log"
}

stop() {
    if ! ours; then
        echo "docker: not started by this script"
        return
    fi
    local pid
    pid=$(cat "$pidfile")
    kill -TERM "$pid"
    while [ -d "/proc/$pid" ]; do sleep 0.2; done
    echo "docker: stopped"
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    status) if answers; then echo "docker: running"; else echo "docker: not running"; exit 1; fi ;;
    *) echo "usage: docker.sh start|stop|status" >&2; exit 2 ;;
esac
