"""The static STAC collection: metadata in the layout of STAC's best practices, and the maps' own files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pystac
from pystac.extensions.classification import ClassificationExtension

from components.artifacts.map import ITEM, Map
from components.artifacts.mapcollection import PAGE
from components.errors import GeoductError

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_id(id: str) -> None:
    """Hold a collection's id to what works in a URL and as a file name.

    Raises:
        GeoductError: it does not.
    """
    if not _ID.fullmatch(id):
        raise GeoductError(
            f"--id is {id!r}; expected a letter or digit, then letters, digits, dots, hyphens and underscores"
        )


def write_collection(maps: Sequence[Map], folder: Path, id: str, title: str, license: str) -> pystac.Collection:
    """Write `collection.json` and a folder a map with its item and its files; return the collection."""
    items = [pystac.Item.from_dict(found.item) for found in maps]
    nomenclature = maps[0].nomenclature
    collection = pystac.Collection(
        id,
        f"Maps of {len(nomenclature)} classes ({nomenclature.name}) and the confidence of each pixel.",
        pystac.Extent.from_items(items),
        title=title,
        license=license,
        keywords=["land cover"],
        stac_extensions=[ClassificationExtension.get_schema_uri()],
    )
    # What is the same in every item is told once, for clients that ask what there is before they read any.
    collection.item_assets = {
        key: pystac.ItemAssetDefinition({name: value for name, value in asset.to_dict().items() if name != "href"})
        for key, asset in items[0].assets.items()
    }
    collection.add_link(pystac.Link("alternate", f"./{PAGE}", pystac.MediaType.HTML, "The maps on a page"))
    collection.add_items(items)
    for found, item in zip(maps, items, strict=True):
        place = folder / item.id
        place.mkdir(parents=True)
        for file in found.manifest["files"]:
            if file != ITEM:
                shutil.copyfile(found.path / file, place / file)
    # The slash keeps pystac from taking a folder with a dot in its name for a file.
    collection.normalize_hrefs(f"{folder}/")
    collection.save(pystac.CatalogType.SELF_CONTAINED)
    return collection
