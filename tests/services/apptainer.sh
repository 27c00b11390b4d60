#!/usr/bin/env bash
# Installs Apptainer so that ordinary users can run SIFs without unpacking them: start | stop | status.
#
# Debian has Apptainer in sid only, where it wants a newer C library than an older Debian has. Its package is therefore
# built anew with the libraries that it needs inside, in a folder of their own, and with no dependency on the system's;
# dpkg knows the result, so that `apt-get remove apptainer` takes it away. Nothing stays running: `stop` has no work.
set -euo pipefail

readonly STATE="${GEODUCT_SERVICES:-/var/tmp/geoduct-services}/apptainer"
readonly APT=(apt-get -qq -o DPkg::Lock::Timeout=300) # others may be installing at the same moment
readonly INSIDE=/usr/lib/x86_64-linux-gnu/apptainer # where Debian's package keeps its own programs

fail() {
    echo "apptainer.sh: $1" >&2
    exit 1
}

# Squashfuse must be able to open the device as the user who runs the container.
fuse_open() { [ -c /dev/fuse ] && [ "$(stat -c %a /dev/fuse)" = 666 ]; }

installed() { command -v apptainer > /dev/null && command -v squashfuse_ll > /dev/null && command -v mksquashfs > /dev/null; }

status() {
    installed || { echo "apptainer: not installed"; return 1; }
    fuse_open || { echo "apptainer: /dev/fuse is not open to users"; return 1; }
    apptainer --version
}

# The machine's own mirror, whatever it is; `Origin` keeps third-party repositories out.
mirror() {
    local site # $(REPO_URI) is apt's to expand
    site=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sort -u | head -n 1)
    [ -n "$site" ] || fail "apt follows no mirror of Debian, so Apptainer cannot be had from one"
    echo "$site"
}

# Downloads packages of suites that this system does not follow, with package lists of their own.
download() {
    local suite url
    mkdir -p "$STATE"/apt/lists/partial "$STATE"/apt/cache/archives/partial
    url=$(mirror)
    for suite in sid trixie; do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $url $suite main"
    done > "$STATE/apt/sources.list"
    local apt=(apt-get -qq
        -o "Dir::Etc::SourceList=$STATE/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$STATE/apt/lists" -o "Dir::Cache=$STATE/apt/cache" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    (cd "$STATE" && "${apt[@]}" download apptainer/sid libc6/trixie libseccomp2/trixie libsqlite3-0/trixie)
}

# Puts the C library into the package and points the programs at it.
repack() {
    local root="$STATE/package" libraries="$STATE/libraries" inside file loader=ld-linux-x86-64.so.2
    dpkg-deb --raw-extract "$STATE"/apptainer_*.deb "$root"
    for file in "$STATE"/lib*.deb; do dpkg-deb --extract "$file" "$libraries"; done
    inside="$root$INSIDE/libraries"
    mkdir -p "$inside"
    for file in libc.so.6 libm.so.6 libresolv.so.2 libseccomp.so.2 libsqlite3.so.0 "$loader"; do
        cp --dereference "$libraries/usr/lib/x86_64-linux-gnu/$file" "$inside/$file"
    done
    for file in "$root/usr/bin/apptainer" "$root$INSIDE/bin/starter"; do
        patchelf --force-rpath --set-rpath "$INSIDE/libraries" --set-interpreter "$INSIDE/libraries/$loader" "$file"
    done
    for file in libm.so.6 libresolv.so.2 libseccomp.so.2 libsqlite3.so.0; do
        patchelf --force-rpath --set-rpath "$INSIDE/libraries" "$inside/$file"
    done
    sed -i -e 's/^Depends:.*/Depends: ca-certificates, squashfs-tools, squashfuse, uidmap/' \
        -e '/^\(Recommends\|Built-Using\|Static-Built-Using\):/d' \
        -e 's/^\(Version: .*\)$/\1+geoduct/' "$root/DEBIAN/control"
    (cd "$root" && find . -type f -not -path './DEBIAN/*' -printf '%P\0' | xargs -0 md5sum > DEBIAN/md5sums)
    dpkg-deb --root-owner-group --build "$root" "$STATE/apptainer.deb" > /dev/null
}

install() {
    [ "$(id -u)" -eq 0 ] || fail "Apptainer is not installed, and only root can install it"
    command -v apt-get > /dev/null || fail "Apptainer is not installed, and this script installs it on Debian only"
    [ "$(dpkg --print-architecture)" = amd64 ] || fail "Apptainer is not installed, and this script installs it on amd64 only"
    rm -rf "$STATE"
    mkdir -p "$STATE"
    export DEBIAN_FRONTEND=noninteractive
    "${APT[@]}" update
    "${APT[@]}" install --no-install-recommends patchelf > /dev/null
    if ! command -v apptainer > /dev/null; then
        download
        repack
        # dpkg asks nothing about /etc/apptainer that an earlier installation left.
        "${APT[@]}" install --no-install-recommends -o Dpkg::Options::=--force-confold "$STATE/apptainer.deb" > /dev/null
        rm -rf "$STATE"
    fi
    # An Apptainer that was here before may lack what lets it run a SIF without unpacking it.
    "${APT[@]}" install --no-install-recommends squashfuse squashfs-tools > /dev/null
}

start() {
    installed || install
    if ! fuse_open; then
        [ "$(id -u)" -eq 0 ] || fail "/dev/fuse is not open to users, and only root can open it"
        [ -c /dev/fuse ] || mknod /dev/fuse c 10 229 || fail "/dev/fuse is missing and cannot be made"
        chmod 666 /dev/fuse
    fi
    status
}

case "${1:-}" in
    start) start ;;
    stop) ;;
    status) status ;;
    *) fail "usage: apptainer.sh start|stop|status" ;;
esac
