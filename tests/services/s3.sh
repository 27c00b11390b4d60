#!/usr/bin/env bash
# A real S3 server for the tests: `s3.sh start|stop|status`, one node of Ceph (Debian's monitor, one OSD on a sparse
# file, radosgw) on loopback. It starts empty each time. Where it cannot run, one sentence on stderr says why.
#
# Three users, whose keys are meant to be known, and two buckets:
#   geoduct / geoduct-secret   owns the bucket `geoduct`
#   reader  / reader-secret    may list and read the bucket `geoduct`, and write nowhere
#   small   / small-secret     owns the bucket `small`, which is full at one MiB
set -euo pipefail

export PATH="/usr/sbin:/usr/bin:/sbin:/bin:$PATH"
port="${GEODUCT_S3_PORT:-17480}"
monitor="${GEODUCT_S3_MONITOR_PORT:-17489}"
state="${GEODUCT_SERVICES:-/var/tmp/geoduct-services}/s3"
run=/tmp/geoduct-s3-$port # not under the state folder: the path of a socket holds 107 characters at most
url=http://127.0.0.1:$port
export CEPH_CONF="$state/ceph.conf"

fail() {
    echo "s3.sh: $*" >&2
    exit 1
}

answers() { curl -s -o /dev/null --noproxy '*' --max-time 2 "$url/"; }

# Our daemon of that name, by its pid file and what the process says it is: a number alone may be somebody else's by now.
ours() { [ -s "$run/$1.pid" ] && [ "$(cat "/proc/$(cat "$run/$1.pid")/comm" 2> /dev/null)" = "$2" ]; }

install_ceph() {
    command -v ceph-mon > /dev/null && command -v ceph-osd > /dev/null && command -v radosgw > /dev/null \
        && command -v curl > /dev/null && command -v openssl > /dev/null && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
        fail "no S3 server answers on $url, and Ceph is not installed (as root on Debian this script installs it)"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq -o DPkg::Lock::Timeout=300 # others may be installing at the same moment
    apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends ceph-mon ceph-osd radosgw curl openssl > /dev/null
}

configure() {
    cat > "$CEPH_CONF" << CONF
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon host = [v2:127.0.0.1:$monitor]
public network = 127.0.0.0/8
run dir = $run
log file = $state/log/\$name.log
# nobody but this machine reaches it
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = false
ms cluster mode = crc
ms service mode = crc
ms client mode = crc
ms mon cluster mode = crc
ms mon service mode = crc
ms mon client mode = crc
# one copy, one placement group a pool: there is one disk
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
# a share of the disk that is large on a full one; what the monitor keeps is small
mon data avail crit = 0
mon data avail warn = 0
mon max pg per osd = 1000
# made for a start within seconds and a small machine
paxos propose interval = 0.01
paxos min wait = 0.01
bluestore block size = $((8 * 2 ** 30))
bluestore cache autotune = false
bluestore cache size = $((64 * 2 ** 20))
osd op queue = wpq
osd mclock skip benchmark = true
rgw bucket quota ttl = 0
rgw user quota bucket sync interval = 1
rgw thread pool size = 64
rgw lc debug interval = -1
[mon]
admin socket = $run/\$name.asok
pid file = $run/\$name.pid
mon data = $state/mon
[osd]
admin socket = $run/\$name.asok
pid file = $run/\$name.pid
osd data = $state/osd
[client.rgw]
admin socket = $run/\$name.asok
pid file = $run/\$name.pid
rgw frontends = beast endpoint=127.0.0.1:$port
rgw data = $state/rgw
CONF
}

# Start a daemon; if it refuses, its own words say why.
daemon() {
    "$@" >> "$state/log/start.log" 2>&1 && return
    fail "$1 did not start: $(grep -v '^$' "$state/log/start.log" | tail -n 2 | tr '\n' ' ')"
}

start_cluster() {
    local fsid
    fsid=$(awk '$1 == "fsid" { print $3 }' "$CEPH_CONF")
    ceph-authtool --create-keyring "$state/keyring" --gen-key -n mon. > /dev/null
    monmaptool --create --clobber --fsid "$fsid" --addv a "[v2:127.0.0.1:$monitor]" "$state/monmap" > /dev/null
    ceph-mon --mkfs -i a --monmap "$state/monmap" --keyring "$state/keyring"
    daemon ceph-mon -i a
    local uuid
    uuid=$(cat /proc/sys/kernel/random/uuid)
    ceph osd new "$uuid" > /dev/null
    ceph-osd --mkfs -i 0 --osd-uuid "$uuid" > /dev/null 2>> "$state/log/start.log"
    daemon ceph-osd -i 0
    daemon radosgw -n client.rgw
}

user() { radosgw-admin user create --uid "$1" --display-name "$1" --access-key "$1" --secret-key "$1-secret" > /dev/null; }

# As user $1, method $2, path $3, body $4. Signed as of version 2, in two lines; bookworm's curl gets version 4 wrong.
request() {
    local date signature
    date=$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S GMT')
    signature=$(printf '%s\n\n\n%s\n/%s' "$2" "$date" "$3" | openssl dgst -sha1 -hmac "$1-secret" -binary | base64)
    curl -sS --fail-with-body --noproxy '*' -X "$2" "$url/$3" --data-binary "${4:-}" -H 'Content-Type:' \
        -H "Date: $date" -H "Authorization: AWS $1:$signature" > /dev/null
}

fill() {
    user geoduct & user reader & user small &
    wait
    radosgw-admin quota set --uid small --quota-scope bucket --max-size $((2 ** 20)) > /dev/null
    radosgw-admin quota enable --uid small --quota-scope bucket > /dev/null
    request geoduct PUT geoduct
    request small PUT small
    request geoduct PUT 'geoduct?policy' '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"AWS": ["arn:aws:iam:::user/reader"]}, "Action": ["s3:ListBucket", "s3:GetObject"],
        "Resource": ["arn:aws:s3:::geoduct", "arn:aws:s3:::geoduct/*"]}]}'
}

start() {
    if answers; then
        ours client.rgw radosgw || fail "something else answers on $url"
        echo "s3: running on $url"
        return
    fi
    install_ceph
    halt
    rm -rf "$state"
    mkdir -p "$state"/{mon,osd,rgw,log} "$run"
    configure
    start_cluster
    for _ in $(seq 300); do
        if answers; then
            fill
            echo "s3: started on $url"
            return
        fi
        sleep 0.1
    done
    tail -n 5 "$state"/log/*.log >&2
    fail "the S3 server did not start; its logs are in $state/log"
}

halt() {
    local daemon pid
    for daemon in client.rgw:radosgw osd.0:ceph-osd mon.a:ceph-mon; do
        ours "${daemon%:*}" "${daemon#*:}" || continue
        pid=$(cat "$run/${daemon%:*}.pid")
        # Nothing of it is kept, so nothing has to be written out first.
        kill -KILL "$pid"
        while [ -d "/proc/$pid" ]; do sleep 0.05; done
    done
}

stop() {
    if ! ours client.rgw radosgw && ! ours osd.0 ceph-osd && ! ours mon.a ceph-mon; then
        echo "s3: not started by this script"
        return
    fi
    halt
    rm -rf "$state" "$run"
    echo "s3: stopped"
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    status) if answers; then echo "s3: running on $url"; else echo "s3: not running"; exit 1; fi ;;
    *) echo "usage: s3.sh start|stop|status" >&2; exit 2 ;;
esac
