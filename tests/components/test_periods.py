"""A composite of several periods goes through the pipeline like any other: its bands are more bands, found by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio

from components.acquire import acquire
from components.artifacts import Composite, Map, Model, PatchSet, Report
from components.composite import composite
from components.errors import GeoductError
from components.evaluate import evaluate
from components.evaluate.mosaic import Stretch
from components.label import label
from components.patch import patch
from components.predict import predict
from components.simulate import simulate
from components.train import train

PERIODS = ("2020-05-20/2020-09-15", "2023-05-20/2023-09-15")
"""The two summers of the sample archive, three dates each."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts of a small archive, up to a U-Net of one epoch."""
    folder = tmp_path_factory.mktemp("place")
    simulate(archive=folder / "archive", size=480, dates=6, seed=1, cloud_cover=0.1, truth=False)
    acquire(catalog=folder / "archive", scenes=folder / "scenes", bands=["B02", "B03", "B04", "B08"])
    composite(scenes=folder / "scenes", composite=folder / "composite", periods=PERIODS)
    label(composite=folder / "composite", source=folder / "archive" / "corine.tif", labels=folder / "labels")
    patch(
        composite=folder / "composite",
        labels=folder / "labels",
        patches=folder / "patches",
        size=32,
        stride=32,
        block=640.0,
        buffer=0.0,
        min_valid=0.3,
        rare="ignore",
    )
    train(patches=folder / "patches", model=folder / "model", encoder="tu-test_resnet", epochs=1, batch_size=8)
    return folder


def test_patches_hold_every_period_and_say_which(place: Path) -> None:
    found, scene = PatchSet.open(place / "patches"), Composite.open(place / "composite")
    assert found.bands == scene.bands == [f"{band}@{n}" for n in (1, 2) for band in ("B02", "B03", "B04", "B08")]
    assert found.periods == scene.periods
    assert [str(period) for period in found.periods] == list(PERIODS)
    row, column = (int(found.index[name].iloc[0]) for name in ("row", "col"))
    window = np.asarray(scene.array("reflectance")[:, row : row + 32, column : column + 32])
    assert (np.asarray(found.array("image")[0]) == window).all()


def test_a_map_is_of_all_periods_and_nodata_in_one_is_nodata(place: Path) -> None:
    assert Model.open(place / "model").bands == Composite.open(place / "composite").bands
    predict(model=place / "model", composite=place / "composite", map=place / "map")
    found = Map.open(place / "map")
    item = pystac.Item.from_dict(found.item)
    assert item.properties["start_datetime"].startswith("2020-06-") and item.properties["end_datetime"] > "2023-08-01"
    with rasterio.open(found.classes) as file:
        nodata = file.read(1) == 255
    seen = np.asarray(Composite.open(place / "composite").array("observations")[...])
    assert (nodata == (seen == 0)).all() and nodata.any() and not nodata.all()


def test_the_report_is_in_true_colour_and_says_of_when(place: Path) -> None:
    evaluate(model=place / "model", patches=place / "patches", report=place / "report", bootstrap=20, sample=500)
    page = Report.open(place / "report").page.read_text()
    assert "true colour (B04@1, B03@1, B02@1)" in page
    assert "@1 is 2020-05-20/2020-09-15 (3 scenes), @2 is 2023-05-20/2023-09-15 (3 scenes)." in page
    assert Stretch(PatchSet.open(place / "patches")).columns == [2, 1, 0]


def test_a_model_of_several_periods_asks_for_them_by_name(place: Path, tmp_path: Path) -> None:
    composite(scenes=place / "scenes", composite=tmp_path / "one", periods=PERIODS[:1])
    with pytest.raises(GeoductError, match="one has no band B02@2, B03@2, B04@2, B08@2, which the model"):
        predict(model=place / "model", composite=tmp_path / "one", map=tmp_path / "map")
