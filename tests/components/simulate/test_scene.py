"""What the sensor reads does not depend on how the scene was cut into blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.simulate.noise import Grid
from components.simulate.plan import OVERCAST, acquisitions
from components.simulate.scene import acquire, lay_ground
from components.simulate.sky import forecast, look_up
from components.simulate.spectra import BANDS, NOISE_LIMIT

SIZE = 192


@pytest.mark.parametrize("index", [0, 1])  # with cirrus; with a corner outside the swath
def test_blocks_join_to_the_same_pixels(index: int) -> None:
    item = acquisitions(3, 7, 0.4)[index]
    air = forecast(item, 7, SIZE)
    whole = acquire(lay_ground(0, 0, SIZE, SIZE, 7), item, air, 7, SIZE)
    for y0, x0, height, width in ((0, 0, 96, 60), (96, 60, 96, 132)):
        part = acquire(lay_ground(y0, x0, height, width, 7), item, air, 7, SIZE)
        for band, about in enumerate(BANDS):
            step = about.gsd // 10
            window = np.s_[y0 // step : (y0 + height) // step, x0 // step : (x0 + width) // step]
            np.testing.assert_array_equal(part.dn[band], whole.dn[band][window])
            np.testing.assert_array_equal(part.truth[band], whole.truth[band][window])
        np.testing.assert_array_equal(part.scl, whole.scl[y0 // 2 : (y0 + height) // 2, x0 // 2 : (x0 + width) // 2])
        np.testing.assert_array_equal(part.clear, whole.clear[y0 : y0 + height, x0 : x0 + width])


@pytest.mark.parametrize("cover", [0.0, 0.35])
def test_cloud_cover_is_met(cover: float) -> None:
    plan = acquisitions(7, 1, cover)
    found = []
    for item in plan:
        sky = look_up(Grid(0, 0, 600, 600), 1, item, forecast(item, 1, 600), 600)
        found.append(sky.is_cloud.mean())
        assert found[-1] == pytest.approx(item.cloud_cover, abs=0.02)
    assert found.pop(5) == pytest.approx(OVERCAST, abs=0.02)
    assert np.mean(found) == pytest.approx(cover, abs=0.02)


def test_shadows_fall_away_from_the_sun() -> None:
    item = acquisitions(3, 0, 0.35)[1]
    down, right = item.shadow_shift
    length = 20.0 * math.hypot(down, right)
    assert length == pytest.approx(item.cloud_height / math.tan(math.radians(item.sun_elevation)), abs=20)
    assert down < 0, "the sun of an Icelandic noon stands in the south, so shadows fall to the north"
    sky = look_up(Grid(0, 0, 600, 600), 0, item, forecast(item, 0, 600), 600)
    assert right < 0, "before noon it stands east of south, so they fall to the west as well"
    np.testing.assert_array_equal(sky.is_shadow[:down, :right], sky.is_cloud[-down:, -right:])


def test_noise_is_bounded_where_it_is_clear() -> None:
    item = acquisitions(1, 0, 0.0)[0]
    reading = acquire(lay_ground(0, 0, SIZE, SIZE, 0), item, forecast(item, 0, SIZE), 0, SIZE)
    for band, about in enumerate(BANDS):
        if about.gsd == 10:
            apart = abs(reading.dn[band].astype(int) - reading.truth[band].astype(int))[reading.clear]
            assert 0 < apart.max() <= 10000 * NOISE_LIMIT + 1


def test_shares_of_the_plan() -> None:
    plan = acquisitions(8, 0, 0.3)
    assert [i.time for i in plan] == sorted(i.time for i in plan)
    assert len({i.id for i in plan}) == 8
    assert {i.time.year for i in plan} == {2020, 2023}
    assert all(5 <= i.time.month <= 9 for i in plan)
    reprocessed = [i for i in plan if i.time.year == 2020 and i.baseline >= "04.00"]
    assert reprocessed, "a baseline of 04.00 or more must also occur where the date does not suggest it"
    assert {(i.baseline >= "04.00", i.offset_applied, i.offset) for i in plan} == {
        (False, False, 0),
        (True, True, 0),
        (True, False, 1000),
    }
