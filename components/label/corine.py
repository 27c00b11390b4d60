"""The codes of CORINE Land Cover, and the two ways in which files carry them.

Rasters hold grid codes 1 to 44 (the pixel values of the European mosaics) or the level-3 codes 111 to 523 that
those stand for, in ascending order. The two ranges do not meet, so the values present say which it is.
Source: CORINE Land Cover nomenclature and raster legend, European Environment Agency.
"""

from __future__ import annotations

from collections.abc import Iterable

CODES = (
    *(111, 112, 121, 122, 123, 124, 131, 132, 133, 141, 142),
    *(211, 212, 213, 221, 222, 223, 231, 241, 242, 243, 244),
    *(311, 312, 313, 321, 322, 323, 324, 331, 332, 333, 334, 335),
    *(411, 412, 421, 422, 423, 511, 512, 521, 522, 523),
)
"""The 44 level-3 codes; grid code n is CODES[n - 1]."""

UNCLASSIFIED = frozenset({-128, 0, 48, 49, 50, 128, 255, 990, 995, 999})
"""Values of pixels without a class: nodata of the various releases, unclassified land (49, 990) and water (50, 995)."""

GRID = "grid codes 1 to 44"
PLAIN = "codes 111 to 523"


def style_of(values: Iterable[int | str]) -> tuple[str | None, list[int | str]]:
    """Which of the two ways `values` follow, and the values that are no CORINE code in that way.

    The way is the one that explains more of the distinct values; None if neither explains any.
    """
    classed = [v for v in values if v not in UNCLASSIFIED]
    grid = [v for v in classed if v in range(1, len(CODES) + 1)]
    codes = [v for v in classed if v in CODES]
    if not grid and not codes:
        return None, classed
    if len(grid) > len(codes):
        return GRID, [v for v in classed if v not in grid]
    return PLAIN, [v for v in classed if v not in codes]
