"""The STAC item of a map: what it shows, where, of when, and of which model and composite it was made."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pystac
from odc.geo.geobox import GeoBox
from pystac.extensions.classification import Classification, ClassificationExtension
from pystac.extensions.projection import ProjectionExtension

from components.artifacts.composite import Composite
from components.artifacts.map import CLASSES, CONFIDENCE, NODATA, QUICKLOOK
from components.artifacts.nomenclature import Nomenclature
from components.errors import GeoductError

DIGITS = 7  # of a degree: a centimetre


def slug(name: str, used: set[str]) -> str:
    """A name that the classification extension allows (letters, digits, `-` and `_`), unlike those `used`."""
    plain = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_").lower() or "class"
    unique, count = plain, 1
    while unique in used:
        count += 1
        unique = f"{plain}_{count}"
    used.add(unique)
    return unique


def classification(nomenclature: Nomenclature) -> list[Classification]:
    """The classes as the classification extension has them, nodata last."""
    used: set[str] = set()
    classes = [
        Classification.create(
            value=index, name=slug(c.name, used), title=c.name, description=c.code, color_hint=c.colour[1:].upper()
        )
        for index, c in enumerate(nomenclature)
    ]
    nodata = Classification.create(value=NODATA, name=slug("nodata", used), title="no data", nodata=True)
    return [*classes, nodata]


def interval(composite: Composite) -> tuple[datetime, datetime]:
    """First and last acquisition of a composite.

    Raises:
        GeoductError: what it says are no times.
    """
    try:
        start, end = map(pystac.utils.str_to_datetime, composite.dates)
    except ValueError:
        raise GeoductError(f"{composite.path}: dates are {composite.dates}; expected ISO 8601 times") from None
    return start, end


def stac_item(
    geobox: GeoBox,
    nomenclature: Nomenclature,
    when: tuple[datetime, datetime],
    model_digest: str,
    composite_digest: str,
) -> dict[str, Any]:
    """The item, STAC 1.1 with the projection and classification extensions, hrefs relative to it.

    The property `geoduct:model` and `geoduct:composite` hold the digests of what the map was made of.
    """
    footprint = geobox.extent.to_crs("EPSG:4326", resolution=float(geobox.resolution.x) * max(geobox.shape) / 4)
    west, south, east, north = (round(float(v), DIGITS) for v in footprint.boundingbox.bbox)
    ring = [[round(x, DIGITS), round(y, DIGITS)] for x, y in footprint.exterior.points]
    start, end = when
    item = pystac.Item(
        id=f"map-{model_digest.rpartition(':')[2][:8]}-{composite_digest.rpartition(':')[2][:8]}",
        geometry={"type": "Polygon", "coordinates": [ring]},
        bbox=[west, south, east, north],
        datetime=None,
        start_datetime=start,
        end_datetime=end,
        properties={
            "title": f"Land cover ({nomenclature.name})",
            "geoduct:model": model_digest,
            "geoduct:composite": composite_digest,
        },
    )
    media = pystac.MediaType
    raster = {"nodata": NODATA, "data_type": "uint8"}
    item.add_asset("classes", pystac.Asset(f"./{CLASSES}", "Class of each pixel", None, media.COG, ["data"], raster))
    item.add_asset(
        "confidence",
        pystac.Asset(
            f"./{CONFIDENCE}",
            "Probability of that class",
            "As the model states it, in percent",
            media.COG,
            ["data"],
            {**raster, "unit": "%"},
        ),
    )
    item.add_asset("quicklook", pystac.Asset(f"./{QUICKLOOK}", "The map", None, media.PNG, ["overview"]))
    projection = ProjectionExtension.ext(item, add_if_missing=True)
    crs: Any = geobox.crs
    if crs.epsg:
        projection.code = f"EPSG:{crs.epsg}"
    else:
        projection.wkt2 = crs.to_wkt()
    projection.shape = list(geobox.shape)
    projection.transform = [float(v) for v in geobox.transform][:6]
    projection.bbox = [float(v) for v in geobox.boundingbox.bbox]
    ClassificationExtension.ext(item.assets["classes"], add_if_missing=True).classes = classification(nomenclature)
    return item.to_dict(include_self_link=False, transform_hrefs=False)
