"""Small Sentinel-2 products as the archive delivers them (SAFE folders with JPEG 2000), whose every pixel is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

from tests.components.acquire.catalogs import EAST, EPSG, NORTH, dn

EDGE = 1200
"""Metres a side: 120 pixels of 10 m, 60 of 20 m, 20 of 60 m."""

BAND_IDS = {"B01": 0, "B02": 1, "B04": 3, "B8A": 8, "B09": 9, "B11": 11}


def rasters() -> dict[str, np.ndarray[Any, Any]]:
    """Name of a raster → random DN (y, x), 0 in the first pixel; coarser rasters of a band hold other numbers."""
    made = {
        f"{name}_{metres}m": dn((EDGE // metres, EDGE // metres), seed, low=1001)
        for seed, (name, metres) in enumerate(
            [("B01", 60), ("B02", 10), ("B02", 20), ("B02", 60), ("B04", 10), ("B8A", 20), ("B09", 60), ("B11", 20)]
        )
    }
    for pixels in made.values():
        pixels[0, 0] = 0
    made["SCL_20m"] = np.random.default_rng(99).integers(0, 12, (60, 60)).astype("uint8")
    return made


@dataclass
class Safe:
    """A product to be written. `offset` None leaves out the list, as products before baseline 04.00 do."""

    day: str = "20220625"
    baseline: str = "04.00"
    offset: int | None = -1000
    quantification: int = 10000
    cloud: float = 12.5
    pixels: dict[str, np.ndarray[Any, Any]] = field(default_factory=rasters)
    unlike: dict[int, int] = field(default_factory=dict)
    """Offsets that differ, by band_id."""

    @property
    def id(self) -> str:
        """The product's name without its suffix."""
        number = self.baseline.replace(".", "")
        return f"S2B_MSIL2A_{self.day}T125311_N{number}_R138_T27WVM_{self.day}T155500"

    @property
    def time(self) -> str:
        """When it was acquired, in UTC."""
        return f"{self.day[:4]}-{self.day[4:6]}-{self.day[6:]}T12:53:11.024"


def _product(safe: Safe, granule: str) -> str:
    west, south, east, north = transform_bounds(f"EPSG:{EPSG}", "EPSG:4326", EAST, NORTH - EDGE, EAST + EDGE, NORTH)
    files = "".join(
        f"<IMAGE_FILE>GRANULE/{granule}/IMG_DATA/R{name[4:]}/T27WVM_{safe.day}T125311_{name}</IMAGE_FILE>"
        for name in [*safe.pixels, "AOT_10m", "TCI_10m"]
    )
    offsets = ""
    if safe.offset is not None:
        each = "".join(
            f'<BOA_ADD_OFFSET band_id="{n}">{safe.unlike.get(n, safe.offset)}</BOA_ADD_OFFSET>' for n in range(13)
        )
        offsets = f"<BOA_ADD_OFFSET_VALUES_LIST>{each}</BOA_ADD_OFFSET_VALUES_LIST>"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
 <n1:General_Info>
  <Product_Info>
   <PRODUCT_START_TIME>{safe.time}Z</PRODUCT_START_TIME>
   <PRODUCT_URI>{safe.id}.SAFE</PRODUCT_URI>
   <PROCESSING_BASELINE>{safe.baseline}</PROCESSING_BASELINE>
   <GENERATION_TIME>2022-06-25T15:55:00.000000Z</GENERATION_TIME>
   <Datatake><SPACECRAFT_NAME>Sentinel-2B</SPACECRAFT_NAME><SENSING_ORBIT_NUMBER>138</SENSING_ORBIT_NUMBER>
    <SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION></Datatake>
   <Product_Organisation><Granule_List><Granule>{files}</Granule></Granule_List></Product_Organisation>
  </Product_Info>
  <Product_Image_Characteristics>
   <QUANTIFICATION_VALUES_LIST>
    <BOA_QUANTIFICATION_VALUE unit="none">{safe.quantification}</BOA_QUANTIFICATION_VALUE>
   </QUANTIFICATION_VALUES_LIST>
   {offsets}
  </Product_Image_Characteristics>
 </n1:General_Info>
 <n1:Geometric_Info><Product_Footprint><Product_Footprint><Global_Footprint>
  <EXT_POS_LIST>{north} {west} {north} {east} {south} {east} {south} {west} {north} {west} </EXT_POS_LIST>
 </Global_Footprint></Product_Footprint></Product_Footprint></n1:Geometric_Info>
 <n1:Quality_Indicators_Info>
  <Cloud_Coverage_Assessment>{safe.cloud}</Cloud_Coverage_Assessment>
 </n1:Quality_Indicators_Info>
</n1:Level-2A_User_Product>
"""


def _tile() -> str:
    grids = "".join(
        f'<Size resolution="{metres}"><NROWS>{EDGE // metres}</NROWS><NCOLS>{EDGE // metres}</NCOLS></Size>'
        f'<Geoposition resolution="{metres}"><ULX>{EAST}</ULX><ULY>{NORTH}</ULY>'
        f"<XDIM>{metres}</XDIM><YDIM>-{metres}</YDIM></Geoposition>"
        for metres in (10, 20, 60)
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd">
 <n1:Geometric_Info>
  <Tile_Geocoding><HORIZONTAL_CS_CODE>EPSG:{EPSG}</HORIZONTAL_CS_CODE>{grids}</Tile_Geocoding>
 </n1:Geometric_Info>
</n1:Level-2A_Tile_ID>
"""


def write_safe(folder: Path, safe: Safe) -> Path:
    """Write a product into a folder; returns the product's own."""
    product = folder / f"{safe.id}.SAFE"
    granule = product / "GRANULE" / f"L2A_T27WVM_A027000_{safe.day}T125312"
    granule.mkdir(parents=True)
    (product / "MTD_MSIL2A.xml").write_text(_product(safe, granule.name))
    (granule / "MTD_TL.xml").write_text(_tile())
    for name, pixels in safe.pixels.items():
        metres = int(name[4:6])
        file = granule / "IMG_DATA" / f"R{metres}m" / f"T27WVM_{safe.day}T125311_{name}.jp2"
        file.parent.mkdir(parents=True, exist_ok=True)
        place = {"crs": f"EPSG:{EPSG}", "transform": from_origin(EAST, NORTH, metres, metres)}
        lossless = {"QUALITY": "100", "REVERSIBLE": "YES"}
        height, width = pixels.shape
        with rasterio.open(
            file, "w", "JP2OpenJPEG", width, height, 1, dtype=pixels.dtype, **place, **lossless
        ) as raster:
            raster.write(pixels, 1)
    return product
