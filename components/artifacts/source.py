"""A Source: a file, folder or URL that Geoduct did not write, such as a STAC catalog or a CORINE raster."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from components import objects
from components.artifacts.base import MANIFEST, Artifact, checksums, is_artifact, tree_digest
from components.errors import GeoductError

_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_KEYWORDS = frozenset({"gee"})
"""Sources that are services without a URL of their own: Google Earth Engine. A folder of that name is `./gee`."""
_CREDENTIALS = re.compile(r"(?<=://)[^/@]*@|\?.*$")


class Source:
    """A place named by the user. It is read as it is; only its existence is checked here."""

    kind = "Source"

    def __init__(self, location: str | Path) -> None:
        self.location = str(location)

    def __repr__(self) -> str:
        return f"Source({self.location!r})"

    @classmethod
    def open(cls, location: str | Path) -> Source:
        """Take a URL or keyword as it is; a local path must exist.

        Raises:
            GeoductError: a path that looks local does not exist.
        """
        source = cls(location)
        if source.is_path and not Path(source.location).exists():
            raise GeoductError(f"{location} does not exist")
        return source

    @property
    def is_path(self) -> bool:
        """Whether this names a local file or folder rather than a URL or a service."""
        return not _URL.match(self.location) and self.location not in _KEYWORDS

    @property
    def path(self) -> Path:
        """The local file or folder.

        Raises:
            GeoductError: this is a URL.
        """
        if not self.is_path:
            raise GeoductError(f"{self.location} is a URL, but a local file is expected here")
        return Path(self.location)

    @property
    def digest(self) -> str:
        """Digest of a local file's or folder's contents; of a URL, the URL without credentials or query.

        An artifact's is the one in its manifest: the same, without reading it all again.
        """
        if objects.is_object(self.location) and (manifest := objects.manifest(self.location, MANIFEST)):
            return str(manifest["digest"])
        if not self.is_path:
            return _CREDENTIALS.sub("", self.location)
        if is_artifact(self.path):
            return Artifact(self.path).digest
        if self.path.is_dir():
            return tree_digest(checksums(self.path))
        with self.path.open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def provenance(self) -> dict[str, Any]:
        """A source has none of Geoduct's making."""
        return {}
