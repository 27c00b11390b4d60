"""Makes the Apptainer images from the images of the lock: `make sif`.

Each is built from the very bytes that the lock names, pulled from the registry by their digest, which Apptainer keeps
in the image's labels: one that has the lock's digest there is left as it is. A build that is killed leaves nothing
under the image's name.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from components.errors import GeoductError
from components.launch.apptainer import check_sif
from components.launch.images import Image, lock_path, read_lock, sif_path


def is_current(sif: Path, image: Image) -> bool:
    """Whether a file is whole and was built from that image."""
    try:
        check_sif(sif, image)
    except GeoductError:
        return False
    return True


def build(sif: Path, image: Image) -> None:
    """Build an Apptainer image, all or nothing.

    Raises:
        GeoductError: there is no Apptainer, the registry does not answer, or there is too little room.
    """
    if shutil.which("apptainer") is None:
        raise GeoductError(
            "there is no apptainer on PATH: install it (tests/services/apptainer.sh start does on Debian), "
            "or load the module that has it"
        )
    sif.parent.mkdir(parents=True, exist_ok=True)
    # Layers are unpacked beside the result: /tmp is often too small for them.
    with tempfile.TemporaryDirectory(prefix=f".{sif.stem}.", dir=sif.parent) as scratch:
        partial = Path(scratch) / sif.name
        # Loopback speaks no TLS; zstd at its lowest level packs as small as gzip does, in a fraction of the time.
        plain = ["--no-https"] if image.reference.startswith(("127.", "localhost:")) else []
        packing = ["--mksquashfs-args", "-comp zstd -Xcompression-level 1"]
        command = ["apptainer", "--quiet", "build", "--disable-cache", *plain, *packing]
        done = subprocess.run(
            [*command, str(partial), f"docker://{image.reference}"],
            env={**os.environ, "APPTAINER_TMPDIR": scratch},
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode or not is_current(partial, image):
            words = done.stderr.strip().splitlines()
            raise GeoductError(
                f"{sif} could not be built from {image.reference} ({words[-1] if words else 'it said nothing'}): "
                "is its registry running (tests/services/registry.sh start), and is there room?"
            )
        partial.replace(sif)


def main() -> None:
    """Build what is not there or not from the lock's images."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="names of images in the lock; default: all")
    given = parser.parse_args()
    lock = read_lock(lock_path())
    for name in given.images or lock:
        if name not in lock:
            raise GeoductError(f"{lock_path()} has no image {name!r}, only {', '.join(lock)}")
        sif = sif_path(name)
        start = time.monotonic()
        if not is_current(sif, lock[name]):
            build(sif, lock[name])
        print(f"{sif}: {sif.stat().st_size / 1e6:.0f} MB, in {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        main()
    except GeoductError as error:
        print(f"sif: {error}", file=sys.stderr)
        sys.exit(2)
