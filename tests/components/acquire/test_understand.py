"""What is understood of real recorded items, and of items that contradict themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pystac
import pytest

from components.acquire.offset import offset_of
from components.acquire.understand import band_assets, band_names, choose_mask, mask_assets, understand
from components.errors import GeoductError
from components.search.acquisitions import baseline_of

TEN_BANDS = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
COMMON = ["blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "swir16", "swir22"]
COMMON_KEYS = dict(zip(TEN_BANDS, COMMON, strict=True))
OWN_KEYS = {band: band for band in TEN_BANDS}


def _features(document: Any) -> Iterator[dict[str, Any]]:
    if isinstance(document, dict):
        if document.get("type") == "Feature" and "assets" in document:
            yield document
        else:
            for value in document.values():
                yield from _features(value)
    elif isinstance(document, list):
        for value in document:
            yield from _features(value)


def recorded(shared_data: Path, id: str, collection: str | None) -> pystac.Item:
    """The recorded item of that id and collection."""
    for file in sorted((shared_data / "stac_recorded").rglob("*json")):
        for feature in _features(json.loads(file.read_text())):
            if feature["id"] == id and feature.get("collection") == collection:
                return pystac.Item.from_dict(feature)
    raise AssertionError(f"no recorded item {id}")


# id, collection, asset keys, mask, baseline, offset, CRS and upper left corner of B02
REAL = [
    ("S2B_20EPT_20250731_0_L2A", "sentinel-2-l2a", COMMON_KEYS, "scl", "05.11", 0, 32720, (600000, 3300040)),
    (
        "S2B_T20EPT_20250731T131905_L2A",
        "sentinel-2-c1-l2a", COMMON_KEYS, "scl", "05.11", -1000, 32720, (600000, 3300040),
    ),
    ("S2B_20EPT_20250731_0_L1C", "sentinel-2-l1c", COMMON_KEYS, None, "05.11", -1000, 32720, (600000, 3300040)),
    ("S2A_13TDE_20231008_0_L2A", "sentinel-2-l2a", COMMON_KEYS, "scl", "05.09", 0, 32613, (399960, 4500000)),
    ("S2B_20EPT_20250731_0_L2A", "sentinel-s2-l2a-cogs", OWN_KEYS, "SCL", "05.11", 0, 32720, (600000, 3300040)),
    ("S2A_28QCH_20200714_0_L2A", "sentinel-s2-l2a-cogs", OWN_KEYS, "SCL", None, 0, 32628, (300000, 2300040)),
    (
        "S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531",
        "sentinel-2-l2a", OWN_KEYS, "SCL", "02.12", 0, 32606, (399960, 6800040),
    ),
    (
        "S2A_MSIL2A_20190101T000001_R116_T60VUK_20201007T214652",
        "sentinel-2-l2a", OWN_KEYS, "SCL", "02.12", 0, 32660, (300000, 6500040),
    ),
    ("S2A_T46RER_20210908T043714_L1C", None, COMMON_KEYS, None, "03.01", 0, 32646, (499980, 3100020)),
    ("S2A_T07HFE_20190212T192646_L2A", None, COMMON_KEYS, "scl", "02.12", 0, 32707, (600000, 6500020)),
    ("S2A_T01WCS_20230625T234624_L2A", None, COMMON_KEYS, "scl", "05.09", -1000, 32601, (300000, 7700040)),
    (
        "S2A_OPER_MSI_L2A_TL_2APS_20240108T121951_A044635_T34VEL",
        None, COMMON_KEYS, "scl", "05.10", -1000, 32634, (499980, 6600000),
    ),
    ("S2B_T33XWJ_20220413T150756_L2A", None, COMMON_KEYS, "scl", "04.00", -1000, 32633, None),
    ("S2B_T22HBD_20210122T133224_L2A", None, COMMON_KEYS, "scl", "02.14", 0, 32722, None),
]  # fmt: skip


@pytest.mark.parametrize(("id", "collection", "keys", "mask", "baseline", "offset", "epsg", "corner"), REAL)
def test_real_items(
    shared_data: Path,
    id: str,
    collection: str | None,
    keys: dict[str, str],
    mask: str | None,
    baseline: str | None,
    offset: int,
    epsg: int,
    corner: tuple[int, int] | None,
) -> None:
    item = recorded(shared_data, id, collection)
    scene = understand(item, TEN_BANDS, "scl" if mask else "none")
    assert {band: asset.key for band, asset in scene.bands.items()} == keys
    assert (scene.mask.key if scene.mask else None) == mask
    assert scene.record["processing_baseline"] == baseline
    assert scene.offset == offset
    grid = scene.bands["B02"].grid
    assert grid is not None
    assert grid.crs is not None
    assert grid.crs.epsg == epsg
    assert grid.shape == (10980, 10980)
    assert abs(grid.transform.a) == 10
    if corner:
        assert (grid.transform.c, grid.transform.f) == corner
    coarse = scene.bands["B11"].grid
    assert coarse is not None
    assert coarse.transform.a == 20


def test_other_satellites_are_refused(shared_data: Path) -> None:
    landsat = recorded(shared_data, "LC08_L2SP_033032_20231008_02_T1", "landsat-c2-l2")
    with pytest.raises(GeoductError, match=r"declares the scale 2.75e-05; expected 0.0001, as of Sentinel-2"):
        understand(landsat, ["B02"], "none")
    hls = recorded(shared_data, "G1994512890-LPCLOUD", "HLSL30.v1.5")
    with pytest.raises(GeoductError, match="states neither a processing baseline nor an offset"):
        understand(hls, ["B02"], "none")


def item(
    assets: dict[str, dict[str, Any]], properties: dict[str, Any] | None = None, id: str = "made", **more: Any
) -> pystac.Item:
    document = {
        "type": "Feature", "stac_version": "1.1.0", "stac_extensions": [], "id": id, "geometry": None, "links": [],
        "properties": {"datetime": "2024-05-01T10:00:00Z", **(properties or {})},
        "assets": {key: {"href": f"./{key}.tif", **fields} for key, fields in assets.items()}, **more,
    }  # fmt: skip
    return pystac.Item.from_dict(document)


def test_copernicus_data_space_names() -> None:
    """Keys and fields as its catalog documents them: `B02_10m`, STAC 1.1 `bands`, raster fields on the asset."""

    def band(name: str, metres: int) -> dict[str, Any]:
        shape = 109800 // metres
        return {
            "href": f"s3://eodata/T33UUP_{name}_{metres}m.jp2",
            "bands": [{"name": name}],
            "raster:scale": 0.0001,
            "raster:offset": -0.1,
            "proj:code": "EPSG:32633",
            "proj:shape": [shape, shape],
            "proj:transform": [metres, 0, 300000, 0, -metres, 5400000],
        }

    assets = {f"{name}_{m}m": band(name, m) for name in ("B02", "B03", "B8A", "B11") for m in (60, 20, 10)}
    assets = {key: value for key, value in assets.items() if not key.endswith("10m") or key[:3] in ("B02", "B03")}
    assets |= {"SCL_60m": band("SCL", 60), "SCL_20m": band("SCL", 20), "TCI_10m": band("TCI", 10)}
    found = understand(item(assets, {"processing:version": "05.11"}), ["B02", "B8A"], "scl")
    assert {name: asset.key for name, asset in found.bands.items()} == {"B02": "B02_10m", "B8A": "B8A_20m"}
    assert found.mask is not None
    assert found.mask.key == "SCL_20m"
    assert found.offset == -1000
    assert found.record["processing_baseline"] == "05.11"


def test_bands_are_found_by_what_the_asset_says_of_itself() -> None:
    described = {
        "first": {"eo:bands": [{"name": "B03"}]},
        "second": {"bands": [{"name": "band-8", "eo:common_name": "nir"}]},
        "edge": {"eo:bands": [{"name": "x", "common_name": "rededge"}]},
        "rgb": {"eo:bands": [{"name": "B04"}, {"name": "B03"}]},
        "visual": {"eo:bands": [{"name": "B02"}], "roles": ["visual"]},
    }
    assert band_assets(item(described)) == {"B03": "first", "B08": "second"}


def test_a_cloud_probability_is_no_mask() -> None:
    assert mask_assets(item({"cloud": {"roles": ["data", "cloud"]}})) == {}
    assert mask_assets(item({"cloud": {"roles": ["mask"]}})) == {"clm": "cloud"}


def test_the_mask_that_every_item_has_is_taken() -> None:
    both, one = item({"scl": {}, "clm": {}}), item({"clm": {}}, id="one")
    assert choose_mask([both], "auto") == "scl"
    assert choose_mask([both, one], "auto") == "clm"
    with pytest.raises(GeoductError, match="item one has no mask asset"):
        choose_mask([both, one], "scl")


def test_names_of_bands() -> None:
    assert band_names(["b8a", "Blue", "rededge071"]) == ["B8A", "B02", "B05"]
    with pytest.raises(GeoductError, match="expected at least one band"):
        band_names([])


FLAG = "earthsearch:boa_offset_applied"
BASELINE = "s2:processing_baseline"


@pytest.mark.parametrize(
    ("properties", "declared", "expected"),
    [
        ({BASELINE: "05.11", FLAG: True}, -0.1, 0),  # the flag is right, the declared offset is not
        ({BASELINE: "05.11", FLAG: False}, -0.1, -1000),
        ({BASELINE: "02.14", FLAG: False}, -0.1, 0),  # there was nothing to take off
        ({BASELINE: "02.14", FLAG: False}, 0, 0),
        ({BASELINE: "04.00"}, None, -1000),  # as Planetary Computer serves it
        ({BASELINE: "03.01"}, None, 0),
        ({BASELINE: "unknown", FLAG: True}, None, 0),
        ({BASELINE: "unknown"}, -0.1, -1000),
        ({}, 0, 0),
        ({"s2:product_uri": "S2A_MSIL2A_20210101T000000_N0500_R116_T60VUK_20230101T000000.SAFE"}, None, -1000),
    ],
)
def test_offset(properties: dict[str, Any], declared: float | None, expected: int) -> None:
    fields = {} if declared is None else {"raster:bands": [{"scale": 1e-4, "offset": declared}]}
    made = item({"blue": fields}, properties)
    assert offset_of(made, list(made.assets.values())) == expected


@pytest.mark.parametrize(
    ("properties", "offsets", "complaint"),
    [
        (
            {BASELINE: "05.11"},
            [0],
            "processing baseline 05.11 means an offset of -1000 DN, but its assets declare 0 DN",
        ),
        (
            {BASELINE: "03.01"},
            [-0.1],
            "processing baseline 03.01 means an offset of 0 DN, but its assets declare -1000",
        ),
        ({BASELINE: "05.11", FLAG: False}, [0], "means an offset of -1000 DN, but its assets declare 0 DN"),
        ({BASELINE: "05.11"}, [0, -0.1], r"different offsets for its bands: \[-1000, 0\] DN"),
        ({BASELINE: "05.11"}, [-0.2], "declares an offset of -2000 DN; expected 0 or -1000"),
        ({FLAG: False}, [], "item made states neither"),
    ],
)
def test_contradictions_are_told(properties: dict[str, Any], offsets: list[float], complaint: str) -> None:
    assets = {f"B0{n + 2}": {"raster:bands": [{"scale": 1e-4, "offset": o}]} for n, o in enumerate(offsets)}
    made = item(assets or {"B02": {}}, properties)
    with pytest.raises(GeoductError, match=complaint):
        offset_of(made, list(made.assets.values()))


def test_baseline_from_the_name_of_the_product() -> None:
    made = item({}, id="S2A_MSIL2A_20231107T144731_N0509_R139_T20QRF_20231107T182159")
    assert baseline_of(made) == "05.09"
