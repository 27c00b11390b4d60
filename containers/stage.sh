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

# Takes away what no run needs: static libraries, headers and sources of extensions, the packages' own tests. A folder
# of tests stays where a module outside of it imports it.
strip() {
    find "$1" -type f \( -name '*.a' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' \) -delete
    find "$1" -type d -name tests -prune | while read -r folder; do
        package=$(basename "$(dirname "$folder")")
        if ! grep -rqE --include='*.py' --exclude-dir=tests "(from|import) [a-zA-Z0-9_.]*\b$package\.tests\b|from \.+tests\b" "$(dirname "$folder")"; then
            rm -r "$folder"
        fi
    done
}

# Bytecode that is checked against nothing, for a time in it would differ from build to build.
compile() {
    "$HOME_OF_ALL/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$1"
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
    uv_install --require-hashes --only-binary :all: --find-links /mnt/wheels -r /mnt/packages.lock
    strip "$(site)"
    compile "$(site)"
    layers "$@"
}

code() {
    (cd /source && /opt/build/bin/python -m hatchling build -t wheel -d /wheel > /dev/null)
    environment
    uv_install /wheel/*.whl
    compile "$(site)"
    layers
}

command=$1
shift
"$command" "$@"
