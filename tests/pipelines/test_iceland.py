"""The experiment `iceland`, as `geoduct experiment` composes it, up to the network that its pixels come from.

Recorded answers of Earth Search take the network's place. None is of Iceland: where the place matters, a recorded
item is moved there, onto the tile 27WVM, and differs from the real one in nothing but place, date, cloud and id.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from components.acquire import acquire
from components.acquire.grid import grid_of
from components.acquire.steps import Report, steps_of
from components.acquire.understand import choose_mask
from components.errors import GeoductError
from components.remote.raster import Remote
from components.search.area import area_of
from components.search.catalog import find
from components.search.query import Query
from pipelines.experiments import render
from tests.components.search.recorded import Recorded, exchange_of
from tests.conftest import ROOT

RECORDED = "test_multiple_collections_0"
"""A search of Earth Search v1 with one Sentinel-2 item, S2A_13TDE_20231008_0_L2A, in Colorado."""

FILES = {
    "B02": "B02", "B03": "B03", "B04": "B04", "B05": "B05", "B06": "B06", "B07": "B07", "B08": "B08", "B8A": "B8A",
    "B11": "B11", "B12": "B12", "mask": "SCL",
}  # fmt: skip
COGS = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs"


@pytest.fixture
def experiment() -> dict[str, Any]:
    """What `params.yaml` holds of it."""
    found: dict[str, Any] = yaml.safe_load(render(ROOT, "iceland"))
    return found


@pytest.fixture
def exchange(shared_data: Path) -> dict[str, Any]:
    return exchange_of(shared_data, RECORDED)


def run(experiment: dict[str, Any], client: Recorded, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stage `acquire`."""
    monkeypatch.setattr("components.remote.access.connect", lambda retries, timeout: client)
    catalog = str(ROOT / experiment["inputs"]["catalog"])
    acquire.run({"catalog": catalog, "scenes": str(folder / "scenes.zarr"), **experiment["acquire"]})


def moved(item: dict[str, Any], id: str, day: str, cloud: float) -> dict[str, Any]:
    """A recorded item on the tile 27WVM."""
    item = json.loads(json.dumps(item))
    tile = GeoBox((10980, 10980), Affine(10, 0, 399960, 0, -10, 7200000), "EPSG:32627").extent.to_crs("EPSG:4326")
    item.update(id=id, geometry=tile.json, bbox=list(tile.boundingbox.bbox))
    item["properties"] |= {"datetime": f"{day}T13:03:20.000Z", "eo:cloud_cover": cloud, "proj:epsg": 32627}
    item["properties"] |= {"mgrs:utm_zone": 27, "mgrs:latitude_band": "W", "mgrs:grid_square": "VM"}
    item["properties"] |= {"grid:code": "MGRS-27WVM"}
    for asset in item["assets"].values():
        asset["href"] = asset["href"].replace("S2A_13TDE_20231008_0_L2A", id).replace("13/T/DE/2023/10", "27/W/VM")
        if transform := asset.get("proj:transform"):
            transform[2], transform[5] = 399960, 7200000
    return item


def test_what_it_asks(
    experiment: dict[str, Any], exchange: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Recorded(exchange)
    found = "1 items found in collection 'sentinel-2-l2a', 0 in "
    with pytest.raises(GeoductError, match=rf"earth-search.json matches: {found}.*, 0 with at most 40 % cloud$"):
        run(experiment, client, tmp_path, monkeypatch)
    corners = client.asked.pop("intersects")
    assert corners["type"] == "Polygon"
    assert {tuple(corner) for corner in corners["coordinates"][0]} == {
        (x, y) for x in (-22.2, -21.2) for y in (64.45, 64.85)
    }
    assert client.asked == {
        "collections": ["sentinel-2-l2a"],
        "datetime": "2022-06-01T00:00:00Z/2023-08-31T23:59:59.999999Z",
        "limit": 100,
    }
    assert client.wanted == set()


def test_what_it_reads_of_a_recorded_item(
    experiment: dict[str, Any], exchange: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With place and last day of the recorded search, and all else its own."""
    client = Recorded(exchange)
    experiment["acquire"] |= {"bbox": [-105.2, 40.1, -105.0, 40.2], "end": "2023-10-31"}
    with pytest.raises(GeoductError, match=r"asset 'blue' \(.*/B02.tif\) cannot be read: no pixels were recorded$"):
        run(experiment, client, tmp_path, monkeypatch)
    base = f"{COGS}/13/T/DE/2023/10/S2A_13TDE_20231008_0_L2A"
    assert set() < client.wanted <= {f"{base}/{file}.tif" for file in FILES.values()}
    assert not (tmp_path / "scenes.zarr").exists()


def test_what_it_understands_in_iceland(experiment: dict[str, Any], exchange: dict[str, Any]) -> None:
    """Twenty passes over two summers, every other one clear enough; and one before, one after."""
    real = exchange["response"]["features"][0]
    days = [f"2022-{month:02}-{day:02}" for month in (6, 7, 8) for day in (2, 12, 22)]
    days += [day.replace("2022", "2023") for day in days] + ["2023-08-30", "2023-08-31"]
    passes = [moved(real, f"S2A_27WVM_{n}", day, 40.0 if n % 2 else 40.1) for n, day in enumerate(days)]
    passes += [moved(real, f"S2A_27WVM_{day}", day, 0.0) for day in ("2022-05-31", "2023-09-01")]
    exchange["response"]["features"] = passes[::-1]  # the newest first, as Earth Search answers

    given = experiment["acquire"]
    area = area_of(tuple(given["bbox"]), None)
    asked = [given[name] for name in ("collection", "start", "end", "max_cloud", "max_scenes", "ids")]
    query = Query.parse(asked[0], area, *asked[1:])
    client = Recorded(exchange)
    found = find(str(ROOT / experiment["inputs"]["catalog"]), query, client)
    clear = [f"S2A_27WVM_{n}" for n in range(1, 20, 2)]
    ids = [item.id for item in found.items]
    assert len(ids) == given["max_scenes"] == 8
    assert (ids[0], ids[-1], set(ids) - set(clear)) == (clear[0], clear[-1], set())

    mask = choose_mask(found.items, given["mask"])
    steps = steps_of(found, given["bands"], mask, Remote(client), Report(), skip_failed=False)
    assert (mask, len(steps)) == ("scl", 8)
    for item, step in zip(found.items, steps, strict=True):
        (scene,) = step.scenes
        assert scene.mask is not None
        assert scene.offset == 0  # taken off already, as the items say
        assert {name: asset.href for name, asset in {**scene.bands, "mask": scene.mask}.items()} == {
            name: f"{COGS}/27/W/VM/{item.id}/{file}.tif" for name, file in FILES.items()
        }
    grid = grid_of([step.scenes[0] for step in steps], area, given["resolution"], given["crs"])
    west, south, east, north = Transformer.from_crs(4326, 32627, always_xy=True).transform_bounds(*given["bbox"])
    assert (grid.crs.epsg if grid.crs else None, grid.resolution.x, grid.resolution.y) == (32627, 10, -10)
    box = grid.boundingbox
    outside = (west - box.left, south - box.bottom, box.right - east, box.top - north)
    assert all(0 <= metres < 15 for metres in outside), outside
    assert [value % 10 for value in box] == [0, 0, 0, 0]
    assert client.wanted == set()
