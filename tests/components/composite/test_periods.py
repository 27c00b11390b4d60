"""A composite by periods holds, byte for byte, what composites of each period's scenes alone hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.artifacts.composite import Composite
from components.artifacts.periods import Period, find_bands, of_one_image, read_periods
from components.artifacts.scenecube import SceneCube, create_scenecube
from components.composite.clear import unclear
from components.errors import GeoductError
from tests.components.composite.test_composite import MASKED, clouded, cube, run
from tests.makers import geobox

PERIODS = ("2021-06-01/2021-06-02", "2021-06-04/2021-06-04", "2021-06-05/2021-07-31")
STEPS = ([0, 1], [3], [4, 5, 6])
"""Of seven scenes of one day each, from 1 June on; that of 3 June is in no period."""


def pixels_of(found: Composite) -> np.ndarray[Any, Any]:
    return np.asarray(found.array("reflectance")[...])


def observations_of(found: Composite) -> np.ndarray[Any, Any]:
    return np.asarray(found.array("observations")[...])


@pytest.mark.parametrize("reduction", ["median", "best"])
@pytest.mark.parametrize("workers", [1, 3])
def test_each_period_is_the_composite_of_its_own_scenes(tmp_path: Path, reduction: str, workers: int) -> None:
    pixels, flags = clouded((7, 2, 300, 530))
    flags[3, 250:260, 100] = 9  # over the border of two chunks, in the period of one scene
    scenes = cube(tmp_path / "s", pixels, flags)
    found = run(scenes, tmp_path / "c", reduction=reduction, periods=PERIODS, workers=workers)
    alone = [
        run(cube(tmp_path / f"s{n}", pixels[steps], flags[steps]), tmp_path / f"c{n}", reduction=reduction)
        for n, steps in enumerate(STEPS)
    ]
    assert pixels_of(found).tobytes() == np.concatenate([pixels_of(one) for one in alone]).tobytes()
    clear = ~unclear(flags, "scl", MASKED, 3) & pixels.all(axis=1)
    assert (observations_of(found) == np.min([clear[steps].sum(axis=0) for steps in STEPS], axis=0)).all()
    assert found.bands == ["B02@1", "B03@1", "B02@2", "B03@2", "B02@3", "B03@3"]
    assert found.geobox == scenes.geobox


def test_a_shard_holds_one_period_as_a_composite_of_it_would(tmp_path: Path) -> None:
    pixels, flags = clouded((7, 1, 2060, 20))
    found = run(cube(tmp_path / "s", pixels, flags), tmp_path / "c", periods=PERIODS)
    for number, steps in enumerate(STEPS):
        alone = run(cube(tmp_path / f"s{number}", pixels[steps], flags[steps]), tmp_path / f"c{number}")
        for row in (0, 1):
            ours, theirs = (c.path / "reflectance" / "c" for c in (found, alone))
            assert (ours / f"{number}/{row}/0").read_bytes() == (theirs / f"0/{row}/0").read_bytes()


def test_it_says_what_its_periods_are(tmp_path: Path) -> None:
    found = run(cube(tmp_path / "s", *clouded((7, 1, 20, 30))), tmp_path / "c", periods=PERIODS)
    one, _, last = found.periods
    assert str(one) == "2021-06-01/2021-06-02"
    assert one.dates == ("2021-06-01T12:00:00Z", "2021-06-02T12:00:00Z")
    assert last.middle.isoformat() == "2021-07-03"
    assert found.dates == ("2021-06-01T12:00:00Z", "2021-06-07T12:00:00Z")


def test_one_image_of_all_scenes_has_no_periods(tmp_path: Path) -> None:
    found = run(cube(tmp_path / "s", *clouded((7, 1, 20, 30))), tmp_path / "c")
    assert found.bands == ["B02"]
    assert found.periods == ()
    assert "periods" not in found.attrs


def test_days_are_those_of_utc(tmp_path: Path) -> None:
    pixels, flags = clouded((2, 1, 20, 30))
    moments = ("2021-06-03T01:30:00+02:00", "2021-06-02T23:45:00")
    items = [{"id": f"item{n}", "datetime": moment} for n, moment in enumerate(moments)]
    reflectance, scl = create_scenecube(tmp_path / "s", geobox(20, 30), ["B02"], items, "scl")
    reflectance[...], scl[...] = pixels, flags
    SceneCube(tmp_path / "s").seal({})
    found = run(SceneCube.open(tmp_path / "s"), tmp_path / "c", periods=["2021-06-02/2021-06-02"])
    assert found.periods[0].dates == moments


@pytest.mark.parametrize(
    ("periods", "sentence"),
    [
        ([], "--periods is empty; expected one or more"),
        (["2021-06"], "--periods has '2021-06'; expected two days as START/END"),
        (["2021-06-01/2021-06-31"], "--periods has '2021-06-01/2021-06-31'; expected two days"),
        (["2021-W24/2021-W34"], "--periods has '2021-W24/2021-W34'; expected two days as START/END"),
        (["20210601/20210605"], "--periods has '20210601/20210605'; expected two days"),
        (["2021-06-01/.."], "--periods has '2021-06-01/..'; expected two days"),
        (["2021-06-05/2021-06-01"], "--periods has 2021-06-05/2021-06-01, which ends before it begins"),
        (["2021-06-01/2021-06-03", "2021-06-03/2021-06-05"], "2021-06-03/2021-06-05, which begins before the other"),
        (["2021-06-03/2021-06-05", "2021-06-01/2021-06-02"], "expected periods in order of time that share no day"),
        (["2021-06-01/2021-06-02", "2021-07-01/2021-07-31"], "has 2021-07-01/2021-07-31, on whose days .* no scene"),
    ],
)
def test_periods_that_cannot_be_are_told(tmp_path: Path, periods: list[str], sentence: str) -> None:
    with pytest.raises(GeoductError, match=sentence):
        run(cube(tmp_path / "s", *clouded((7, 1, 20, 30))), tmp_path / "c", periods=periods)
    assert not (tmp_path / "c").exists()


def test_a_period_of_clouds_alone_is_told(tmp_path: Path) -> None:
    pixels, flags = clouded((7, 1, 20, 30))
    flags[3] = 9
    with pytest.raises(
        GeoductError, match=r"all 1 scenes of .* in the period 2021-06-04/2021-06-04 is cloudy .* 100 %"
    ):
        run(cube(tmp_path / "s", pixels, flags), tmp_path / "c", periods=PERIODS)


def test_bands_of_one_image_are_found_by_name() -> None:
    assert find_bands(("B04", "B02"), ["B02", "B04", "B02@1", "B04@1"]) == ("B04", "B02")
    assert find_bands(("B04", "B02"), ["B02@1", "B02@2", "B04@2"]) == ("B04@2", "B02@2")
    assert find_bands(("B04", "B02"), ["B02@1", "B04@2"]) is None
    assert of_one_image(["B04@2", "B02@2", "B08"]) == ("B04", "B02", "B08")
    assert of_one_image(["B04@1", "B04@2"]) == ("B04@1", "B04@2")


@pytest.mark.parametrize("stored", [[{}], [{"start": "June", "end": "2021-06-02", "dates": []}], 3, [4]])
def test_malformed_periods_of_an_artifact_are_told(stored: Any) -> None:
    with pytest.raises(GeoductError, match=r"c\.zarr: the attribute 'periods' is .*; expected a list"):
        read_periods(stored, "c.zarr")
    assert read_periods(None, "c.zarr") == ()


def test_a_period_is_stored_as_it_is_read() -> None:
    stored = {"start": "2021-06-01", "end": "2021-06-02", "dates": ["2021-06-01T12:00:00Z"]}
    (period,) = read_periods([stored], "c.zarr")
    assert isinstance(period, Period) and period.to_dict() == stored
