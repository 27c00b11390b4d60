#!/usr/bin/env bash
# A real OCI registry for the tests: `registry.sh start|stop|status`, Debian's docker-registry on 127.0.0.1:5000 (Docker
# trusts loopback without TLS). A registry that answers there already is used as it is and is never stopped. Where it cannot run,
# one sentence on stderr says why.
set -euo pipefail

export PATH="/usr/sbin:/usr/bin:/sbin:/bin:$PATH"
state="${GEODUCT_SERVICES:-/var/tmp/geoduct-services}/registry"
pidfile="$state/pid"
address=127.0.0.1:5000

fail() {
    echo "registry.sh: $*" >&2
    exit 1
}

answers() { python3 -c "import urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://$address/v2/', timeout=5)" 2> /dev/null; }

ours() { [ -s "$pidfile" ] && [ "$(cat "/proc/$(cat "$pidfile")/comm" 2> /dev/null)" = docker-registry ]; }

install_registry() {
    command -v docker-registry > /dev/null && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
        fail "nothing answers on $address, and Debian's docker-registry is not installed (as root on Debian this script installs it)"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq -o DPkg::Lock::Timeout=300 # others may be installing at the same moment
    apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends docker-registry > /dev/null
}

start() {
    if answers; then
        echo "registry: running on $address"
        return
    fi
    install_registry
    mkdir -p "$state/data"
    cat > "$state/config.yml" << YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: $state/data}
  delete: {enabled: true}
http: {addr: $address}
YAML
    setsid docker-registry serve "$state/config.yml" > "$state/log" 2>&1 < /dev/null &
    echo $! > "$pidfile"
    for _ in $(seq 1200); do
        if answers; then
            echo "registry: started on $address"
            return
        fi
        sleep 0.1
    done
    tail -n 5 "$state/log" >&2
    fail "the registry did not start; its log is $state/log"
}

stop() {
    if ! ours; then
        echo "registry: not started by this script"
        return
    fi
    local pid
    pid=$(cat "$pidfile")
    kill -TERM "$pid"
    while [ -d "/proc/$pid" ]; do sleep 0.1; done
    rm -f "$pidfile"
    echo "registry: stopped"
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    status) if answers; then echo "registry: running on $address"; else echo "registry: not running"; exit 1; fi ;;
    *) echo "usage: registry.sh start|stop|status" >&2; exit 2 ;;
esac
