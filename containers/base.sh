#!/usr/bin/env bash
# Makes a base image where no registry has one: `base.sh TAG`, Debian bookworm with its Python by mmdebstrap, from the
# mirror that this machine's own apt is set up for. Nothing of this machine stays in the image.
set -euo pipefail

export PATH="/usr/sbin:/usr/bin:/sbin:/bin:$PATH"
readonly SUITE=bookworm
tag=$1

fail() {
    echo "base.sh: $1" >&2
    exit 1
}

[ "$(id -u)" -eq 0 ] || fail "no registry has a base image, and only root can make one (mmdebstrap); name another by BASE_IMAGE"
command -v apt-get > /dev/null || fail "no registry has a base image, and one can be made on Debian only; name another by BASE_IMAGE"
if ! command -v mmdebstrap > /dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends mmdebstrap > /dev/null
fi

# One line a repository of Debian that apt knows here, security updates included; third parties' are left out.
mapfile -t sources < <(
    # shellcheck disable=SC2016 # apt fills these in
    apt-get indextargets --format 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian' | grep " $SUITE" | sort -u
)
[ ${#sources[@]} -gt 0 ] || fail "apt knows no repository of Debian $SUITE here (apt-get update?)"

archive=$(mktemp --tmpdir geoduct-base.XXXXXX.tar)
log=$(mktemp --tmpdir geoduct-base.XXXXXX.log)
trap 'rm -f "$archive" "$log"' EXIT

# One time for every file, so that the same packages give the same image. Its own apt lists, the name of this machine,
# its resolver and its mirror go: they differ from place to place, or tell about it.
SOURCE_DATE_EPOCH=0 mmdebstrap --quiet --variant=essential \
    --include=python3,python3-venv,ca-certificates,libstdc++6 \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook='rm -rf "$1"/etc/apt/sources.list "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/var/log/* "$1"/var/cache/*' \
    "$SUITE" "$archive" "${sources[@]}" > "$log" 2>&1 ||
    fail "the base image could not be made: $(grep -m 1 '^E:' "$log" || tail -n 1 "$log")"
docker import "$archive" "$tag" > /dev/null
