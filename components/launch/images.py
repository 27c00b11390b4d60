"""Which bytes an image name stands for on this site: the lock that building the images writes and every launcher reads.

The lock names each image by the digest of the registry that it was pushed to, which is the same for Docker, Kubeflow
and Apptainer; the Apptainer images lie in the folder `sif` beside it.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from components.errors import GeoductError

_LOCK = Path("containers") / "images.lock.yaml"
_REFERENCE = re.compile(r"^[^\s@]+/[^\s@]+@sha256:[0-9a-f]{64}$")


@dataclass(frozen=True)
class Image:
    """One image of the lock.

    `reference` is `registry/repository@sha256:…`, `revision` that of the sources, `base` says what it was built upon,
    `bytes` is its size unpacked.
    """

    reference: str
    revision: str
    base: str
    bytes: int

    @property
    def digest(self) -> str:
        """`sha256:…`, whichever registry holds it."""
        return self.reference.rpartition("@")[2]


def lock_path() -> Path:
    """The lock that holds here: `$GEODUCT_IMAGES`, else that of the project we stand in, else of the one installed."""
    if named := os.environ.get("GEODUCT_IMAGES"):
        return Path(named)
    here = Path.cwd() / _LOCK
    return here if here.is_file() else Path(__file__).parents[2] / _LOCK


def read_lock(path: Path) -> dict[str, Image]:
    """All images of a lock by name.

    Raises:
        GeoductError: there is no such file, or it is no lock.
    """
    try:
        found = yaml.safe_load(path.read_text())
        images = {str(name): Image(**fields) for name, fields in found.items()}
    except FileNotFoundError:
        raise GeoductError(f"{path} does not exist: make the images first (make images)") from None
    except (OSError, ValueError, yaml.YAMLError, AttributeError, TypeError):
        raise GeoductError(
            f"{path} is no lock of images: expected reference, revision, base and bytes of each"
        ) from None
    for name, image in images.items():
        if not isinstance(image.reference, str) or not _REFERENCE.match(image.reference):
            raise GeoductError(f"{path}: {name}: reference is {image.reference!r}; expected REGISTRY/NAME@sha256:…")
    return images


def locked(name: str) -> Image:
    """One image of the lock that holds here.

    Raises:
        GeoductError: there is no lock, or it does not have the image.
    """
    path = lock_path()
    images = read_lock(path)
    if name not in images:
        raise GeoductError(f"{path} has no image {name!r}, only {', '.join(sorted(images))}: make it (make images)")
    return images[name]


def write_entry(path: Path, name: str, image: Image) -> None:
    """Set one image of a lock, and leave the others as they are."""
    images = read_lock(path) if path.exists() else {}
    partial = path.with_name(f".{path.name}.partial")
    entries = {n: asdict(i) for n, i in sorted({**images, name: image}.items())}
    partial.write_text(yaml.safe_dump(entries, sort_keys=False))
    partial.replace(path)


def sif_path(name: str) -> Path:
    """Where the Apptainer image of that name lies: in `$GEODUCT_SIF`, else in `sif` beside the lock."""
    named = os.environ.get("GEODUCT_SIF")
    return (Path(named) if named else lock_path().absolute().parent / "sif") / f"{name}.sif"
