"""What every artifact is: a folder with a manifest written last. Without the manifest it does not open.

The manifest, `geoduct.json`, holds the kind, the size and SHA-256 of every file, a digest of the whole tree and
the provenance. The digest covers the contents alone, neither the provenance nor a kind's records of the run, which hold
times: the same inputs and parameters give the same digest wherever and whenever a component ran.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Self

from components import objects
from components.blocks import cores
from components.errors import GeoductError, one

MANIFEST = "geoduct.json"
FORMAT = 1


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(root: Path, known: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Size in bytes and SHA-256 of every file below `root`, by its path relative to it, the manifest left out.

    A file whose SHA-256 is `known` already is not read.
    """
    known = known or {}
    files = sorted(p for p in root.rglob("*") if p.is_file() and p != root / MANIFEST)
    names = [file.relative_to(root).as_posix() for file in files]
    with ThreadPoolExecutor(cores()) as pool:
        digests = pool.map(lambda file, name: known.get(name) or _sha256(file), files, names)
        return {
            name: {"size": file.stat().st_size, "sha256": digest}
            for file, name, digest in zip(files, names, digests, strict=True)
        }


def tree_digest(files: dict[str, dict[str, Any]]) -> str:
    """One digest, `sha256:…`, for a set of files: of their sorted names and checksums."""
    lines = "".join(f"{entry['sha256']}  {name}\n" for name, entry in sorted(files.items()))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def is_artifact(path: Path) -> bool:
    """Whether there is a folder at `path` with a manifest in it."""
    return (path / MANIFEST).is_file()


def read_object(file: Path, holds: str) -> dict[str, Any]:
    """The JSON object in a file of an artifact; `holds` ends the sentence if there is none.

    Raises:
        GeoductError: the file is missing, is not JSON, or holds something else.
    """
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise GeoductError(f"{file} is missing or not JSON; {holds}") from None
    if not isinstance(stored, dict):
        raise GeoductError(f"{file} holds a {type(stored).__name__}; expected an object")
    return stored


class Artifact:
    """A folder of one kind. `Artifact.open(path)` validates; the bare constructor is for one still being written."""

    kind: ClassVar[str] = "Artifact"
    look: ClassVar[str] = ""  # the page or picture in it where people look first, if there is one
    records: ClassVar[tuple[str, ...]] = ()
    """Files and folders at the top that tell of the run, not of its result: verified, but left out of the digest."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.known: Mapping[str, str] = {}
        """SHA-256 of files as they were written, by their path in the artifact: `seal` does not read these again."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a finished artifact, at a path or at an `s3://` URL, of which a local copy is made.

        Raises:
            GeoductError: nothing is there, it was never finished, it is of another kind, or its layout is wrong.
        """
        artifact = cls(objects.fetch(str(path), cls.kind, MANIFEST) if objects.is_object(str(path)) else path)
        manifest = artifact.manifest
        if manifest["kind"] != cls.kind:
            raise GeoductError(f"{path} is {one(manifest['kind'])}, but {one(cls.kind)} is expected here")
        if manifest["format"] != FORMAT:
            raise GeoductError(
                f"{path} was written in format {manifest['format']}, but this version of Geoduct reads {FORMAT}"
            )
        for name, entry in manifest["files"].items():
            file = artifact.path / name
            found = file.stat().st_size if file.is_file() else None
            if found != entry["size"]:
                what = "is missing" if found is None else f"has {found} bytes"
                raise GeoductError(f"{path} is damaged: {name} {what}, its manifest says {entry['size']} bytes")
        artifact.validate()
        return artifact

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as written: `kind`, `format`, `digest`, `files`, `provenance`."""
        file = self.path / MANIFEST
        if not self.path.exists():
            raise GeoductError(f"{self.path} does not exist; {one(self.kind)} is expected there")
        if not file.is_file():
            raise GeoductError(f"{self.path} is no finished {self.kind}: it has no {MANIFEST}")
        try:
            manifest = json.loads(file.read_text())
            if missing := {"kind", "format", "digest", "files", "provenance"} - manifest.keys():
                raise GeoductError(f"{file} lacks the field {sorted(missing)[0]!r}")
        except (ValueError, AttributeError):
            raise GeoductError(f"{file} is not a manifest: it does not hold a JSON object") from None
        return dict(manifest)

    @property
    def digest(self) -> str:
        """Digest of the contents, `sha256:…`, as the manifest states it."""
        return str(self.manifest["digest"])

    @property
    def provenance(self) -> dict[str, Any]:
        """How the artifact came to be: component, parameters, digests of its inputs, version, image digest."""
        return dict(self.manifest["provenance"])

    def validate(self) -> None:
        """Check the layout; a kind overrides this and raises GeoductError. Cheap: no pixel is read."""

    def verify(self) -> None:
        """Read every byte and compare it with the manifest.

        Raises:
            GeoductError: a file is missing, unknown to the manifest, or differs from it.
        """
        expected, found = self.manifest["files"], checksums(self.path)
        for name in sorted(expected.keys() | found.keys()):
            if name not in found:
                raise GeoductError(f"{self.path} is damaged: {name} is missing")
            if name not in expected:
                raise GeoductError(f"{self.path} is damaged: {name} is not in its manifest")
            if found[name] != expected[name]:
                raise GeoductError(
                    f"{self.path} is damaged: {name} differs from its manifest "
                    f"({found[name]['size']} bytes, sha256 {found[name]['sha256'][:12]}…; "
                    f"expected {expected[name]['size']} bytes, {expected[name]['sha256'][:12]}…)"
                )

    def seal(self, provenance: dict[str, Any]) -> None:
        """Write the manifest: from here on the artifact opens."""
        files = checksums(self.path, self.known)
        contents = {name: entry for name, entry in files.items() if name.split("/")[0] not in self.records}
        manifest = {
            "kind": self.kind,
            "format": FORMAT,
            "digest": tree_digest(contents),
            "provenance": provenance,
            "files": files,
        }
        (self.path / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
