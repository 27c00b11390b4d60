#!/usr/bin/env bash
# A real STAC API for the tests: `stac.sh start|stop|status`, stac-fastapi on PostgreSQL with PostGIS and pgSTAC, on
# loopback. It starts empty each time; collections and items are put in through its own Transaction extension, for
# POST /collections and POST /collections/<id>/items. Where it cannot run, one sentence on stderr says why.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
port="${GEODUCT_STAC_PORT:-17482}"
database="${GEODUCT_STAC_DATABASE_PORT:-17483}"
services="${GEODUCT_SERVICES:-/var/tmp/geoduct-services}"
state="$services/stac"
run=/tmp/geoduct-stac-$port # not under the state folder: the path of a socket holds 107 characters at most
url=http://127.0.0.1:$port
postgres=/usr/lib/postgresql/15/bin
venv="$state/venv"

fail() {
    echo "stac.sh: $*" >&2
    exit 1
}

answers() { curl -s -o /dev/null --fail --noproxy '*' --max-time 5 "$url/_mgmt/ping"; }

ours() { # the process of pid file $1, if its command line holds $2: a number alone may be somebody else's by now
    [ -s "$1" ] && tr '\0' ' ' < "/proc/$(head -n 1 "$1")/cmdline" 2> /dev/null | grep -q -- "$2"
}
api() { ours "$run/api.pid" "--port $port"; }
server() { ours "$state/data/postmaster.pid" "$state/data"; }

# PostgreSQL refuses to run as root; Debian's package brings a user for it.
unprivileged() {
    if [ "$(id -u)" -eq 0 ]; then
        (cd / && setpriv --reuid postgres --regid postgres --init-groups "$@")
    else
        "$@"
    fi
}

install_all() {
    if ! [ -x "$postgres/initdb" ] || ! [ -e /usr/share/postgresql/15/extension/postgis.control ] || ! command -v curl > /dev/null; then
        if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
            fail "no STAC API answers on $url, and PostgreSQL 15 with PostGIS is not installed (as root on Debian this script installs it)"
        fi
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq -o DPkg::Lock::Timeout=300 # others may be installing at the same moment
        apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends postgresql-15 postgresql-15-postgis-3 curl > /dev/null
    fi
    if ! cmp -s "$here/stac.txt" "$venv/installed"; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/stac.txt" 2> "$state/pip.log" \
            || { tail -n 5 "$state/pip.log" >&2; fail "the STAC API could not be installed; see $state/pip.log"; }
        cp "$here/stac.txt" "$venv/installed"
    fi
}

start_database() {
    [ "$(id -u)" -ne 0 ] || chown postgres "$state" "$run"
    unprivileged "$postgres/initdb" -D "$state/data" -U postgres -A trust -E UTF8 --locale C.UTF-8 --no-sync > /dev/null
    # A test's database may be lost with the machine; waiting for the disk is not worth it.
    unprivileged "$postgres/pg_ctl" -D "$state/data" -s -w -l "$state/postgres.log" start -o \
        "-c listen_addresses=127.0.0.1 -c port=$database -c unix_socket_directories=$run -c fsync=off -c full_page_writes=off -c synchronous_commit=off"
    export PGHOST=127.0.0.1 PGPORT=$database PGUSER=postgres PGPASSWORD=none PGDATABASE=postgis
    "$postgres/createdb" postgis
    "$venv/bin/pypgstac" migrate > "$state/pypgstac.log" 2>&1
    # Without queryables pgSTAC takes eo:cloud_cover for text, and sorts and compares it so.
    "$venv/bin/pypgstac" load_queryables "$here/stac_queryables.json" >> "$state/pypgstac.log" 2>&1
    "$postgres/psql" -q -c "UPDATE pgstac.pgstac_settings SET value = 'on' WHERE name = 'context'"
}

start() {
    if answers; then
        api || fail "something else answers on $url"
        echo "stac: running on $url"
        return
    fi
    mkdir -p "$state" "$run"
    install_all
    halt
    rm -rf "$state/data"
    start_database
    ENABLE_TRANSACTIONS_EXTENSIONS=TRUE setsid "$venv/bin/python" -m uvicorn --factory stac_fastapi.pgstac.app:create_app \
        --host 127.0.0.1 --port "$port" --log-level warning > "$state/api.log" 2>&1 < /dev/null &
    echo $! > "$run/api.pid"
    for _ in $(seq 1200); do
        if answers; then
            echo "stac: started on $url"
            return
        fi
        sleep 0.1
    done
    tail -n 5 "$state/api.log" >&2
    fail "the STAC API did not start; its log is $state/api.log"
}

halt() {
    local pid
    if api; then
        pid=$(cat "$run/api.pid")
        kill -TERM "$pid"
        while [ -d "/proc/$pid" ]; do sleep 0.05; done
    fi
    if server; then
        unprivileged "$postgres/pg_ctl" -D "$state/data" -s -w -m immediate stop
    fi
}

stop() {
    if ! api && ! server; then
        echo "stac: not started by this script"
        return
    fi
    halt
    rm -rf "$state/data" "$run" # the installed environment stays: it is most of what a first start costs
    echo "stac: stopped"
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    status) if answers; then echo "stac: running on $url"; else echo "stac: not running"; exit 1; fi ;;
    *) echo "usage: stac.sh start|stop|status" >&2; exit 2 ;;
esac
