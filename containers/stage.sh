#!/bin/sh
# What the stages of the Dockerfile run: `stage.sh tools | packages [PART…] | code`.
#
# Each leaves trees under /layers that the images copy to their root: /layers/rest, and /layers/PART for the packages
# named so, which are large and change seldom. A tree holds no time, no test and no cache of its own.
set -eu

readonly HOME_OF_ALL=/opt/geoduct
readonly LAYERS=/layers

# A site's certificates and index settings are there during one command, as the tools' own settings.
if [ -s /run/secrets/ca ]; then
    export SSL_CERT_FILE=/run/secrets/ca PIP_CERT=/run/secrets/ca
fi
if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi
if [ -s /run/secrets/uv ]; then export UV_CONFIG_FILE=/run/secrets/uv; fi
export UV_NO_CACHE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_HTTP_TIMEOUT=300
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1

tools() {
    python3 -m venv /opt/build
    /opt/build/bin/pip install --quiet --require-hashes --no-deps --only-binary :all: -r /mnt/packages.lock
}

environment() {
    /opt/build/bin/uv venv --quiet --python "$(command -v python3)" "$HOME_OF_ALL"
    rm -f "$HOME_OF_ALL/.gitignore" "$HOME_OF_ALL/.lock"
}

uv_install() {
    /opt/build/bin/uv pip install --quiet --python "$HOME_OF_ALL/bin/python" --no-deps "$@"
}

site() {
    "$HOME_OF_ALL/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
}

# Takes away what no run needs: what extensions are compiled from, symbols for debuggers, the packages' own tests, the
# network services of Arrow, which serves here to read and write Parquet, those of Amazon beside S3 and logging in to it,
# the time zones, which the base has, and the pictures of dask's dashboard, which works with Bokeh only.
# Of the types for checkers stay those that are read at run time: by lazy_loader (skimage) and by jsonargparse.
strip_packages() {
    for kind in a h hpp c cc cpp pyx pxd pxi; do
        find "$1" -type f -name "*.$kind" -delete
    done
    find "$1" -type f -name '*.pyi' -not -name __init__.pyi -not -path '*/typeshed_client/*' -delete
    rm -rf "$1"/numpy/distutils
    rm -rf "$1"/pyarrow/*flight* "$1"/pyarrow/libarrow_s3.* "$1"/pyarrow/_s3fs.*
    rm -rf "$1"/tornado/test "$1"/distributed/http/static "$1"/tzdata/zoneinfo "$1"/pytz/zoneinfo
    if [ -d "$1/botocore/data" ]; then
        find "$1/botocore/data" -mindepth 1 -maxdepth 1 -type d \
            -not -name s3 -not -name sts -not -name sso -not -name sso-oidc -not -name signin -exec rm -r {} +
    fi
    find "$1" -type d -name tests -prune | while read -r folder; do
        imported "$folder" || rm -r "$folder"
    done
    strip_libraries "$1"
}

# Whether a module outside of a folder of tests, and not itself made for testing, imports it.
imported() {
    package=$(basename "$(dirname "$1")")
    grep -rqE --include='*.py' --exclude-dir=tests --exclude-dir=testing --exclude-dir=benchmarks --exclude-dir='_*' \
        --exclude=conftest.py "(from|import) [a-zA-Z0-9_.]*\b$package\.tests\b|from \.+tests\b" "$(dirname "$1")"
}

# Some libraries were edited after they were linked and do not survive it: those that do not load are put back. All are
# stripped before the first is tried, for they load each other. NVIDIA's carry code for GPUs, which binutils does not know.
strip_libraries() {
    find "$1" -type f -name '*.so*' -not -path '*/nvidia/*' -print0 > /libraries
    xargs -0 -n 1 -P "$(nproc)" sh /mnt/stage.sh strip_library < /libraries
    xargs -0 -n 1 -P "$(nproc)" sh /mnt/stage.sh try_library < /libraries > /broken
    while read -r library; do mv "$library.whole" "$library"; done < /broken
    find "$1" -type f -name '*.whole' -delete
}

strip_library() {
    case $(head -c 4 "$1" | od -An -c | tr -d ' ') in 177ELF) ;; *) return 0 ;; esac
    cp -p "$1" "$1.whole"
    strip --strip-unneeded "$1" 2> /dev/null || mv "$1.whole" "$1"
}

try_library() {
    [ -e "$1.whole" ] || return 0
    python3 -S -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$1" 2> /dev/null || echo "$1"
}

# Wheels hold copies where a library has several names; the names stay, the copies go.
link_copies() {
    "$HOME_OF_ALL/bin/python" - "$1" << 'PYTHON'
import hashlib, sys
from pathlib import Path

seen = {}
for path in sorted(p for p in Path(sys.argv[1]).rglob("*") if not p.is_symlink() and p.is_file()):
    if (size := path.stat().st_size) > 65536:
        first = seen.setdefault((size, path.stat().st_mode, hashlib.sha256(path.read_bytes()).hexdigest()), path)
        if first != path:
            path.unlink()
            path.hardlink_to(first)
PYTHON
}

# Bytecode that is checked against nothing, for a time in it would differ from build to build. What packages keep for
# other Pythons, in files named after them, cannot be compiled.
compile() {
    "$HOME_OF_ALL/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -x '/(py3[0-9]+_|_py2\.py$)' "$1"
}

# Moves the environment to /layers/rest, and its packages of each named part to a tree of their own.
layers() {
    packages=$(site)
    mkdir -p "$LAYERS"
    for part in "$@"; do
        mkdir -p "$LAYERS/$part$packages"
        for found in "$packages/$part" "$packages/$part"-*.dist-info "$packages/${part}gen"; do
            if [ -e "$found" ]; then mv "$found" "$LAYERS/$part$packages/"; fi
        done
    done
    mkdir -p "$LAYERS/rest$(dirname "$HOME_OF_ALL")"
    mv "$HOME_OF_ALL" "$LAYERS/rest$(dirname "$HOME_OF_ALL")/"
    chmod -R a+rX "$LAYERS"
    find "$LAYERS" -exec touch --no-dereference --date=@0 {} +
}

packages() {
    environment
    uv_install --require-hashes --find-links /mnt/wheels -r /mnt/packages.lock
    strip_packages "$(site)"
    link_copies "$(site)"
    compile "$(site)"
    layers "$@"
}

code() {
    (cd /source && /opt/build/bin/python -m hatchling build -t wheel -d /wheel > /dev/null)
    environment
    uv_install /wheel/*.whl
    # uv notes when it installed a wheel from a file, which no one asks the image.
    rm "$(site)"/geoduct-*.dist-info/uv_cache.json
    sed -i /uv_cache.json/d "$(site)"/geoduct-*.dist-info/RECORD
    compile "$(site)"
    layers
}

command=$1
shift
"$command" "$@"
