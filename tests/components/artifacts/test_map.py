"""A Map is what its files say it is; what is not one is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rio_cogeo import cog_validate

from components.artifacts.map import ITEM, QUICKLOOK, Map, MapWriter
from components.errors import GeoductError
from components.gdal import gdal_limits
from tests.makers import geobox, nomenclature

STAC = '{"type": "Feature", "assets": {"classes": {}, "confidence": {}}}'


def write(path: Path, window: tuple[int, int], height: int = 700, width: int = 900) -> tuple[np.ndarray, np.ndarray]:
    """Write both rasters in windows of that size, from the last to the first; return what was written."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, (height, width), dtype=np.uint8)
    confidence = rng.integers(0, 101, (height, width), dtype=np.uint8)
    classes[:50] = confidence[:50] = 255
    with gdal_limits():
        writer = MapWriter(path, geobox(height, width), nomenclature())
        for y in reversed(range(0, height, window[0])):
            for x in reversed(range(0, width, window[1])):
                part = slice(y, y + window[0]), slice(x, x + window[1])
                writer.write(y, x, classes[part], confidence[part])
        writer.finish()
    (path / ITEM).write_text(STAC)
    (path / QUICKLOOK).write_bytes(b"")
    return classes, confidence


def sealed(path: Path) -> Map:
    write(path, (700, 900), 40, 60)
    Map(path).seal({})
    return Map.open(path)


def test_what_is_written_is_read_back_and_the_windows_do_not_show(tmp_path: Path) -> None:
    classes, confidence = write(tmp_path / "a", (700, 900))
    write(tmp_path / "b", (168, 333))
    for name, expected in (("classes.tif", classes), ("confidence.tif", confidence)):
        with rasterio.open(tmp_path / "a" / name) as source:
            np.testing.assert_array_equal(source.read(1), expected)
        assert cog_validate(tmp_path / "a" / name, strict=True)[0]
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_overviews_hold_classes_and_leave_nodata_out_of_the_mean(tmp_path: Path) -> None:
    write(tmp_path, (700, 900))
    with rasterio.open(tmp_path / "classes.tif", overview_level=0) as source:
        assert set(np.unique(source.read(1))) == {0, 1, 2, 255}
    with rasterio.open(tmp_path / "confidence.tif", overview_level=0) as source:
        values = source.read(1)
    assert (values[:24] == 255).all() and values[26:].max() <= 100


def test_a_sealed_map_opens_with_its_grid_and_classes(tmp_path: Path) -> None:
    opened = sealed(tmp_path / "map")
    assert opened.geobox == geobox(40, 60)
    assert opened.nomenclature == nomenclature()


@pytest.mark.parametrize("name", ["classes.tif", "confidence.tif"])
def test_a_raster_of_another_kind_is_refused(name: str, tmp_path: Path) -> None:
    sealed(tmp_path / "map")
    profile = {"driver": "GTiff", "width": 60, "height": 40, "count": 2, "dtype": "int16"}
    with rasterio.open(tmp_path / "map" / name, "w", **profile) as target:
        target.write(np.zeros((2, 40, 60), np.int16))
    with pytest.raises(GeoductError, match=rf"{name} has 2 bands of int16 .* expected 1 of uint8"):
        Map(tmp_path / "map").validate()


def test_a_file_that_is_no_raster_is_refused(tmp_path: Path) -> None:
    sealed(tmp_path / "map").classes.write_text("x")
    with pytest.raises(GeoductError, match=r"classes\.tif is not a readable raster"):
        Map(tmp_path / "map").validate()


def test_rasters_on_different_grids_are_refused(tmp_path: Path) -> None:
    sealed(tmp_path / "map")
    write(tmp_path / "other", (700, 900), 41, 60)
    (tmp_path / "other" / "confidence.tif").replace(tmp_path / "map" / "confidence.tif")
    with pytest.raises(GeoductError, match="different grids"):
        Map(tmp_path / "map").validate()


@pytest.mark.parametrize("text", ["", "[]", '{"type": "Feature", "assets": {"classes": {}}}'])
def test_an_item_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    sealed(tmp_path / "map")
    (tmp_path / "map" / ITEM).write_text(text)
    with pytest.raises(GeoductError, match=r"item\.json is no STAC item"):
        Map(tmp_path / "map").validate()


def test_a_missing_quicklook_is_named(tmp_path: Path) -> None:
    sealed(tmp_path / "map").quicklook.unlink()
    with pytest.raises(GeoductError, match=r"has no quicklook\.png"):
        Map(tmp_path / "map").validate()
