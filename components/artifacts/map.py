"""Map: what a model makes of a composite, in the files that every GIS and every STAC client reads.

`classes.tif` and `confidence.tif` are cloud-optimised GeoTIFFs. They are gathered in plain, uncompressed files, which
take windows in any order, and converted once all is there: GDAL's COG driver wants the whole image, and takes it in
memory that does not grow with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window

from components.artifacts.base import Artifact
from components.artifacts.nomenclature import IGNORE, Nomenclature
from components.blocks import cores
from components.errors import GeoductError

CLASSES, CONFIDENCE, ITEM, QUICKLOOK = "classes.tif", "confidence.tif", "item.json", "quicklook.png"
NODATA = IGNORE
"""Value of a pixel without a prediction, in both rasters."""
TILE = 512
"""Edge of an internal tile of the COGs: what a web map fetches at a time."""

_TAG = "NOMENCLATURE"


class Map(Artifact):
    """`classes.tif` (uint8: class index, 255 = nodata), `confidence.tif` (uint8: percent, 255 = nodata), `item.json`
    (the STAC item of the two) and `quicklook.png`.

    Beside `classes.tif` lies `classes.tif.aux.xml`, where GDAL and QGIS look for the names of the classes; their
    colours are in the file itself.
    """

    kind = "Map"
    look = QUICKLOOK

    @property
    def classes(self) -> Path:
        """The COG of classes."""
        return self.path / CLASSES

    @property
    def confidence(self) -> Path:
        """The COG of confidence: probability of the class that was chosen, in percent."""
        return self.path / CONFIDENCE

    @property
    def quicklook(self) -> Path:
        """The picture."""
        return self.path / QUICKLOOK

    @property
    def item(self) -> dict[str, Any]:
        """The STAC item.

        Raises:
            GeoductError: the file is missing or holds no STAC item.
        """
        file = self.path / ITEM
        try:
            item = json.loads(file.read_text(encoding="utf-8"))
            if item["type"] != "Feature" or not {"classes", "confidence"} <= item["assets"].keys():
                raise KeyError
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise GeoductError(f"{file} is no STAC item with the assets 'classes' and 'confidence'") from None
        return dict(item)

    @property
    def geobox(self) -> GeoBox:
        """The grid of both rasters."""
        with _opened(self.classes) as source:
            return GeoBox(source.shape, source.transform, source.crs.to_wkt())

    @property
    def nomenclature(self) -> Nomenclature:
        """The classes, in order of their index.

        Raises:
            GeoductError: the raster does not say.
        """
        with _opened(self.classes) as source:
            try:
                return Nomenclature.from_dict(json.loads(source.tags()[_TAG]))
            except (KeyError, ValueError):
                raise GeoductError(f"{self.classes} has no readable tag {_TAG}") from None

    def validate(self) -> None:
        """Check types, nodata, tiling, grids and the item; no pixel is read."""
        grids = []
        for file in (self.classes, self.confidence):
            with _opened(file) as source:
                found = (source.count, source.dtypes[0], source.nodata, source.block_shapes[0])
                if found != (1, "uint8", NODATA, (TILE, TILE)):
                    raise GeoductError(
                        f"{file} has {found[0]} bands of {found[1]} with nodata {found[2]} in blocks of {found[3]}; "
                        f"expected 1 of uint8 with nodata {NODATA} in blocks of {(TILE, TILE)}"
                    )
                grids.append((source.shape, source.transform, source.crs))
        if grids[0] != grids[1]:
            raise GeoductError(f"{self.path}: {CLASSES} and {CONFIDENCE} lie on different grids")
        _ = self.nomenclature, self.item
        if not self.quicklook.is_file():
            raise GeoductError(f"{self.path} has no {QUICKLOOK}")


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with rasterio.open(file) as source:
            yield source
    except RasterioError as error:
        raise GeoductError(f"{file} is not a readable raster: {error}") from None


class MapWriter:
    """Takes windows of classes and confidence, in any order, and makes the two COGs of a Map of them.

    The same pixels give the same bytes, in whatever windows they come. All within `gdal_limits()`.
    """

    def __init__(self, path: Path, geobox: GeoBox, nomenclature: Nomenclature) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path, self._nomenclature = path, nomenclature
        profile = {
            "driver": "GTiff",
            "width": geobox.shape[1],
            "height": geobox.shape[0],
            "count": 1,
            "dtype": "uint8",
            "nodata": NODATA,
            "crs": CRS.from_user_input(geobox.crs),
            "transform": geobox.transform,
            "tiled": False,
            "blockysize": 16,
            "bigtiff": "IF_SAFER",
        }
        self._plain = {name: path / f"plain-{name}" for name in (CLASSES, CONFIDENCE)}
        self._open = {name: rasterio.open(file, "w", **profile) for name, file in self._plain.items()}

    def write(self, y0: int, x0: int, classes: NDArray[np.uint8], confidence: NDArray[np.uint8]) -> None:
        """Write both arrays `(y, x)` with their upper left pixel at row `y0` and column `x0`."""
        window = Window(x0, y0, classes.shape[1], classes.shape[0])
        self._open[CLASSES].write(classes, 1, window=window)
        self._open[CONFIDENCE].write(confidence, 1, window=window)

    def close(self) -> None:
        """Close the plain files; for when the map will not be finished."""
        for target in self._open.values():
            target.close()

    def finish(self) -> None:
        """Convert to COGs and remove the plain files."""
        classes, confidence = self._open[CLASSES], self._open[CONFIDENCE]
        classes.write_colormap(1, {i: (*c.rgb, 255) for i, c in enumerate(self._nomenclature)} | {NODATA: (0, 0, 0, 0)})
        classes.colorinterp = [ColorInterp.palette]
        classes.set_band_description(1, "class index")
        classes.update_tags(**{_TAG: json.dumps(self._nomenclature.to_dict(), ensure_ascii=False)})
        confidence.set_band_description(1, "probability of the class, percent")
        confidence.set_band_unit(1, "%")
        self.close()
        for name, resampling in ((CLASSES, "MODE"), (CONFIDENCE, "AVERAGE")):
            rasterio.shutil.copy(
                self._plain[name],
                self._path / name,
                driver="COG",
                compress="DEFLATE",
                level="6",
                blocksize=str(TILE),
                overview_resampling=resampling,
                num_threads=str(cores()),
                bigtiff="IF_SAFER",
            )
            self._plain[name].unlink()
        self._write_names()

    def _write_names(self) -> None:
        names = "".join(f"      <Category>{escape(name)}</Category>\n" for name in self._nomenclature.names)
        (self._path / f"{CLASSES}.aux.xml").write_text(
            '<PAMDataset>\n  <PAMRasterBand band="1">\n    <CategoryNames>\n'
            f"{names}    </CategoryNames>\n  </PAMRasterBand>\n</PAMDataset>\n",
            encoding="utf-8",
        )
