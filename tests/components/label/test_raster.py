from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.ndimage import maximum_filter, minimum_filter

from components.artifacts import LabelMap
from components.artifacts.nomenclature import IGNORE
from components.errors import GeoductError
from components.label import label
from components.label.corine import CODES
from tests.components.patch.scenes import composite, noise
from tests.makers import geobox


def write(path: Path, values: np.ndarray[Any, Any], transform: Affine, crs: str, nodata: float | None = None) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[-2], width=values.shape[-1], count=values.size // values[0].size
        if values.ndim == 3 else 1, dtype=values.dtype, crs=crs, transform=transform, nodata=nodata,
    ) as file:  # fmt: skip
        file.write(values if values.ndim == 3 else values[None])
    return path


def on_grid(path: Path, values: np.ndarray[Any, Any], nodata: float | None = None) -> Path:
    """A raster on the very grid of `composite`."""
    return write(path, values, geobox(1, 1).transform, "EPSG:32627", nodata)


def run(folder: Path, source: Path, grid: GeoBox, **parameters: Any) -> LabelMap:
    if not (folder / "c.zarr").exists():
        composite(folder / "c.zarr", noise(1, *grid.shape), grid)
    label(composite=folder / "c.zarr", source=source, labels=folder / "l.zarr", **parameters)
    return LabelMap.open(folder / "l.zarr")


def codes_of(labels: LabelMap) -> np.ndarray[Any, Any]:
    """Class codes (y, x) as numbers, 0 where ignored."""
    table = np.zeros(256, int)
    table[: len(labels.nomenclature)] = [int(c) for c in labels.nomenclature.codes]
    return table[labels.array("label")[...]]


