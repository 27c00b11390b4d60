"""A picture of the map, for people: drawn from the overviews, so that a scene of any size costs the same."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from rasterio.enums import Resampling

from components.artifacts.map import NODATA
from components.artifacts.nomenclature import Nomenclature

PIXELS = 1200
"""Longer edge of the map in the picture, in pixels, at most."""
DPI = 100
METRES_PER_DEGREE = 111_320.0
"""Of longitude at the equator (2 pi x 6378137 m / 360)."""
LINE = 34
"""Letters in a line of the legend."""
HATCH: dict[str, Any] = {"facecolor": "white", "edgecolor": "0.7", "hatch": "////"}
"""How nodata looks: like no class, whatever its colour."""


def round_length(limit: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above `limit`."""
    power = 10.0 ** math.floor(math.log10(limit))
    return max(step * power for step in (1, 2, 5) if step * power <= limit)


def draw(classes: Path, nomenclature: Nomenclature, target: Path) -> None:
    """Draw the raster of classes with a legend of those on it and a scale bar, as PNG, at most 1600 pixels a side."""
    with rasterio.open(classes) as source:
        factor = max(1.0, max(source.shape) / PIXELS)
        shape = tuple(max(1, round(n / factor)) for n in source.shape)
        indices = source.read(1, out_shape=shape, resampling=Resampling.nearest)
        metres = abs(source.transform.a) * source.width / shape[1]
        if source.crs.is_geographic:
            middle = math.radians(source.transform.f + source.transform.e * source.height / 2)
            metres *= METRES_PER_DEGREE * math.cos(middle)
        else:
            metres *= source.crs.linear_units_factor[1]
    table = np.zeros((256, 4), np.uint8)  # nodata stays transparent
    for index, land in enumerate(nomenclature):
        table[index] = (*land.rgb, 255)
    counts = np.bincount(indices.ravel(), minlength=256)

    valid = max(1, int(counts[:NODATA].sum()))
    entries = {
        i: textwrap.fill(f"{100 * counts[i] / valid:.0f} %  {nomenclature.classes[i].name}", LINE)
        for i in sorted(range(len(nomenclature)), key=lambda i: -counts[i])
        if counts[i]
    }

    # A small map is enlarged: every pixel of it to a whole number of pixels on the page.
    zoom = max(1, 600 // max(shape))
    height, width = shape[0] * zoom, shape[1] * zoom
    legend, margin, below = 340, 20, 60
    lines = sum(2 + text.count("\n") for text in entries.values()) + 2
    total = (width + legend + 3 * margin, max(height + below, 16 * lines) + 2 * margin)
    figure = Figure(figsize=(total[0] / DPI, total[1] / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    bottom = 1 - (margin + height) / total[1]
    axes = figure.add_axes((margin / total[0], bottom, width / total[0], height / total[1]))
    axes.imshow(table[indices], interpolation="nearest", aspect="auto")
    axes.patch.set(**HATCH)
    axes.set_xticks([])
    axes.set_yticks([])

    handles = [
        Patch(facecolor=nomenclature.classes[i].colour, edgecolor="0.3", label=text) for i, text in entries.items()
    ]
    if counts[NODATA]:
        handles.append(Patch(label="no data", **HATCH))
    anchor = ((2 * margin + width) / total[0], 1 - margin / total[1])
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=anchor, borderaxespad=0, frameon=False, fontsize=11)

    length = round_length(metres * shape[1] / 3)
    bar = length / metres * zoom
    y = bottom - 30 / total[1]
    figure.add_artist(Rectangle((margin / total[0], y), bar / total[0], 6 / total[1], color="0.15"))
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    figure.text((margin + bar + 8) / total[0], y, text, fontsize=11, va="bottom")
    figure.savefig(target, metadata={"Software": None})
