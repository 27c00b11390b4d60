"""What pretrained backbones expect of their pixels: bands by TerraTorch's names or Sentinel-2's, and published scales.

The statistics are copied, not imported, since importing terratorch takes over ten seconds; a test holds them to it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from components.errors import GeoductError

SENTINEL2 = {
    "COASTAL_AEROSOL": "B01",
    "BLUE": "B02",
    "GREEN": "B03",
    "RED": "B04",
    "RED_EDGE_1": "B05",
    "RED_EDGE_2": "B06",
    "RED_EDGE_3": "B07",
    "NIR_BROAD": "B08",
    "NIR_NARROW": "B8A",
    "WATER_VAPOR": "B09",
    "CIRRUS": "B10",
    "SWIR_1": "B11",
    "SWIR_2": "B12",
}
"""TerraTorch's names of optical bands (`HLSBands`, `OpticalBands`) and Sentinel-2's."""
_TERRATORCH = {code: name for name, code in SENTINEL2.items()}


class Published(NamedTuple):
    """How a family of backbones was pretrained: `bands` in its order, `mean` and `std` of each in DN."""

    bands: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


_HLS = ("B02", "B03", "B04", "B8A", "B11", "B12")
_L2A = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
_L1C = (*_L2A[:10], "B10", *_L2A[10:])

_PRITHVI_2 = Published(
    _HLS, (1087.0, 1342.0, 1433.0, 2734.0, 1958.0, 1363.0), (2248.0, 2179.0, 2178.0, 1850.0, 1242.0, 1049.0)
)
_BY_10000 = Published(_L1C, (0.0,) * 13, (10000.0,) * 13)
_SSL4EO_STATISTICS = Published(
    _L1C,
    (1612.9, 1397.6, 1322.3, 1373.1, 1561.0, 2108.4, 2390.7, 2318.7, 2581.0, 837.7, 22.0, 2195.2, 1537.4),
    (791.0, 854.3, 878.7, 1144.9, 1127.5, 1164.2, 1276.0, 1249.5, 1345.9, 577.5, 47.5, 1340.0, 1142.9),
)

FAMILIES: Mapping[str, Published] = {
    # terratorch, models/backbones/prithvi_vit.py: reflectance of HLS (30 m) * 10000.
    "prithvi_eo_v1_": Published(
        _HLS, (775.0, 1081.0, 1229.0, 2497.0, 2204.0, 1611.0), (1282.0, 1270.0, 1399.0, 1368.0, 1292.0, 1155.0)
    ),
    "prithvi_eo_v2_": _PRITHVI_2,
    # terratorch, models/backbones/terramind/model/terramind_register.py: Sentinel-2 L2A, DN less the offset of 1000.
    "terramind_v01_": Published(
        _L2A,
        (
            794.311,
            925.161,
            1183.128,
            1338.041,
            1667.254,
            2233.633,
            2460.96,
            2555.569,
            2619.542,
            2703.298,
            2406.497,
            1841.645,
        ),
        (
            1164.883,
            1205.586,
            1223.713,
            1399.638,
            1403.298,
            1378.513,
            1434.924,
            1491.141,
            1454.089,
            1660.395,
            1473.248,
            1365.08,
        ),
    ),
    "terramind_v1_": Published(
        _L2A,
        (
            1390.458,
            1503.317,
            1718.197,
            1853.91,
            2199.1,
            2779.975,
            2987.011,
            3083.234,
            3132.22,
            3162.988,
            2424.884,
            1857.648,
        ),
        (
            2106.761,
            2141.107,
            2038.973,
            2134.138,
            2085.321,
            1889.926,
            1820.257,
            1871.918,
            1753.829,
            1797.379,
            1434.261,
            1334.311,
        ),
    ),
    # torchgeo, models/resnet.py and models/vit.py, the transforms of each weight: Sentinel-2 L1C.
    "ssl4eos12_resnet18_sentinel2_all_moco": _BY_10000,
    "ssl4eos12_resnet50_sentinel2_all_moco": _BY_10000,
    "ssl4eos12_resnet50_sentinel2_all_dino": _BY_10000,
    "ssl4eos12_resnet50_sentinel2_all_decur": _SSL4EO_STATISTICS,
    "ssl4eos12_resnet50_sentinel2_all_softcon": _SSL4EO_STATISTICS,
    "ssl4eos12_vit_small_patch16_224_sentinel2_all_moco": _BY_10000,
    "ssl4eos12_vit_small_patch16_224_sentinel2_all_dino": _BY_10000,
}
"""By how the backbone's name in TerraTorch's registry begins."""


def published(backbone: str) -> Published:
    """What is published of a backbone's pixels.

    Raises:
        GeoductError: nothing in DN of surface or top-of-atmosphere reflectance is known of it.
    """
    name = backbone.removeprefix("terratorch_")
    for start, found in FAMILIES.items():
        if name.startswith(start):
            return found
    raise GeoductError(
        f"no mean and standard deviation in DN are known for the backbone {backbone!r}, only for those that begin with "
        f"{', '.join(FAMILIES)}; choose another normalisation, from the statistics of the patches"
    )


def stored_bands(wanted: Sequence[str], available: Sequence[str], where: str | Path) -> tuple[str, ...]:
    """The names under which `available` holds the bands `wanted`, which may be Sentinel-2's or TerraTorch's names.

    Raises:
        GeoductError: a band is missing there, or asked for twice; `where` names the place in the sentence.
    """
    if not wanted:
        raise GeoductError("bands is empty; expected the names of one or more bands")
    found, missing = [], []
    for band in wanted:
        names = (band, SENTINEL2.get(band, band), _TERRATORCH.get(band, band))
        match = next((name for name in names if name in available), None)
        if match is not None:
            found.append(match)
        else:
            missing.append(f"{band} ({SENTINEL2[band]})" if band in SENTINEL2 else _unknown(band, available))
    if missing:
        raise GeoductError(f"{where} has no band {', '.join(missing)}; it has {', '.join(available)}")
    if len(set(found)) < len(found):
        raise GeoductError(f"bands names a band twice: {', '.join(wanted)}; expected each once")
    return tuple(found)


def _unknown(band: str, available: Sequence[str]) -> str:
    """The band, and what was perhaps meant where nobody has such a band."""
    if band in _TERRATORCH:
        return band
    near = difflib.get_close_matches(band, [*available, *SENTINEL2], n=1, cutoff=0.6)
    return f"{band} (did you mean {near[0]}?)" if near else band
