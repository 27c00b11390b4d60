"""From DN to the network's scale and nowhere else: training, evaluation and prediction all use what stands here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.artifacts.model import NEEDED, Normalisation
from components.errors import GeoductError


class Scaling(NamedTuple):
    """A normalisation, `(DN - offset) * scale`, per band in the network's order; float32 (band,)."""

    offset: NDArray[np.float32]
    scale: NDArray[np.float32]


def scaling_of(
    statistics: Mapping[str, Mapping[str, float]], bands: Sequence[str], normalisation: Normalisation
) -> Scaling:
    """The scaling that a normalisation and the statistics of a train split (DN) amount to.

    `standardise` gives mean 0 and standard deviation 1; `minmax` takes the least and the largest value to 0 and 1;
    `percentile` takes the 2nd and the 98th percentile there, and lets what lies beyond lie beyond.

    Raises:
        GeoductError: a band is constant, so that there is nothing to scale by.
    """
    low, high = NEEDED[normalisation]
    offset = np.array([statistics[band][low] for band in bands])
    spread = np.array([statistics[band][high] for band in bands])
    if normalisation != "standardise":
        spread = spread - offset
    for band, value in zip(bands, spread, strict=True):
        if not value > 0:
            raise GeoductError(
                f"band {band} cannot be normalised by {normalisation!r}: its {low} and {high} are "
                f"{statistics[band][low]:g} and {statistics[band][high]:g} DN; leave the band out"
            )
    return Scaling(offset.astype(np.float32), (1.0 / spread).astype(np.float32))


def normalise(patch: NDArray[Any], scaling: Scaling, out: NDArray[np.float32]) -> None:
    """Normalise `patch` (band, y, x) uint16 into `out` of that shape; nodata (DN 0) becomes 0.

    For `standardise` that 0 is the band's mean: a network sees nothing remarkable there.
    """
    np.copyto(out, patch)
    np.subtract(out, scaling.offset[:, None, None], out=out)
    np.multiply(out, scaling.scale[:, None, None], out=out)
    if patch.min() == 0:
        np.copyto(out, 0, where=patch == 0)
