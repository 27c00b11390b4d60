"""Vectors as label source: the features over the area, burned onto the grid in the order of the file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import rasterio.features
import rasterio.warp
import shapely
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from components.artifacts.nomenclature import IGNORE
from components.errors import GeoductError, nearest
from components.label.legend import Legend, Value, value_of
from components.label.raster import READ, Labeller, Prepared, disjoint

FINER = 5
"""For a majority, features are burned this many times finer than the grid."""


def read_vector(location: str, layer: str | None, geobox: GeoBox) -> geopandas.GeoDataFrame | None:
    """The features of a vector over a grid, in its CRS; None if the file is no vector.

    Raises:
        GeoductError: the layer is unknown or must be chosen, there is no CRS, or nothing lies over the grid.
    """
    parquet = Path(location).suffix in (".parquet", ".geoparquet")
    try:
        if parquet:
            features = geopandas.read_parquet(location)
        else:
            layer = _layer(location, layer)
            crs = pyogrio.read_info(location, layer=layer)["crs"]
            box = geobox.extent.to_crs(crs).boundingbox.bbox if crs else None
            features = geopandas.read_file(location, layer=layer, bbox=box)
    except (pyogrio.errors.DataSourceError, OSError, ValueError):
        return None
    if features.crs is None:
        raise GeoductError(f"{location} has no coordinate reference system; expected a vector with its CRS")
    area = shapely.box(*geobox.extent.boundingbox.bbox)
    bounds = features.total_bounds if parquet else pyogrio.read_info(location, layer=layer)["total_bounds"]
    moved = features[features.geometry.notna()].to_crs(str(geobox.crs))
    over = moved[moved.intersects(area)]
    if over.empty:
        raise GeoductError(disjoint(location, bounds, features.crs, geobox))
    return over.reset_index(drop=True)


def _layer(location: str, layer: str | None) -> str:
    layers = [str(name) for name, geometry in pyogrio.list_layers(location) if geometry is not None]
    if layer is not None and layer not in layers:
        raise GeoductError(f"{location} has no layer {layer!r}{nearest(layer, layers)}")
    if layer is None and len(layers) != 1:
        raise GeoductError(f"{location} has {len(layers)} layers; choose one by --layer: {', '.join(layers)}")
    return layer or layers[0]


def prepare_vector(
    features: geopandas.GeoDataFrame,
    location: str,
    geobox: GeoBox,
    legend: Legend,
    *,
    attribute: str | None,
    majority: bool,
) -> Prepared:
    """Find the class of each feature and get ready to burn them. Where features overlap, the later one wins.

    Raises:
        GeoductError: there is no such column, or none or several could hold the class, or a value is no CORINE code.
    """
    column = _attribute(features, location, legend, attribute)
    values = [value_of(v) for v in features[column]]
    counts: Counter[Value] = Counter(v for v in values if v is not None)
    classes, style = legend.resolve(counts, f"{location}, column {column!r}")
    codes = np.array([IGNORE if v is None else classes[v] for v in values], "uint8")
    about = {"kind": "vector", "values": style, "attribute": column, "features": len(features)}
    finer = FINER if majority else 1
    labeller = _labeller(features.geometry.to_numpy(), codes, finer)
    return Prepared(labeller, READ // finer, about, counts, classes)


def _attribute(features: geopandas.GeoDataFrame, location: str, legend: Legend, attribute: str | None) -> str:
    columns = [str(c) for c in features.columns if c != features.geometry.name]
    if attribute is not None:
        if attribute not in columns:
            raise GeoductError(f"{location} has no column {attribute!r}{nearest(attribute, columns)}")
        return attribute
    fitting = []
    for column in columns:
        found = {value_of(v) for v in features[column]} - {None}
        if found and all(legend.knows(v) for v in found if v is not None):
            fitting.append(column)
    if len(fitting) != 1:
        shown = "; ".join(
            f"{c} ({', '.join(map(str, features[c].drop_duplicates().head(3)))}, …)" for c in (fitting or columns)
        )
        what = f"{len(fitting)} columns" if fitting else "no column"
        raise GeoductError(
            f"{location} has {what} whose values are all known to nomenclature {legend.nomenclature.name!r}; "
            f"name the class column by --attribute: {shown}"
        )
    return fitting[0]


def _labeller(geometries: Any, codes: np.ndarray[Any, Any], finer: int) -> Labeller:
    tree = shapely.STRtree(geometries)

    def labels_of(part: GeoBox) -> np.ndarray[Any, np.dtype[np.uint8]]:
        found = np.sort(tree.query(shapely.box(*part.extent.boundingbox.bbox)))
        fine = part.zoom_out(1 / finer)
        burned = np.full(fine.shape, IGNORE, "uint8")
        if found.size:
            shapes = [(geometries[i], int(codes[i])) for i in found]
            rasterio.features.rasterize(shapes, out=burned, transform=fine.transform)
        if finer == 1:
            return burned
        onto = np.full(part.shape, IGNORE, "uint8")
        crs = str(part.crs)
        rasterio.warp.reproject(
            burned,
            onto,
            src_transform=fine.transform,
            src_crs=crs,
            dst_transform=part.transform,
            dst_crs=crs,
            resampling=Resampling.mode,
            init_dest_nodata=False,
        )
        return onto

    return labels_of
