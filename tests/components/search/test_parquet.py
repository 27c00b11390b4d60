"""stac-geoparquet files give the items that the same catalog gives as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pystac
import pytest

from components.errors import GeoductError
from components.remote.client import Client
from components.search.area import area_of
from components.search.catalog import find
from components.search.query import Query
from components.search.select import Found
from tests.services.range_server import RangeServer

rustac = pytest.importorskip("rustac", reason="the extra 'catalogs' is not installed")


@pytest.fixture(scope="module")
def recorded(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Twenty-two real items of Planetary Computer, as an ItemCollection and as stac-geoparquet."""
    folder = shared_data / "stac_recorded" / "odc-stac" / "tests" / "data"
    features = {
        feature["id"]: feature
        for name in ("site1-20200606-tall-strip-africa", "site2-2020_jun_jul-35MNM")
        for feature in pystac.ItemCollection.from_file(str(folder / f"{name}.geojson")).to_dict()["features"]
    }
    path = tmp_path_factory.mktemp("catalog")
    pystac.ItemCollection([pystac.Item.from_dict(f) for f in features.values()]).save_object(str(path / "items.json"))
    rustac.write_sync(str(path / "items.parquet"), list(features.values()))
    return path / "items.json", path / "items.parquet"


def run(path: Path | str, **parameters: Any) -> Found:
    query = {"collection": None, "start": None, "end": None, "max_cloud": 100.0, "max_scenes": None, **parameters}
    area = area_of(query.pop("bbox", None), None)
    return find(str(path), Query.parse(area=area, **query), Client())


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"collection": "sentinel-2-l2a"},
        {"bbox": (26.9, -9.0, 27.9, -8.0)},
        {"start": "2020-06-11", "end": "2020-07-16"},
        {"end": "2020-06-06"},
        {"max_cloud": 5.0, "orbits": (78,)},
    ],
)
def test_the_same_as_from_json(recorded: tuple[Path, Path], parameters: dict[str, Any]) -> None:
    plain, parquet = (run(path, **parameters) for path in recorded)
    assert [i.id for i in parquet.items] == [i.id for i in plain.items] != []
    for ours, theirs in zip(parquet.items, plain.items, strict=True):
        assert ours.datetime == theirs.datetime
        assert {**ours.properties, "datetime": None} == {**theirs.properties, "datetime": None}
        assert {k: a.to_dict() for k, a in ours.assets.items()} == {k: a.to_dict() for k, a in theirs.assets.items()}


def test_from_a_server_only_what_is_needed_is_read(recorded: tuple[Path, Path], tmp_path: Path) -> None:
    items = pystac.ItemCollection.from_file(str(recorded[0])).to_dict()["features"]
    made = [{**item, "id": f"{item['id']}-{n}"} for n in range(40) for item in items]
    made = sorted(made, key=lambda item: item["properties"]["datetime"])
    rustac.write_sync(str(tmp_path / "whole.parquet"), made)
    pq.write_table(pq.read_table(tmp_path / "whole.parquet"), tmp_path / "items.parquet", row_group_size=50)
    with RangeServer(tmp_path) as server:
        query = {"start": "2020-06-11", "end": "2020-06-16"}
        found = run(f"{server.url}/items.parquet?sig=token", **query)
        assert [i.id for i in found.items] == [i.id for i in run(tmp_path / "items.parquet", **query).items] != []
        assert server.sent() < 0.6 * (tmp_path / "items.parquet").stat().st_size
        with pytest.raises(GeoductError, match=r"/none.parquet cannot be read: HTTP 404 Not Found$"):
            run(f"{server.url}/none.parquet?sig=token")
        (tmp_path / "a.parquet").write_text("<html>")
        with pytest.raises(GeoductError, match=r"^http.*/a.parquet cannot be read as Parquet: "):
            run(f"{server.url}/a.parquet?sig=token")


def test_an_unknown_collection_is_told(recorded: tuple[Path, Path]) -> None:
    with pytest.raises(GeoductError, match=r"has no collection 'sentinel-2'; did you mean 'sentinel-2-l2a'"):
        run(recorded[1], collection="sentinel-2")


def test_what_is_no_stac_geoparquet_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("<html>")
    with pytest.raises(GeoductError, match=r"a.parquet cannot be read as Parquet: "):
        run(tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(GeoductError, match=r"b.parquet is Parquet, but no stac-geoparquet: it lacks the column 'geom"):
        run(tmp_path / "b.parquet")
