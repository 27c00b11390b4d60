"""The component `publish`: gather maps into one static STAC collection with a page to look at them.

`gather` finds the maps and holds them to one nomenclature, `collection` writes STAC, `page` writes HTML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.contract import Input, Output, component

if TYPE_CHECKING:
    from components.artifacts import MapCollection, Source


@component(image="data")
def publish(
    maps: Input[Source],
    collection: Output[MapCollection],
    *,
    id: str = "land-cover",
    title: str = "Land cover",
    license: str = "other",
) -> None:
    """Publish maps as one static STAC collection, with a page to look at them.

    The maps are copied, so the collection needs nothing but itself. All must have the same classes: one legend tells
    them all; publish maps of other classes as another collection.

    Args:
        maps: a folder in which, at any depth, the maps lie
        collection: the collection, whole: metadata, rasters, quicklooks and index.html
        id: of the collection; letters, digits, dots, hyphens and underscores
        title: of the collection and its page
        license: of the maps, as an SPDX identifier such as CC-BY-4.0; other says nothing
    """
    from components.publish.collection import check_id, write_collection
    from components.publish.gather import gather
    from components.publish.page import page

    check_id(id)
    found = gather(maps.path)
    written = write_collection(found, collection.path, id, title, license)
    collection.page.write_text(page(written, found[0].nomenclature), encoding="utf-8")
    print(f"{len(found)} {'map' if len(found) == 1 else 'maps'} in collection {id!r}")
