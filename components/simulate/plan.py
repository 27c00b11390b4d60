"""Which acquisitions the archive holds: dates over two summers, sun, cloud cover and processing baseline of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from components.simulate.noise import key_of

EPSG = 32627
"""UTM zone 27 north: the west of Iceland."""
EAST, NORTH = 459_960, 7_140_000
"""Upper left corner of the archive in metres, in Borgarfjörður; multiples of 60 m, as the corners of real tiles are."""
LATITUDE, LONGITUDE = 64.3, -21.5
"""A place in the archive, for the sun's position, in degrees."""
GRID_SQUARE = "27WVM"
"""MGRS square of that corner."""

OFFSET = 1000
"""What is added to 10000 x reflectance from processing baseline 04.00 (BOA_ADD_OFFSET = -1000 undoes it)."""
OVERCAST = 0.97
"""Cloud cover of the one acquisition that is of no use."""


@dataclass(frozen=True)
class Acquisition:
    """One item of the archive before any pixel is made."""

    index: int
    id: str
    time: datetime
    platform: str
    baseline: str
    """Processing baseline, such as `05.09`."""
    offset: int
    """What the stored DN has on top of 10000 x reflectance: 0 or 1000."""
    offset_applied: bool
    """Whether the archive has taken the offset of a newer baseline off again (`earthsearch:boa_offset_applied`)."""
    cloud_cover: float
    """Share of the scene that clouds are to cover, 0 to 1."""
    cirrus: bool
    """Whether thin ice cloud drifts over a part of it."""
    swath_edge: bool
    """Whether a corner lies outside the swath and is nodata."""
    sun_elevation: float
    """Degrees above the horizon."""
    sun_azimuth: float
    """Degrees clockwise from north."""
    cloud_height: float
    """Metres above the ground."""

    @property
    def day(self) -> int:
        """Day of the year."""
        return self.time.timetuple().tm_yday

    @property
    def shadow_shift(self) -> tuple[int, int]:
        """Rows and columns, in pixels of 20 m, from a cloud to its shadow."""
        length = self.cloud_height / math.tan(math.radians(self.sun_elevation)) / 20.0
        azimuth = math.radians(self.sun_azimuth)
        return round(length * math.cos(azimuth)), round(-length * math.sin(azimuth))


def sun(time: datetime) -> tuple[float, float]:
    """Elevation and azimuth of the sun over the archive, in degrees.

    Declination by Cooper (Solar Energy 12, 1969); the equation of time, under 16 minutes, is left out.
    """
    day = time.timetuple().tm_yday
    declination = math.radians(23.45 * math.sin(math.radians(360.0 * (284 + day) / 365.0)))
    hours = time.hour + time.minute / 60.0 + LONGITUDE / 15.0 - 12.0
    angle, latitude = math.radians(15.0 * hours), math.radians(LATITUDE)
    sine = math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(declination) * math.cos(angle)
    elevation = math.asin(sine)
    south = math.atan2(
        math.sin(angle), math.cos(angle) * math.sin(latitude) - math.tan(declination) * math.cos(latitude)
    )
    return math.degrees(elevation), (math.degrees(south) + 180.0) % 360.0


def _swing(place: int, count: int) -> float:
    """How far cloud cover is from its mean: below and above by turns, and at it where one is left over."""
    if count % 2 and place == count - 1:
        return 0.0
    return 0.35 if place % 2 else -0.35


def acquisitions(dates: int, seed: int, cloud_cover: float) -> list[Acquisition]:
    """Plan `dates` acquisitions in order of time: the first half in the summer of 2020, the rest in that of 2023.

    The baseline does not follow from the date: an item of 2020 was processed anew with baseline 05.00, and of the
    items of baseline 05.09 the offset has been taken off in every other one. From four dates on the last but one is
    overcast; the mean cover of the others is `cloud_cover`. The second has a corner outside the swath.
    """
    first = math.ceil(dates / 2)
    plan = []
    for index in range(dates):
        rng = np.random.default_rng((seed, key_of(seed, "plan"), index))
        late = index >= first
        place, count = (index - first, dates - first) if late else (index, first)
        # From 26 May to 10 September, evenly, a few days to and fro.
        share = (place + 0.5) / count
        start = datetime(2023 if late else 2020, 5, 20, 12, 56, 1 + index, tzinfo=UTC)
        time = start + timedelta(days=round(6 + 106 * share + rng.uniform(-5, 5)))
        baseline = "05.09" if late else ("05.00" if place % 3 == 1 else ("02.14" if place % 3 == 0 else "03.01"))
        new = baseline >= "04.00"
        applied = late and place % 2 == 0
        overcast = dates >= 4 and index == dates - 2
        cover = cloud_cover * (1.0 + _swing(index - (dates >= 4 and index > dates - 2), dates - (dates >= 4)))
        elevation, azimuth = sun(time)
        platform = "ab"[index % 2]
        plan.append(
            Acquisition(
                index=index,
                id=f"S2{platform.upper()}_{GRID_SQUARE}_{time:%Y%m%d}_0_L2A",
                time=time,
                platform=f"sentinel-2{platform}",
                baseline=baseline,
                offset=OFFSET if new and not applied else 0,
                offset_applied=applied,
                cloud_cover=OVERCAST if overcast else min(cover, OVERCAST),
                cirrus=index % 2 == 0,
                swath_edge=index == 1,
                sun_elevation=elevation,
                sun_azimuth=azimuth,
                cloud_height=float(rng.uniform(700.0, 1600.0)),
            )
        )
    return plan
