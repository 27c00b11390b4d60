"""Which items are one acquisition, and which processing of a tile is taken."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pystac
import pytest

from components.search.acquisitions import acquisitions, baseline_of, orbit_of, satellite_of, tile_of


def item(id: str, when: str = "2022-06-01T12:00:00Z", **properties: object) -> pystac.Item:
    return pystac.Item(id, None, None, datetime.fromisoformat(when.replace("Z", "+00:00")), dict(properties))


def product(tile: str = "27WVM", baseline: str = "0400", when: str = "20220601T120000", satellite: str = "S2A") -> str:
    return f"{satellite}_MSIL2A_{when}_N{baseline}_R123_T{tile}_20230101T000000"


def groups(*items: pystac.Item) -> list[list[str]]:
    return [[i.id for i in each.items] for each in acquisitions(items)[0]]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (item(product()), ("2A", "27WVM", 123, "04.00")),
        (
            item("S2B_27WVM_20220601_0_L2A", platform="sentinel-2b", **{"grid:code": "MGRS-27WVM"}),
            ("2B", "27WVM", None, None),
        ),
        (item("S2A_28QCH_20200714_0_L2A"), ("2A", "28QCH", None, None)),
        (
            item("x", platform="Sentinel-2A", **{"s2:mgrs_tile": "6VVN", "sat:relative_orbit": 43}),
            ("2A", "06VVN", 43, None),
        ),
        (item("S2_L2A_BOLZANO_20220612"), (None, None, None, None)),
    ],
)
def test_what_an_item_says_of_itself(made: pystac.Item, expected: tuple[object, ...]) -> None:
    assert (satellite_of(made), tile_of(made), orbit_of(made), baseline_of(made)) == expected


def test_tiles_of_one_pass_are_one_acquisition() -> None:
    west, east = item(product("27WVM")), item(product("27WWM"), "2022-06-01T12:00:14Z")
    assert groups(east, west) == [[west.id, east.id]]


def test_other_satellites_other_days_and_unknown_ones_are_not() -> None:
    a, b = item(product()), item(product(satellite="S2B"))
    later = item(product("27WWM", when="20220604T120000"), "2022-06-04T12:00:00Z")
    x, y = item("x"), item("y")
    assert groups(a, b, later, x, y) == [[a.id], [b.id], ["x"], ["y"], [later.id]]


def test_the_newer_processing_of_a_tile_is_taken_and_the_other_is_told() -> None:
    old, new, beside = item(product(baseline="0301")), item(product(baseline="0500")), item(product("27WWM", "0301"))
    found, left_out = acquisitions([old, new, beside])
    assert [[i.id for i in each.items] for each in found] == [[new.id, beside.id]]
    (one,) = left_out
    assert (one.id, one.reason) == (old.id, f"processing baseline 03.01 of what {new.id} has in baseline 05.00")


def test_two_parts_of_a_tile_in_one_baseline_are_both_taken() -> None:
    first, second = item("S2A_27WVM_20220601_0_L2A"), item("S2A_27WVM_20220601_1_L2A")
    assert groups(first, second) == [[second.id, first.id]]


def test_recorded_strip_of_one_pass(shared_data: Path) -> None:
    """Nine tiles of Planetary Computer along one orbit, 700 km, on 6 June 2020."""
    folder = shared_data / "stac_recorded" / "odc-stac" / "tests" / "data"
    strip = pystac.ItemCollection.from_file(str(folder / "site1-20200606-tall-strip-africa.geojson"))
    found, left_out = acquisitions(list(strip))
    assert [len(each.items) for each in found] == [9]
    assert not left_out
    months = pystac.ItemCollection.from_file(str(folder / "site2-2020_jun_jul-35MNM.geojson"))
    assert [len(each.items) for each in acquisitions(list(months))[0]] == [1] * len(months)
