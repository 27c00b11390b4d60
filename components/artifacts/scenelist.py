"""SceneList: the scenes that a search found, frozen, so that the same ones are read tomorrow and by every branch.

On disk it is a STAC ItemCollection as any STAC client reads it, and a page to look at it. The items are as the catalog
gave them, but for their hrefs, which are absolute: the list may be moved and still finds its assets. It holds no
pixels: a local catalog that is moved or removed takes the assets with it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pystac
from pystac.utils import is_absolute_href

from components.artifacts.base import Artifact
from components.artifacts.stac import MALFORMED
from components.errors import GeoductError

SCENES = "scenes.json"
PAGE = "index.html"

_TREE = ("root", "parent", "child", "item", "next", "prev")
"""Links that lead through a catalog: in a list of items there is none to lead through."""


class SceneList(Artifact):
    """A folder with `scenes.json`, a STAC ItemCollection, and `index.html`, a page with their footprints.

    There is one item a scene, acquisition by acquisition in order of time; all hrefs are absolute.
    """

    kind = "SceneList"

    @property
    def scenes(self) -> Path:
        """The ItemCollection."""
        return self.path / SCENES

    @property
    def items(self) -> list[pystac.Item]:
        """The items in order of time.

        Raises:
            GeoductError: the file is missing, or is no ItemCollection.
        """
        try:
            return list(pystac.ItemCollection.from_dict(json.loads(self.scenes.read_text(encoding="utf-8"))).items)
        except (OSError, *MALFORMED) as error:
            raise GeoductError(f"{self.scenes} is no STAC ItemCollection: {error}") from None

    def validate(self) -> None:
        """Check that there are items, none twice, each with assets that are found from anywhere."""
        items = self.items
        if not items:
            raise GeoductError(f"{self.scenes} holds no item; expected one or more")
        ids = [item.id for item in items]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise GeoductError(f"{self.scenes} holds item {twice[0]!r} twice")
        for item in items:
            if not item.assets:
                raise GeoductError(f"{self.scenes}: item {item.id} has no assets")
            for key, asset in item.assets.items():
                if not is_absolute_href(asset.href):
                    raise GeoductError(
                        f"{self.scenes}: item {item.id}, asset {key!r}: href is {asset.href!r}; "
                        "expected a URL or an absolute path"
                    )


def write_scenelist(path: Path, items: Sequence[pystac.Item], page: str) -> None:
    """Write all of a SceneList but its manifest; `items` are in order of time, `page` is the HTML to review them by.

    Raises:
        GeoductError: an href of an asset is relative, and nothing says to what.
    """
    path.mkdir(parents=True, exist_ok=True)
    document = {"type": "FeatureCollection", "features": [_free(item) for item in items]}
    (path / SCENES).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (path / PAGE).write_text(page, encoding="utf-8")


def _free(item: pystac.Item) -> dict[str, Any]:
    """An item that needs no catalog around it: hrefs absolute, no links through the catalog."""
    stored = item.to_dict(include_self_link=True, transform_hrefs=False)
    for key, asset in item.assets.items():
        href = asset.get_absolute_href()
        if href is None:
            raise GeoductError(
                f"item {item.id}, asset {key!r}: href is {asset.href!r}, and the item does not say relative to what; "
                "expected an absolute href, or an item with a link to itself"
            )
        stored["assets"][key]["href"] = href
    stored["links"] = [
        {**link.to_dict(transform_href=False), "href": href}
        for link in item.links
        if link.rel not in _TREE and (href := link.get_absolute_href()) is not None
    ]
    return stored
