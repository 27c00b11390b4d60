"""The page to look at the maps: quicklooks with one legend and links to the files. It needs only its own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pystac

from components.artifacts.mapcollection import COLLECTION
from components.artifacts.nomenclature import Nomenclature
from components.pages import render

TEMPLATE = Path(__file__).parent / "templates" / "index.html.j2"


def page(collection: pystac.Collection, nomenclature: Nomenclature) -> str:
    """The page as HTML, its links relative to the collection's folder."""
    cards = [_card(item) for item in sorted(collection.get_items(), key=lambda i: (_dates(i), i.id))]
    return render(
        TEMPLATE,
        title=collection.title,
        description=collection.description,
        license=None if collection.license == "other" else collection.license,
        nomenclature=nomenclature.name,
        legend=[(land.colour, land.name) for land in nomenclature],
        cards=cards,
        metadata=COLLECTION,
    )


def _dates(item: pystac.Item) -> tuple[str, str]:
    """First and last day of what the map was made of."""
    return str(item.properties["start_datetime"])[:10], str(item.properties["end_datetime"])[:10]


def _card(item: pystac.Item) -> dict[str, Any]:
    """What the page shows of a map."""
    start, end = _dates(item)
    west, south, east, north = item.bbox or (0.0, 0.0, 0.0, 0.0)
    files = {key: f"{item.id}/{Path(asset.href).name}" for key, asset in item.assets.items()}
    return {
        "id": item.id,
        "dates": start if start == end else f"{start} to {end}",
        "place": f"{_degrees((south + north) / 2, 'NS')}, {_degrees((west + east) / 2, 'EW')}",
        "model": str(item.properties["geoduct:model"]).rpartition(":")[2][:12],
        "files": {**files, "item": f"{item.id}/{item.id}.json"},
    }


def _degrees(value: float, sides: str) -> str:
    return f"{abs(value):.3f}° {sides[0] if value >= 0 else sides[1]}"
