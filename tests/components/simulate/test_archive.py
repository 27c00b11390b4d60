"""The archive as files: what others read, against the truth that lies beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
import pytest
import rasterio
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rasterio.warp import Resampling, reproject
from rio_cogeo.cogeo import cog_validate
from scipy import ndimage

from components.artifacts.archive import Archive
from components.errors import GeoductError
from components.simulate import simulate
from components.simulate.land import RIVER
from components.simulate.spectra import BANDS, NOISE_LIMIT, NOISE_STD

MASKED = (0, 1, 3, 8, 9, 10)


def read(path: Path, band: int = 1) -> npt.NDArray[Any]:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read(band))


def on_10_m(coarse: npt.NDArray[Any], step: int, size: int = 400) -> npt.NDArray[Any]:
    return np.repeat(np.repeat(coarse, step, axis=0), step, axis=1)[:size, :size]


def documents(archive: Archive) -> dict[str, dict[str, Any]]:
    folder = archive.path / "sentinel-2-l2a"
    return {i: json.loads((folder / i / f"{i}.json").read_text()) for i in archive.items}


def test_same_seed_same_bytes_whatever_the_threads(tmp_path: Path) -> None:
    for name, seed, workers in (("a", 3, 1), ("b", 3, 2), ("c", 4, 2)):
        simulate(archive=tmp_path / name, size=396, dates=2, seed=seed, workers=workers, truth=False)
    a, b, c = (Archive.open(tmp_path / name) for name in "abc")
    assert a.digest == b.digest
    assert a.digest != c.digest


def test_stac_is_valid_and_links_are_relative(archive: Archive) -> None:
    catalog = pystac.Catalog.from_file(str(archive.catalog))
    validator = JsonSchemaSTACValidator()
    found = [catalog, *catalog.get_children(), *catalog.get_items(recursive=True)]
    assert len(found) == 8
    for thing in found:
        document = json.loads(Path(thing.self_href).read_text())
        validator.validate_core(document, thing.STAC_OBJECT_TYPE, document["stac_version"])
        assert not [link for link in document["links"] if not link["href"].startswith(".")]
    for item in catalog.get_items(recursive=True):
        assert set(item.assets) == {*(b.asset for b in BANDS), "scl"}
        for asset in item.assets.values():
            assert asset.href.startswith("./")
            assert Path(str(asset.get_absolute_href())).is_file()


def test_items_describe_their_files(archive: Archive) -> None:
    for name, item in documents(archive).items():
        for asset in item["assets"].values():
            with rasterio.open(archive.path / "sentinel-2-l2a" / name / asset["href"]) as dataset:
                assert list(dataset.shape) == asset["proj:shape"]
                assert list(dataset.transform[:6]) == asset["proj:transform"]
                assert str(dataset.crs) == item["properties"]["proj:code"]
                packing = asset["raster:bands"][0]
                assert (dataset.dtypes[0], dataset.nodata) == (packing["data_type"], packing["nodata"])
                assert dataset.offsets[0] == packing.get("offset", 0)
                assert dataset.width * dataset.res[0] >= 4000, "native pixels must cover the whole extent"


def test_every_raster_is_a_cog(archive: Archive) -> None:
    rasters = [*archive.path.glob("sentinel-2-l2a/*/*.tif"), archive.labels]
    assert len(rasters) == 6 * 13 + 1
    for raster in rasters:
        valid, errors, warnings = cog_validate(raster)
        assert valid, (raster, errors)
        assert not warnings, (raster, warnings)
        with rasterio.open(raster) as dataset:
            assert dataset.block_shapes[0] == (512, 512)


def test_harmonised_items_agree_with_the_truth(archive: Archive) -> None:
    """Whatever its baseline, DN and the item's own offset give the truth within sensor noise where it is clear."""
    offsets = set()
    for name, item in documents(archive).items():
        clear = read(archive.clear_of(name))
        # A coarse pixel is clear where all of it is: look away from the rims.
        sure_at = {gsd: ndimage.minimum_filter(clear, gsd // 5 + 1).astype(bool) for gsd in (10, 20, 60)}
        for position, band in enumerate(BANDS, start=1):
            asset = item["assets"][band.asset]
            packing = asset["raster:bands"][0]
            offsets.add((item["properties"]["s2:processing_baseline"] >= "04.00", packing["offset"]))
            step = band.gsd // 10
            dn = on_10_m(read(archive.path / "sentinel-2-l2a" / name / asset["href"]), step)
            seen = dn * packing["scale"] + packing["offset"]
            truth = read(archive.truth_of(name), position) * 1e-4
            sure = sure_at[band.gsd] & (truth > NOISE_LIMIT)
            if sure.sum() < 500:
                continue
            apart = seen[sure] - truth[sure]
            assert abs(apart).max() <= NOISE_LIMIT + 1.5e-4
            assert apart.std() == pytest.approx(NOISE_STD, rel=0.15)
            assert apart.mean() == pytest.approx(0, abs=NOISE_STD / 4)
    assert offsets == {(False, 0), (True, 0), (True, -0.1)}


def test_scl_dilated_by_two_pixels_leaves_only_clear_ones(archive: Archive) -> None:
    rims = 0
    for name in archive.items:
        clear = read(archive.clear_of(name)).astype(bool)
        masked = on_10_m(np.isin(read(archive.path / "sentinel-2-l2a" / name / "SCL.tif"), MASKED), 2)
        y, x = np.mgrid[-2:3, -2:3]
        kept = ~ndimage.binary_dilation(masked, y**2 + x**2 <= 4)
        assert clear[kept].all()
        assert on_10_m(clear.reshape(200, 2, 200, 2).all(axis=(1, 3)), 2)[kept].all(), "nor do pixels of 20 m see any"
        assert not clear[masked].any()
        rims += int((~clear & ~masked).sum())
    assert rims > 1000, "without dilation some cloud must be left, or nothing would need it"


def test_scl_knows_the_surface(archive: Archive) -> None:
    classes = read(archive.classes)
    codes: dict[int, set[int]] = {}
    for name in archive.items:
        scl = on_10_m(read(archive.path / "sentinel-2-l2a" / name / "SCL.tif"), 2)
        for code, classed in ((34, 11), (44, 6), (24, 4)):
            core = ndimage.binary_erosion(classes == code, iterations=4) & ~np.isin(scl, (*MASKED, 2))
            if core.any():
                assert (scl[core] == classed).mean() > 0.9, (name, code)
                codes.setdefault(code, set()).add(classed)
    assert {24, 34} <= codes.keys()


def test_cloud_cover_and_overcast_item(archive: Archive) -> None:
    covers = []
    for name, item in documents(archive).items():
        scl = read(archive.path / "sentinel-2-l2a" / name / "SCL.tif")
        cloudy = 100 * np.isin(scl, (8, 9, 10)).sum() / (scl > 0).sum()
        covers.append(item["properties"]["eo:cloud_cover"])
        assert covers[-1] == pytest.approx(cloudy, abs=1e-4)
    assert sum(c > 90 for c in covers) == 1


def test_swath_edge_is_nodata_in_every_band(archive: Archive) -> None:
    name = archive.items[1]
    home = archive.path / "sentinel-2-l2a" / name
    outside = on_10_m(read(home / "B01.tif") == 0, 6)
    assert 0.01 < outside.mean() < 0.2
    for band in BANDS:
        np.testing.assert_array_equal(on_10_m(read(home / f"{band.name}.tif") == 0, band.gsd // 10), outside)
    np.testing.assert_array_equal(on_10_m(read(home / "SCL.tif") == 0, 2), outside)
    assert not read(archive.clear_of(name))[outside].any()
    others = [i for i in archive.items if i != name]
    assert all((read(archive.path / "sentinel-2-l2a" / i / "B04.tif") > 0).all() for i in others)


def test_corine_equals_the_truth_away_from_borders(archive: Archive) -> None:
    with rasterio.open(archive.classes) as dataset:
        truth, grid = dataset.read(1), {"dst_transform": dataset.transform, "dst_crs": dataset.crs}
    with rasterio.open(archive.labels) as dataset:
        assert dataset.crs.to_epsg() == 3035
        assert dataset.res == (100, 100)
        assert dataset.bounds.left % 100 == dataset.bounds.top % 100 == 0
        assert dataset.colormap(1)[44] == (230, 242, 255, 255)
        labels = dataset.read(1)
        found = np.zeros_like(truth)
        reproject(
            labels, found, src_transform=dataset.transform, src_crs=dataset.crs, resampling=Resampling.nearest, **grid
        )
    assert set(np.unique(labels)) <= {*range(1, 45), 48}
    assert (found != 48).all(), "labels must cover the scene"
    assert RIVER not in labels
    # The cell of a pixel lies within 142 m of it, and GDAL may be off by an eighth of a cell: a single class within
    # 170 m is the cell's.
    alone = ndimage.minimum_filter(truth, 35) == ndimage.maximum_filter(truth, 35)
    assert alone.mean() > 0.2
    np.testing.assert_array_equal(found[alone], truth[alone])
    assert 0 < (found != truth).mean() < 0.08


def test_five_level_1_groups_within_5_km(archive: Archive) -> None:
    present = {int(c) for c in np.unique(read(archive.classes))}
    groups = [range(1, 12), range(12, 23), range(23, 35), range(35, 40), range(40, 45)]
    assert all(present & set(group) for group in groups)
    assert len(present) >= 7


def test_without_truth_there_is_none(tmp_path: Path) -> None:
    simulate(archive=tmp_path / "a", size=120, dates=1, truth=False)
    archive = Archive.open(tmp_path / "a")
    assert not archive.truth_of(archive.items[0]).exists()
    assert archive.classes.is_file()
    assert not list(archive.path.glob("*.tmp"))


def test_an_archive_without_an_asset_does_not_open(tmp_path: Path) -> None:
    simulate(archive=tmp_path / "a", size=120, dates=1, truth=False)
    archive = Archive.open(tmp_path / "a")
    lost = archive.path / "sentinel-2-l2a" / archive.items[0] / "B04.tif"
    lost.unlink()
    with pytest.raises(GeoductError, match=r"B04\.tif"):
        Archive.open(archive.path)
    with pytest.raises(GeoductError, match=r"B04\.tif"):
        archive.validate()
