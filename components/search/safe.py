"""Sentinel-2 products as downloaded (SAFE folders, JPEG 2000) as a catalog: each becomes an item, from its metadata.

Names of elements and files are those of the Sentinel-2 Products Specification Document, as the products since 2018
(processing baseline 02.07) have them.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pystac
import shapely
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from components.errors import GeoductError

PRODUCT, TILE = "MTD_MSIL2A.xml", "MTD_TL.xml"
LEVEL_1C = "MTD_MSIL1C.xml"
COLLECTION = "sentinel-2-l2a"

BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Bands by the `band_id` that the metadata count them by."""

_IMAGE = re.compile(
    r"GRANULE/(?P<granule>\w+)/IMG_DATA/R(?P<metres>10|20|60)m/\w+_(?P<name>B\d[\dA]|SCL)_(?P=metres)m", re.ASCII
)

T = TypeVar("T")


def safe_folders(folder: Path) -> list[Path]:
    """The folder itself if it is one product, else the products in it, by name; none where it holds none."""
    folder = folder.resolve()
    if _is_safe(folder) or any((folder / name).is_file() for name in (PRODUCT, LEVEL_1C)):
        return [folder]
    return sorted(each for each in folder.iterdir() if _is_safe(each))


def _is_safe(path: Path) -> bool:
    return path.suffix.upper() == ".SAFE" and path.is_dir()


def read_safe(folder: Path) -> pystac.Item:
    """The item of one Level-2A product: each band and the scene classification at their finest resolution.

    Scale and offset are those that the metadata state band by band; a product without offsets states 0. Whether the
    rasters are there shows when they are read.

    Raises:
        GeoductError: the folder is no such product, or its metadata are missing or malformed.
    """
    if not (folder / PRODUCT).is_file() and (folder / LEVEL_1C).is_file():
        raise GeoductError(
            f"{folder} is a Level-1C product: top of atmosphere, without a scene classification (SCL); "
            "expected a Level-2A product"
        )
    product = _Metadata(folder / PRODUCT)
    granule, images = _images(product)
    tile = _Metadata(folder / "GRANULE" / granule / TILE)
    outline = _outline(product.read("Global_Footprint/{*}EXT_POS_LIST", _positions))
    uri = product.read("PRODUCT_URI", str)
    baseline = product.read("PROCESSING_BASELINE", _baseline)
    item = pystac.Item(
        uri.removesuffix(".SAFE"),
        shapely.geometry.mapping(outline),
        list(outline.bounds),
        product.read("PRODUCT_START_TIME", _instant),
        {
            "platform": product.read("SPACECRAFT_NAME", str.lower),
            "constellation": "sentinel-2",
            "eo:cloud_cover": product.read("Cloud_Coverage_Assessment", float),
            "proj:code": tile.read("HORIZONTAL_CS_CODE", _utm),
            "processing:level": "L2A",
            "s2:processing_baseline": baseline,
            "s2:product_uri": uri,
            "s2:generation_time": product.read("GENERATION_TIME", str),
            "sat:relative_orbit": product.read("SENSING_ORBIT_NUMBER", int),
            "sat:orbit_state": product.read("SENSING_ORBIT_DIRECTION", str.lower),
        },
        collection=COLLECTION,
    )
    for name, (metres, image) in images.items():
        fields = _grid(tile, metres)
        if name != "SCL":
            fields["raster:bands"] = [_radiometry(product, name)]
        asset = pystac.Asset(f"{folder / image}.jp2", media_type="image/jp2", roles=["data"], extra_fields=fields)
        item.add_asset(f"{name}_{metres}m", asset)
    return item


