"""Labels and patches of whole places: the sample archive, whose truth is known, and two real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from odc.geo.geobox import GeoBox
from scipy.ndimage import maximum_filter, minimum_filter

from components.artifacts import LabelMap, PatchSet
from components.label import label
from components.label.corine import CODES
from components.patch import patch
from components.simulate import simulate
from tests.components.patch.scenes import composite, noise

LAND_USE = Path(__file__).parents[3] / "experiments" / "nomenclatures" / "slovenia-land-use.yaml"


def cut(folder: Path, **parameters: Any) -> PatchSet:
    patch(composite=folder / "c.zarr", labels=folder / "l.zarr", patches=folder / "p.zarr", **parameters)
    return PatchSet.open(folder / "p.zarr")


def from_files(folder: Path, files: list[Path]) -> None:
    """A Composite of single-band rasters as they are."""
    bands = []
    for file in files:
        with rasterio.open(file) as raster:
            bands.append(raster.read(1))
            grid = GeoBox(raster.shape, raster.transform, str(raster.crs))
    composite(folder / "c.zarr", np.stack(bands), grid)


def assert_apart(patches: PatchSet, buffer: float) -> None:
    index = patches.index
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        tree = shapely.STRtree(index[index.split == one].geometry)
        _, distances = tree.query_nearest(index[index.split == other].geometry, return_distance=True)
        assert distances.min() >= buffer


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sample archive of 1024 x 1024 pixels and a composite of noise on its grid."""
    folder = tmp_path_factory.mktemp("sample")
    simulate(archive=folder / "archive", size=1024, dates=1, truth=False)
    with rasterio.open(folder / "archive" / "truth" / "classes.tif") as raster:
        grid = GeoBox(raster.shape, raster.transform, str(raster.crs))
    composite(folder / "c.zarr", noise(2, 1024, 1024), grid)
    label(
        composite=folder / "c.zarr", source=folder / "archive" / "corine.tif", labels=folder / "l.zarr",
        nomenclature="corine-3",
    )  # fmt: skip
    return folder


def test_labels_of_the_sample_archive_equal_its_truth_away_from_borders(sample: Path) -> None:
    with rasterio.open(sample / "archive" / "truth" / "classes.tif") as raster:
        truth = np.array(CODES)[raster.read(1) - 1]
    labels = LabelMap.open(sample / "l.zarr")
    codes = np.array([int(c) for c in labels.nomenclature.codes] + [0] * 212)
    found = codes[labels.array("label")[...]]
    interior = maximum_filter(truth, 21) == minimum_filter(truth, 21)  # no other class within 100 m
    assert interior.mean() > 0.3
    assert (found[interior] == truth[interior]).mean() > 0.9999


@pytest.mark.parametrize(("size", "stride", "block"), [(64, 64, 1280.0), (32, 16, 640.0)])
def test_the_split_of_the_sample_archive(sample: Path, size: int, stride: int, block: float) -> None:
    patches = cut(sample, size=size, stride=stride, block=block)
    report = patches.split_report
    assert report["deviation"] < 0.05
    assert report["missing"]["train"] == []
    assert report["discarded"] < 0.5
    assert_apart(patches, 10 * size)


def test_the_real_scene_of_bolzano(tmp_path: Path, shared_data: Path) -> None:
    scene = shared_data / "scenes" / "bolzano-l2a" / "S2_L2A_BOLZANO_20220612"
    from_files(tmp_path, [scene / f"{band}.tif" for band in ("B02", "B03", "B04", "B08")])
    label(
        composite=tmp_path / "c.zarr", source=scene / "SCL.tif", labels=tmp_path / "l.zarr",
        nomenclature="scl-land-cover",
    )  # fmt: skip
    patches = cut(tmp_path, size=64, stride=64, block=640.0)
    report = patches.split_report
    assert report["deviation"] < 0.05
    assert report["missing"]["train"] == []
    assert_apart(patches, 640.0)
    patches.verify()


@pytest.mark.parametrize("buffer", [0.0, None])
def test_the_real_square_kilometre_of_slovenia(tmp_path: Path, shared_data: Path, buffer: float | None) -> None:
    scene = shared_data / "scenes" / "slovenia-l1c" / "S2A_L1C_SLOVENIA_20150731"
    from_files(tmp_path, [scene / f"{band}.tif" for band in ("B03", "B04", "B08")])
    label(
        composite=tmp_path / "c.zarr", source=shared_data / "labels" / "slovenia_land_use.tif",
        labels=tmp_path / "l.zarr", nomenclature=str(LAND_USE),
    )  # fmt: skip
    patches = cut(tmp_path, size=16, stride=8, block=160.0, buffer=buffer)
    report = patches.split_report
    assert report["deviation"] < 0.05
    assert report["missing"]["train"] == []
    # Pixels there are 9.995 m by 9.997 m: a patch width is a little less than 160 m.
    assert_apart(patches, 159.9 if buffer is None else 0.0)
