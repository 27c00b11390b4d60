"""The bands of Sentinel-2 and the spectra of what the land is made of.

Band names, wavelengths and ground sampling distances are those of ESA's Sentinel-2 MSI Level-2A (Sentinel-2 User
Handbook; band metadata as Earth Search v1 publishes it). The spectra are surface reflectances rounded from typical
values of the ECOSTRESS and USGS (splib07) spectral libraries for such materials; dark soils and rock are those of
Iceland's basalt, hence bare fields and bare rock differ less from each other than each varies in itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.simulate.noise import Floats


@dataclass(frozen=True, slots=True)
class Band:
    """One band of Sentinel-2 L2A."""

    name: str
    """As ESA names it, `B02`."""
    asset: str
    """As Earth Search v1 names the asset and STAC's eo extension the band, `blue`."""
    title: str
    gsd: int
    """Ground sampling distance in metres: 10, 20 or 60."""
    center: float
    """Central wavelength in micrometres."""
    width: float
    """Full width at half maximum in micrometres."""


BANDS = (
    Band("B01", "coastal", "Coastal - 60m", 60, 0.443, 0.027),
    Band("B02", "blue", "Blue - 10m", 10, 0.49, 0.098),
    Band("B03", "green", "Green - 10m", 10, 0.56, 0.045),
    Band("B04", "red", "Red - 10m", 10, 0.665, 0.038),
    Band("B05", "rededge1", "Red Edge 1 - 20m", 20, 0.704, 0.019),
    Band("B06", "rededge2", "Red Edge 2 - 20m", 20, 0.74, 0.018),
    Band("B07", "rededge3", "Red Edge 3 - 20m", 20, 0.783, 0.028),
    Band("B08", "nir", "NIR 1 - 10m", 10, 0.842, 0.145),
    Band("B8A", "nir08", "NIR 2 - 20m", 20, 0.865, 0.033),
    Band("B09", "nir09", "NIR 3 - 60m", 60, 0.945, 0.026),
    Band("B11", "swir16", "SWIR 1.6μm - 20m", 20, 1.61, 0.143),
    Band("B12", "swir22", "SWIR 2.2μm - 20m", 20, 2.19, 0.242),
)

SPECTRA: dict[str, tuple[float, ...]] = {
    #           B01    B02    B03    B04    B05    B06    B07    B08    B8A    B09    B11    B12
    "grass": (0.025, 0.035, 0.078, 0.042, 0.110, 0.320, 0.410, 0.430, 0.445, 0.440, 0.230, 0.110),
    "straw": (0.055, 0.075, 0.115, 0.145, 0.180, 0.215, 0.235, 0.260, 0.280, 0.285, 0.330, 0.240),
    "soil": (0.050, 0.060, 0.074, 0.086, 0.100, 0.109, 0.117, 0.126, 0.134, 0.139, 0.178, 0.160),
    "rock": (0.057, 0.066, 0.076, 0.083, 0.092, 0.102, 0.109, 0.116, 0.122, 0.127, 0.158, 0.145),
    "conifer": (0.015, 0.020, 0.036, 0.022, 0.052, 0.145, 0.180, 0.195, 0.205, 0.205, 0.090, 0.042),
    "heath": (0.030, 0.038, 0.056, 0.058, 0.092, 0.160, 0.190, 0.208, 0.222, 0.226, 0.200, 0.130),
    "sedge": (0.033, 0.042, 0.075, 0.068, 0.115, 0.205, 0.240, 0.262, 0.278, 0.280, 0.205, 0.120),
    "peat": (0.030, 0.035, 0.045, 0.054, 0.064, 0.076, 0.086, 0.095, 0.102, 0.106, 0.115, 0.088),
    "water": (0.032, 0.030, 0.024, 0.012, 0.009, 0.007, 0.006, 0.005, 0.004, 0.004, 0.003, 0.002),
    "silt": (0.085, 0.105, 0.122, 0.094, 0.074, 0.040, 0.036, 0.032, 0.026, 0.020, 0.006, 0.004),
    "snow": (0.900, 0.910, 0.910, 0.900, 0.890, 0.880, 0.860, 0.840, 0.820, 0.740, 0.110, 0.085),
    "ice": (0.530, 0.550, 0.545, 0.490, 0.440, 0.400, 0.370, 0.330, 0.300, 0.250, 0.035, 0.022),
    "asphalt": (0.068, 0.080, 0.094, 0.104, 0.112, 0.118, 0.124, 0.130, 0.136, 0.140, 0.160, 0.150),
    "roof": (0.190, 0.225, 0.255, 0.290, 0.300, 0.310, 0.320, 0.330, 0.335, 0.340, 0.360, 0.330),
}
"""Reflectance (0 to 1) of each material in the order of BANDS."""

CLOUD = (0.68, 0.68, 0.67, 0.67, 0.67, 0.67, 0.67, 0.67, 0.66, 0.55, 0.46, 0.36)
"""Reflectance of an opaque water cloud in the order of BANDS."""
CIRRUS = (0.60, 0.58, 0.56, 0.55, 0.54, 0.53, 0.52, 0.51, 0.50, 0.40, 0.26, 0.18)
"""Reflectance of ice cloud, thin here."""

NOISE_STD = 0.004
"""Standard deviation of the sensor's noise, in reflectance. MSI's signal-to-noise ratio is specified at 90 to 170 for
its reference radiances (Sentinel-2 User Handbook, table 6); 0.004 adds the residue of the atmospheric correction."""
NOISE_LIMIT = 3.46 * NOISE_STD
"""No pixel's noise exceeds this, in reflectance."""


def bands_at(gsd: int) -> list[tuple[int, Band]]:
    """The bands of one ground sampling distance, each with its position in BANDS."""
    return [(i, band) for i, band in enumerate(BANDS) if band.gsd == gsd]


def shine(material: str, band: int) -> np.float32:
    """Reflectance of a material in the band at position `band`."""
    return np.float32(SPECTRA[material][band])


def mix(parts: dict[str, Floats], band: int) -> Floats:
    """Reflectance of a linear mixture: the sum of each material's share times its reflectance.

    The linear mixing model of Keshava and Mustard (IEEE Signal Processing Magazine, 2002).

    Args:
        parts: share of each material, `(y, x)`, at least one.
        band: position in BANDS.
    """
    total: Floats | None = None
    for material, share in parts.items():
        piece = share * shine(material, band)
        total = piece if total is None else np.add(total, piece, out=total)
    if total is None:
        raise ValueError("a mixture needs at least one material")
    return total