class _Metadata:
    """A file of metadata; elements are found by name, whatever their namespace."""

    def __init__(self, file: Path) -> None:
        self.file = file
        if not file.is_file():
            raise GeoductError(f"{file} is missing; expected a Level-2A product as downloaded")
        try:
            self._root = ET.parse(file).getroot()
        except (ET.ParseError, ValueError, LookupError) as error:
            raise GeoductError(f"{file} is malformed XML: {error}") from None

    def texts(self, path: str) -> list[str]:
        """What all elements at a path hold."""
        return [(element.text or "").strip() for element in self._root.findall(f".//{{*}}{path}")]

    def read(self, path: str, parse: Callable[[str], T]) -> T:
        """What the first element at a path holds.

        Raises:
            GeoductError: there is no such element, it is empty, or `parse` refuses what it holds.
        """
        text = next(iter(self.texts(path)), "")
        name = path.replace("{*}", "")
        if not text:
            raise GeoductError(f"{self.file} states no {name}")
        try:
            return parse(text)
        except ValueError:
            raise GeoductError(f"{self.file}: {name} is {text[:60]!r}, which is malformed") from None


def _images(product: _Metadata) -> tuple[str, dict[str, tuple[int, str]]]:
    """The product's granule, and name of a raster → its finest resolution in metres and its path without suffix."""
    found = [match for text in product.texts("IMAGE_FILE") if (match := _IMAGE.fullmatch(text))]
    granules = sorted({match["granule"] for match in found})
    if len(granules) != 1:
        raise GeoductError(f"{product.file} lists the rasters (IMAGE_FILE) of {len(granules)} granules; expected one")
    images: dict[str, tuple[int, str]] = {}
    for match in sorted(found, key=lambda match: (match["name"], int(match["metres"]))):
        images.setdefault(match["name"], (int(match["metres"]), match[0]))
    return granules[0], images


def _radiometry(product: _Metadata, band: str) -> dict[str, float]:
    """Scale and offset of a band, in reflectance, as the STAC raster extension has them."""
    quantification = product.read("BOA_QUANTIFICATION_VALUE", _positive)
    offset = 0
    # before processing baseline 04.00 there is no list
    if product.texts("BOA_ADD_OFFSET_VALUES_LIST"):
        offset = product.read(f"BOA_ADD_OFFSET[@band_id='{BAND_IDS.index(band)}']", int)
    return {"nodata": 0, "scale": 1 / quantification, "offset": offset / quantification}


def _grid(tile: _Metadata, metres: int) -> dict[str, Any]:
    """Shape and transform of the rasters of one resolution, as the STAC projection extension has them."""

    def number(element: str, name: str, parse: Callable[[str], float]) -> float:
        return tile.read(f"{element}[@resolution='{metres}']/{{*}}{name}", parse)

    left, top, width, height = (number("Geoposition", name, float) for name in ("ULX", "ULY", "XDIM", "YDIM"))
    return {
        "proj:shape": [number("Size", name, _positive) for name in ("NROWS", "NCOLS")],
        "proj:transform": [width, 0.0, left, 0.0, height, top],
    }


def _outline(positions: Sequence[tuple[float, float]]) -> BaseGeometry:
    """A footprint from its corners (longitude, latitude), in two parts where it lies across the antimeridian."""
    longitudes = [longitude for longitude, _ in positions]
    if max(longitudes) - min(longitudes) <= 180:
        return shapely.Polygon(positions)
    east = shapely.make_valid(shapely.Polygon([(x % 360, y) for x, y in positions]))
    sides = east & shapely.box(0, -90, 180, 90), translate(east & shapely.box(180, -90, 360, 90), -360)
    return shapely.union_all(sides)


def _positions(text: str) -> list[tuple[float, float]]:
    """Corners as longitude and latitude, from `latitude longitude latitude longitude …`."""
    numbers = [float(number) for number in text.split()]
    if len(numbers) % 2 or len(numbers) < 8:
        raise ValueError(text)
    return list(zip(numbers[1::2], numbers[::2], strict=True))


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(text)
    return found


def _baseline(text: str) -> str:
    return _matching(r"\d{2}\.\d{2}", text)


def _utm(text: str) -> str:
    return _matching(r"EPSG:32[67](0[1-9]|[1-5]\d|60)", text)


def _matching(pattern: str, text: str) -> str:
    if not re.fullmatch(pattern, text, re.ASCII):
        raise ValueError(text)
    return text


def _positive(text: str) -> int:
    found = int(text)
    if found <= 0:
        raise ValueError(text)
    return found
