"""Recorded searches of Earth Search and Planetary Computer, replayed through ours: what is asked and understood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.acquire.understand import band_names, choose_mask, understand
from components.errors import GeoductError
from components.search.acquisitions import acquisitions
from components.search.catalog import find
from components.search.query import Query
from tests.components.search.recorded import Recorded, exchange_of

BANDS = band_names(["B02", "B03", "B04", "B08", "B11"])


def replay(shared_data: Path, tmp_path: Path, name: str, **parameters: Any) -> tuple[list[Any], dict[str, Any]]:
    """Items found, and what the service was asked."""
    exchange = exchange_of(shared_data, name)
    search = {"rel": "search", "method": "POST", "href": exchange["request"]["uri"]}
    landing = {"type": "Catalog", "stac_version": "1.0.0", "conformsTo": [], "links": [search]}
    (tmp_path / "api.json").write_text(json.dumps(landing))
    query = {"area": None, "start": None, "end": None, "max_cloud": 100.0, "max_scenes": None, **parameters}
    client = Recorded(exchange)
    return find(str(tmp_path / "api.json"), Query.parse(**query), client).items, client.asked


def test_a_search_of_planetary_computer(shared_data: Path, tmp_path: Path) -> None:
    """The first second of 2019, over the Bering Sea: thirty-three tiles of one pass."""
    items, asked = replay(
        shared_data, tmp_path, "TestItemSearch.test_datetime_results_0",
        collection="sentinel-2-l2a", start="2019-01-01", end="2019-01-01",
    )  # fmt: skip
    assert asked["collections"] == ["sentinel-2-l2a"]
    assert asked["datetime"] == "2019-01-01T00:00:00Z/2019-01-01T23:59:59.999999Z"
    assert len(items) == 33
    assert len(acquisitions(items)[0]) == 1
    for item in items:
        scene = understand(item, BANDS, choose_mask([item], "auto"))
        assert scene.offset == 0
        assert {name: asset.key for name, asset in scene.bands.items()} == {name: name for name in BANDS}
        assert scene.mask is not None and scene.mask.key == "SCL"
        assert all(
            asset.href.startswith("https://sentinel2l2a01.blob.core.windows.net/") for asset in scene.bands.values()
        )


def test_a_search_of_earth_search(shared_data: Path, tmp_path: Path) -> None:
    """One point in Colorado on one day; the service was asked for Landsat as well."""
    items, asked = replay(
        shared_data, tmp_path, "test_multiple_collections_0",
        collection="sentinel-2-l2a", start="2023-10-08", end="2023-10-08",
    )  # fmt: skip
    assert asked["limit"] == 100
    (item,) = items
    scene = understand(item, BANDS, choose_mask([item], "auto"))
    assert scene.id == "S2A_13TDE_20231008_0_L2A"
    assert scene.offset == 0  # taken off already, as the item's flag says
    assert [asset.key for asset in scene.bands.values()] == ["blue", "green", "red", "nir", "swir16"]
    assert scene.bands["B02"].grid is not None
    assert scene.bands["B02"].grid.crs.epsg == 32613
    assert scene.bands["B02"].grid.shape == (10980, 10980)


def test_items_that_come_without_their_assets_are_told(shared_data: Path, tmp_path: Path) -> None:
    """The service was asked to leave assets and geometry out."""
    items, _ = replay(shared_data, tmp_path, "test_fields_0", collection="sentinel-2-c1-l2a")
    assert len(items) == 10
    with pytest.raises(GeoductError, match=r"^item S2._T13TDE_\w+ has no band B02; its assets are none$"):
        understand(items[0], BANDS, "none")
