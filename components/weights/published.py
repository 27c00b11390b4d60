"""Where the weights of TerraTorch's backbones are published, by the backbone's name in its registry.

Copied, not imported, since importing terratorch takes over ten seconds; a test holds the table to terratorch's own.
"""

from __future__ import annotations

from components.errors import GeoductError, nearest

_PRITHVI = "ibm-nasa-geospatial/Prithvi-EO-"
_TERRAMIND = "ibm-esa-geospatial/TerraMind-1.0-"

FILES: dict[str, tuple[str, str]] = {
    "prithvi_eo_v1_100": (_PRITHVI + "1.0-100M", "Prithvi_EO_V1_100M.pt"),
    "prithvi_eo_v2_tiny_tl": (_PRITHVI + "2.0-tiny-TL", "Prithvi_EO_V2_tiny_TL.pt"),
    "prithvi_eo_v2_100_tl": (_PRITHVI + "2.0-100M-TL", "Prithvi_EO_V2_100M_TL.pt"),
    "prithvi_eo_v2_300": (_PRITHVI + "2.0-300M", "Prithvi_EO_V2_300M.pt"),
    "prithvi_eo_v2_300_tl": (_PRITHVI + "2.0-300M-TL", "Prithvi_EO_V2_300M_TL.pt"),
    "prithvi_eo_v2_600": (_PRITHVI + "2.0-600M", "Prithvi_EO_V2_600M.pt"),
    "prithvi_eo_v2_600_tl": (_PRITHVI + "2.0-600M-TL", "Prithvi_EO_V2_600M_TL.pt"),
    "terramind_v1_tiny": (_TERRAMIND + "tiny", "TerraMind_v1_tiny.pt"),
    "terramind_v1_small": (_TERRAMIND + "small", "TerraMind_v1_small.pt"),
    "terramind_v1_base": (_TERRAMIND + "base", "TerraMind_v1_base.pt"),
    "terramind_v1_large": (_TERRAMIND + "large", "TerraMind_v1_large.pt"),
    "ssl4eos12_resnet18_sentinel2_all_moco": (
        "torchgeo/resnet18_sentinel2_all_moco",
        "resnet18_sentinel2_all_moco-59bfdff9.pth",
    ),
    "ssl4eos12_resnet50_sentinel2_all_moco": (
        "torchgeo/resnet50_sentinel2_all_moco",
        "resnet50_sentinel2_all_moco-df8b932e.pth",
    ),
}
"""Backbone → repository on Hugging Face, and the file in it."""

SIZE = 224
"""Edge in pixels of the images that all of them learned from."""


def place_of(backbone: str) -> tuple[str, str]:
    """Repository and file of a backbone's weights.

    Raises:
        GeoductError: none are known; the nearest name is given.
    """
    if backbone not in FILES:
        raise GeoductError(
            f"no published weights are known for the backbone {backbone!r}{nearest(backbone, FILES)}; a file at hand "
            "is taken by: geoduct weights convert FILE --backbone NAME --to FOLDER"
        )
    return FILES[backbone]
