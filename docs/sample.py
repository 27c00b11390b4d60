"""Draws docs/sample.png, the picture of the README, from the artifacts of the sample experiment: `make picture`."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import rasterio
from matplotlib.patches import Patch

from components.artifacts import Composite, LabelMap, Map
from components.artifacts.periods import find_bands

matplotlib.use("Agg")

DATA = Path("data") / "sample"
FILE = Path("docs") / "sample.png"
STEP = 3
"""Every third pixel is drawn."""
BRIGHT = 0.22
"""Reflectance that is drawn white."""
NODATA = 0.15
"""Grey in which is drawn what no date saw without cloud."""


def true_colour(composite: Composite) -> np.ndarray:
    """Red, green and blue (y, x, 3), 0 to 1; of several periods, the first."""
    bands = find_bands(("B04", "B03", "B02"), composite.bands)
    assert bands is not None, f"{composite.path} has no red, green and blue"
    planes = [composite.array("reflectance")[composite.bands.index(band)][::STEP, ::STEP] for band in bands]
    dn = np.stack(planes, axis=-1)
    shown = np.clip(dn / 10_000 / BRIGHT, 0, 1) ** 0.7
    return np.where((dn == 0).any(axis=-1, keepdims=True), NODATA, shown)


def main() -> None:
    """Draw composite, labels and map side by side, with one legend."""
    from matplotlib import pyplot

    labels = LabelMap.open(DATA / "labels.zarr")
    nomenclature = labels.nomenclature
    with rasterio.open(Map.open(DATA / "map").path / "classes.tif") as source:
        classes = source.read(1)[::STEP, ::STEP]
    colours = np.full((256, 3), NODATA)
    for index, each in enumerate(nomenclature):
        colours[index] = np.array(each.rgb) / 255
    label = labels.array("label")[...][::STEP, ::STEP]
    panels = {
        "Composite (B04, B03, B02)": true_colour(Composite.open(DATA / "composite.zarr")),
        "Labels (CORINE, 100 m)": colours[label],
        "Map (U-Net, 10 m)": colours[classes],
    }
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 6.1), dpi=100)
    for axis, (title, image) in zip(axes, panels.items(), strict=True):
        axis.imshow(image, interpolation="nearest")
        axis.set_title(title, fontsize=12, loc="left")
        axis.set_axis_off()
    seen = [(i, c) for i, c in enumerate(nomenclature) if (label == i).any()]
    figure.legend(
        handles=[
            *(Patch(facecolor=c.colour, edgecolor="#666666", linewidth=0.5, label=c.name) for _, c in seen),
            Patch(facecolor=str(NODATA), label="no clear look"),
        ],
        loc="lower center",
        ncols=5,
        frameon=False,
        fontsize=10,
    )
    figure.subplots_adjust(left=0.005, right=0.995, top=0.94, bottom=0.13, wspace=0.02)
    figure.savefig(FILE, metadata={"Software": None})


if __name__ == "__main__":
    main()
