"""MapCollection: maps published together, as a static STAC collection that a folder, a web server or a bucket holds.

Every href in it is relative, so it may be put anywhere whole. `index.html` shows the quicklooks to people; programs
begin at `collection.json`.
"""

from __future__ import annotations

from pathlib import Path

import pystac

from components.artifacts.base import Artifact
from components.artifacts.stac import MALFORMED
from components.errors import GeoductError

COLLECTION, PAGE = "collection.json", "index.html"


class MapCollection(Artifact):
    """A folder: `collection.json`, `index.html`, and for every map `<id>/<id>.json` with its rasters and quicklook."""

    kind = "MapCollection"
    look = PAGE

    @property
    def page(self) -> Path:
        """The page for people."""
        return self.path / PAGE

    @property
    def collection(self) -> pystac.Collection:
        """The STAC collection.

        Raises:
            GeoductError: the file is missing or holds no STAC collection.
        """
        file = self.path / COLLECTION
        try:
            return pystac.Collection.from_file(str(file.resolve()))
        except (OSError, *MALFORMED):
            raise GeoductError(f"{file} is missing or no STAC collection") from None

    @property
    def items(self) -> list[pystac.Item]:
        """The items, one a map, in order of their ids.

        Raises:
            GeoductError: one is missing or malformed.
        """
        try:
            return sorted(self.collection.get_items(), key=lambda item: item.id)
        except (OSError, *MALFORMED) as error:
            raise GeoductError(f"{self.path}: an item of {COLLECTION} cannot be read: {error}") from None

    def validate(self) -> None:
        """Check that there is a page and at least one item, and that every asset is there, by a relative href."""
        if not self.page.is_file():
            raise GeoductError(f"{self.path} has no {PAGE}")
        items = self.items
        if not items:
            raise GeoductError(f"{self.path / COLLECTION} has no items; expected one a map")
        for item in items:
            for key, asset in item.assets.items():
                place = Path(str(item.get_self_href())).parent / asset.href
                if Path(asset.href).is_absolute() or not place.is_file():
                    raise GeoductError(
                        f"{self.path}: item {item.id}, asset {key!r}: {asset.href!r} is no file beside the item"
                    )
