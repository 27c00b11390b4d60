from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from odc.geo.geobox import GeoBox

from components.artifacts.nomenclature import IGNORE
from components.errors import GeoductError
from tests.components.label.test_raster import codes_of, run
from tests.makers import geobox

WEST, NORTH = 500_000, 7_100_000


def rectangle(row: float, col: float, height: float, width: float) -> shapely.Polygon:
    """A rectangle in pixels of 10 m."""
    return shapely.box(WEST + 10 * col, NORTH - 10 * (row + height), WEST + 10 * (col + width), NORTH - 10 * row)


def features(**columns: Any) -> geopandas.GeoDataFrame:
    """Forest over the upper half, and a lake in it that comes later and therefore wins."""
    shapes = [rectangle(0, 0, 20, 40), rectangle(5, 10, 10, 10)]
    return geopandas.GeoDataFrame(columns, geometry=shapes, crs="EPSG:32627")


EXPECTED = np.zeros((40, 40), int)
EXPECTED[:20] = 311
EXPECTED[5:15, 10:20] = 512


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".shp", ".parquet"])
@pytest.mark.parametrize("codes", [[311, 512], ["311", "512"]])
def test_features_are_burned_in_the_order_of_the_file(tmp_path: Path, suffix: str, codes: list[Any]) -> None:
    file = tmp_path / f"clc{suffix}"
    table = features(Code_18=codes, AREA=[1.5, 2.5]).to_crs("EPSG:4326" if suffix == ".geojson" else "EPSG:32627")
    if suffix == ".parquet":
        table.to_parquet(file)
    else:
        table.to_file(file)
    labels = run(tmp_path, file, geobox(40, 40), nomenclature="corine-3")
    assert (codes_of(labels) == EXPECTED).all()
    assert (labels.array("label")[20:] == IGNORE).all()
    assert labels.source["attribute"] == "Code_18"


def test_majority_of_a_pixel_that_two_features_share(tmp_path: Path) -> None:
    # The lake covers the centre of column 10, but only 45 % of it: nearest and majority differ there.
    shapes = [rectangle(0, 0, 40, 40), rectangle(0, 10.45, 40, 0.3)]
    geopandas.GeoDataFrame({"code": [311, 512]}, geometry=shapes, crs="EPSG:32627").to_file(tmp_path / "a.gpkg")
    near = codes_of(run(tmp_path, tmp_path / "a.gpkg", geobox(40, 40), nomenclature="corine-3"))
    most = codes_of(run(tmp_path, tmp_path / "a.gpkg", geobox(40, 40), nomenclature="corine-3", resampling="majority"))
    assert (near[:, 10] == 512).all() and (near[:, 11] == 311).all()
    assert (most == 311).all()


def test_the_class_column_must_be_clear(tmp_path: Path) -> None:
    features(old=[311, 311], new=[311, 512], name=["a", "b"]).to_file(tmp_path / "two.gpkg")
    with pytest.raises(GeoductError, match=r"2 columns .* --attribute: old \(311, …\); new \(311, 512, …\)"):
        run(tmp_path, tmp_path / "two.gpkg", geobox(40, 40), nomenclature="corine-3")
    labels = run(tmp_path, tmp_path / "two.gpkg", geobox(40, 40), nomenclature="corine-3", attribute="new")
    assert (codes_of(labels) == EXPECTED).all()
    with pytest.raises(GeoductError, match=r"has no column 'neww'; did you mean 'new'\?"):
        run(tmp_path, tmp_path / "two.gpkg", geobox(40, 40), attribute="neww")
    with pytest.raises(GeoductError, match=r"column 'name': 2 of 2 distinct values are no CORINE code \(a, b\)"):
        run(tmp_path, tmp_path / "two.gpkg", geobox(40, 40), attribute="name")
    features(name=["a", "b"]).to_file(tmp_path / "none.gpkg")
    with pytest.raises(GeoductError, match=r"no column whose values are all known .* name \(a, b, …\)"):
        run(tmp_path, tmp_path / "none.gpkg", geobox(40, 40))


def test_layers_extent_and_crs_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "layers.gpkg"
    features(code=[311, 512]).to_file(file, layer="status")
    features(code=[511, 523]).to_file(file, layer="change")
    with pytest.raises(GeoductError, match=r"has 2 layers; choose one by --layer: status, change"):
        run(tmp_path, file, geobox(40, 40))
    with pytest.raises(GeoductError, match=r"has no layer 'statsu'; did you mean 'status'\?"):
        run(tmp_path, file, geobox(40, 40), layer="statsu")
    assert (codes_of(run(tmp_path, file, geobox(40, 40), nomenclature="corine-3", layer="status")) == EXPECTED).all()
    far = features(code=[311, 512])
    far.geometry = far.translate(1e6, 0)
    far.to_file(tmp_path / "far.gpkg")
    with pytest.raises(GeoductError, match=r"far\.gpkg does not overlap the composite"):
        run(tmp_path, tmp_path / "far.gpkg", geobox(40, 40))
    features(code=[311, 512]).set_crs(None, allow_override=True).to_parquet(tmp_path / "bare.parquet")
    with pytest.raises(GeoductError, match=r"bare\.parquet has no coordinate reference system"):
        run(tmp_path, tmp_path / "bare.parquet", geobox(40, 40))


def test_real_land_use_is_the_same_from_vector_and_raster(tmp_path: Path, shared_data: Path) -> None:
    nomenclature = str(Path(__file__).parents[3] / "experiments" / "nomenclatures" / "slovenia-land-use.yaml")
    with rasterio.open(shared_data / "labels" / "slovenia_land_use.tif") as raster:
        truth, grid = raster.read(1), GeoBox(raster.shape, raster.transform, "EPSG:32633")
    for name in ("slovenia_land_use.tif", "slovenia_land_use.gpkg"):
        labels = run(tmp_path, shared_data / "labels" / name, grid, nomenclature=nomenclature)
        assert (codes_of(labels) == truth).all()
