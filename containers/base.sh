#!/usr/bin/env bash
# Makes base images where no registry has any: `base.sh TAG`, Debian bookworm with its Python by mmdebstrap, from the
# mirror that this machine's own apt is set up for; TAG-tools, which the build's stages run in, has pip and binutils too.
set -euo pipefail

export PATH="$PATH:/usr/sbin:/sbin"
readonly SUITE=bookworm
readonly MERGE=(usrmerge libfile-find-rule-perl libnumber-compare-perl libtext-glob-perl perl libperl5.36
    perl-modules-5.36 libgdbm-compat4 libgdbm6)
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

work=$(mktemp --directory --tmpdir geoduct-base.XXXXXX)
trap 'rm -rf "$work"' EXIT

# image TAG PACKAGE…: one time for every file, so that the same packages give the same image. What differs from place to
# place or tells about this machine goes: its name, its resolver, its mirror, its logs. So does usrmerge, which has done
# its work and keeps the whole of Perl (47 MB) for it.
image() {
    local tag=$1 packages
    shift
    packages=$(IFS=, && echo "$*")
    SOURCE_DATE_EPOCH=0 mmdebstrap --quiet --variant=essential --include="$packages" \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/bash-completion/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --customize-hook="chroot \"\$1\" dpkg --purge ${MERGE[*]}" \
        --customize-hook='rm -rf "$1"/etc/apt/sources.list "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/var/log/* "$1"/var/cache/*' \
        "$SUITE" "$work/image.tar" "${sources[@]}" > "$work/log" 2>&1 ||
        fail "the base image could not be made: $(grep -m 1 '^E:' "$work/log" || tail -n 1 "$work/log")"
    docker import "$work/image.tar" "$tag" > /dev/null
}

image "$tag" ca-certificates libstdc++6 python3 tzdata usr-is-merged
image "$tag-tools" binutils ca-certificates libstdc++6 python3 python3-venv tzdata usr-is-merged