def test_a_corine_raster_in_another_crs_gives_the_truth_away_from_its_borders(tmp_path: Path) -> None:
    grid = geobox(700, 600)
    # 100 m cells of EPSG:3035 in fields of 600 m; the truth is looked up cell by cell for each pixel centre.
    to_laea = Transformer.from_crs(str(grid.crs), "EPSG:3035", always_xy=True)
    cols, rows = np.meshgrid(np.arange(600) + 0.5, np.arange(700) + 0.5)
    x, y = to_laea.transform(500_000 + 10 * cols, 7_100_000 - 10 * rows)
    west, north = np.floor(x.min() / 100) * 100 - 500, np.ceil(y.max() / 100) * 100 + 500
    rng = np.random.default_rng(1)
    fields = np.kron(rng.choice([2, 12, 18, 24, 31, 44], (20, 20)), np.ones((6, 6), int)).astype("uint8")
    source = write(tmp_path / "clc.tif", fields, Affine(100, 0, west, 0, -100, north), "EPSG:3035", 48)
    truth = np.array(CODES)[fields[((north - y) // 100).astype(int), ((x - west) // 100).astype(int)] - 1]

    found = codes_of(run(tmp_path, source, grid, nomenclature="corine-3"))
    interior = maximum_filter(truth, 21) == minimum_filter(truth, 21)
    assert 0.2 < interior.mean() < 0.9
    assert (found[interior] == truth[interior]).all()
    assert (found == truth).mean() > 0.99


def test_a_large_grid_is_labelled_as_a_small_one(tmp_path: Path) -> None:
    # 2100 pixels cross a shard, so the blocks must meet without a seam.
    values = (np.indices((30, 2100)).sum(axis=0) // 7 % 44 + 1).astype("uint8")
    labels = run(tmp_path, on_grid(tmp_path / "clc.tif", values), geobox(30, 2100), nomenclature="corine-3", workers=2)
    assert (labels.array("label")[...] == values - 1).all()


def test_majority_counts_classes_and_not_values(tmp_path: Path) -> None:
    # Each pixel of 10 m holds 5 x 5 of 2 m: 8 of 111 and 8 of 112 (both urban fabric) outweigh 9 of 311.
    cell = np.array([111] * 8 + [112] * 8 + [311] * 9).reshape(5, 5).astype("uint16")
    transform = geobox(1, 1, 2.0).transform
    source = write(tmp_path / "fine.tif", np.tile(cell, (20, 20)), transform, "EPSG:32627")
    labels = run(tmp_path, source, geobox(20, 20), nomenclature="corine-2", resampling="majority")
    assert (codes_of(labels) == 11).all()
    # Nearest takes the pixel at the centre, which is the 13th of 25.
    assert (codes_of(run(tmp_path, source, geobox(20, 20), nomenclature="corine-3")) == 112).all()


def test_majority_of_a_coarser_source_is_nearest(tmp_path: Path) -> None:
    values = np.array([[2, 12], [18, 44]], "uint8")
    source = write(tmp_path / "coarse.tif", values, geobox(1, 1, 100.0).transform, "EPSG:32627")
    near, most = (
        run(tmp_path, source, geobox(20, 20), nomenclature="corine-3", resampling=r).array("label")[...]
        for r in ("nearest", "majority")
    )
    assert (near == np.kron(values - 1, np.ones((10, 10)))).all() and (near == most).all()


def test_outside_nodata_and_unmapped_are_ignored(tmp_path: Path) -> None:
    values = np.full((20, 10), 312, "int16")
    values[:5] = -1
    values[5:10] = 332  # a CORINE code without a class in BigEarthNet
    source = on_grid(tmp_path / "part.tif", values, -1)
    labels = run(tmp_path, source, geobox(20, 20), nomenclature="bigearthnet-19").array("label")[...]
    expected = np.full((20, 20), IGNORE)
    expected[10:, :10] = 9
    assert (labels == expected).all()


def test_a_class_numbered_0_is_a_class(tmp_path: Path) -> None:
    file = tmp_path / "zero.yaml"
    file.write_text('name: z\nclasses: [{code: 0, name: a, colour: "#000000"}, {code: 1, name: b, colour: "#ffffff"}]')
    values = (np.indices((10, 10)).sum(axis=0) % 2).astype("uint8")
    plain = on_grid(tmp_path / "plain.tif", values)
    labels = run(tmp_path, plain, geobox(12, 12), nomenclature=str(file)).array("label")[...]
    assert (labels[:10, :10] == values).all() and (labels[10:] == IGNORE).all()
    with pytest.raises(GeoductError, match="declares 0 as nodata, but the nomenclature 'z' maps that value"):
        run(tmp_path, on_grid(tmp_path / "declared.tif", values, 0), geobox(12, 12), nomenclature=str(file))


def test_floats_that_are_whole_are_codes_and_nan_is_nodata(tmp_path: Path) -> None:
    values = np.full((8, 8), 311, "float32")
    values[0] = np.nan
    labels = codes_of(run(tmp_path, on_grid(tmp_path / "f.tif", values), geobox(8, 8), nomenclature="corine-3"))
    assert (labels[0] == 0).all() and (labels[1:] == 311).all()


def test_a_raster_spoiled_by_interpolation_is_refused_with_its_count(tmp_path: Path) -> None:
    values = np.full((10, 10), 24, "float32")
    values[3, :7] = 24.5
    with pytest.raises(GeoductError, match=r"blur\.tif is spoiled by interpolation: 7 of 100 values .* e\.g\. 24\.5"):
        run(tmp_path, on_grid(tmp_path / "blur.tif", values), geobox(10, 10))
    assert not (tmp_path / "l.zarr").exists()


def test_bad_sources_are_named(tmp_path: Path) -> None:
    grid = geobox(10, 10)
    good = np.full((10, 10), 24, "uint8")
    far = write(tmp_path / "far.tif", good, Affine(100, 0, 4_000_000, 0, -100, 3_000_000), "EPSG:3035")
    with pytest.raises(GeoductError, match=r"far\.tif does not overlap the composite: it covers .* E, .* N"):
        run(tmp_path, far, grid)
    with pytest.raises(GeoductError, match=r"rgb\.tif has 3 bands; expected a raster of one band"):
        run(tmp_path, on_grid(tmp_path / "rgb.tif", np.stack([good] * 3)), grid)
    (tmp_path / "text.tif").write_text("no raster at all")
    with pytest.raises(GeoductError, match=r"text\.tif is neither a raster nor a vector"):
        run(tmp_path, tmp_path / "text.tif", grid)
    with pytest.raises(GeoductError, match=r"nowhere\.tif does not exist"):
        run(tmp_path, tmp_path / "nowhere.tif", grid)
    with pytest.raises(GeoductError, match="--attribute code is for vectors"):
        run(tmp_path, on_grid(tmp_path / "ok.tif", good), grid, attribute="code")
    cloud = on_grid(tmp_path / "cloud.tif", np.full((10, 10), 9, "uint8"))
    with pytest.raises(GeoductError, match=r"gives no pixel of the composite a class .* values there are 9 \(100x\)"):
        run(tmp_path, cloud, grid, nomenclature="scl-land-cover")
    assert not (tmp_path / "l.zarr").exists()


def test_a_truncated_raster_is_named(tmp_path: Path) -> None:
    cut = on_grid(tmp_path / "cut.tif", np.random.default_rng(0).integers(1, 44, (400, 400)).astype("uint8"))
    cut.write_bytes(cut.read_bytes()[:60_000])
    with pytest.raises(GeoductError, match=r"cut\.tif cannot be read: .*; is it cut short\?"):
        run(tmp_path, cut, geobox(400, 400))


def test_the_labels_say_what_they_came_from(tmp_path: Path) -> None:
    values = np.full((10, 10), 24, "uint8")
    values[0, :3] = 31
    labels = run(tmp_path, on_grid(tmp_path / "clc.tif", values), geobox(10, 10), nomenclature="bigearthnet-19")
    assert labels.source["values"] == "CORINE grid codes 1 to 44"
    assert labels.source["pixel"] == [10.0, 10.0]
    assert labels.source["unmapped"] == {"332": 3}


def test_a_real_corine_raster_spoiled_by_interpolation(tmp_path: Path, shared_data: Path) -> None:
    harz = shared_data / "harz_s2_corine"
    with rasterio.open(harz / "harz_CLC2018_exact_on_s2_grid.tif") as exact:
        truth, grid = exact.read(1), GeoBox(exact.shape, exact.transform, "EPSG:4326")
    source = harz / "harz_CLC2018_exact_on_s2_grid.tif"
    assert (codes_of(run(tmp_path, source, grid, nomenclature="corine-3")) == truth).all()
    with pytest.raises(GeoductError, match="spoiled by interpolation: 3,631 of 10,730 values"):
        run(tmp_path, harz / "corine_harz_ORIGINAL_bilinear.tif", grid)
