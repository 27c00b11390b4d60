"""The held-out area as one picture: its patches put back where they were cut, thinned to a width a page can carry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.artifacts.nomenclature import IGNORE, Nomenclature
from components.artifacts.patchset import PatchSet
from components.artifacts.periods import find_bands

WIDEST = 1000
"""Longest edge of the mosaic in pixels; a larger area is thinned by taking every n-th pixel."""
PAPER = (255, 255, 255)
UNSCORED = (214, 216, 220)
RIGHT, WRONG = (219, 228, 236), (213, 94, 0)
"""Colours of right and wrong: light blue-grey and vermilion (Okabe and Ito), apart in lightness as well as in hue."""

FAINT = 0.3
"""How much is left of the colours of what is not held out."""
AROUND = (247, 248, 249)

TONE = 0.4
"""Where in a picture, from black at 0 to white at 1, the median pixel is to lie."""

COMPOSITES = (
    ("true colour", ("B04", "B03", "B02")),
    ("false colour, near infrared as red", ("B08", "B04", "B03")),
    ("false colour, near infrared as red", ("B8A", "B04", "B03")),
    ("false colour, short-wave infrared as red", ("B11", "B8A", "B04")),
)

Picture = NDArray[np.uint8]
"""(y, x, 3) red, green, blue."""


class Stretch:
    """How stored pixels become a picture: three bands, each from its 2nd to its 98th percentile of the train split.

    One gamma for all three brings their medians to a middle tone, so that ice or cloud does not leave the rest dark.
    `name` says which bands are shown as red, green and blue; of patches of several periods, those of the first.
    """

    def __init__(self, patches: PatchSet) -> None:
        bands, statistics = patches.bands, patches.statistics
        name, chosen = next(
            ((title, found) for title, wanted in COMPOSITES if (found := find_bands(wanted, bands)) is not None),
            ("false colour", tuple(bands[i] for i in (2, 1, 0))) if len(bands) > 2 else ("one band", (bands[0],) * 3),
        )
        self.name = f"{name} ({', '.join(dict.fromkeys(chosen))})"
        self.columns = [bands.index(band) for band in chosen]
        self.low = np.array([statistics[band]["p02"] for band in chosen])
        high = np.array([statistics[band]["p98"] for band in chosen])
        self.range = np.maximum(high - self.low, 1)
        median = np.array([statistics[band]["p50"] for band in chosen])
        middle = float(np.clip((median - self.low) / self.range, 0.01, 0.99).mean())
        self.gamma = float(np.clip(np.log(TONE) / np.log(middle), 0.4, 1.5))

    def picture(self, image: NDArray[np.uint16]) -> Picture:
        """The picture of an image (band, y, x) as stored; nodata is grey."""
        chosen = image[self.columns].transpose(1, 2, 0)
        level = np.clip((chosen - self.low) / self.range, 0, 1) ** self.gamma
        shown: Picture = (level * 255).round().astype(np.uint8)
        shown[(chosen == 0).all(-1)] = UNSCORED
        return shown


def colour(classes: NDArray[np.uint8], nomenclature: Nomenclature) -> Picture:
    """The picture of class indices (y, x) in the nomenclature's colours; 255 is light grey."""
    table = np.full((256, 3), UNSCORED, np.uint8)
    table[: len(nomenclature)] = [c.rgb for c in nomenclature]
    shown: Picture = table[classes]
    return shown


def agreement(truth: NDArray[np.uint8], answer: NDArray[np.uint8]) -> Picture:
    """The picture of where the answer is right or wrong; light grey where either is 255."""
    shown: Picture = np.where((truth == answer)[..., None], np.array(RIGHT, np.uint8), np.array(WRONG, np.uint8))
    shown[(truth == IGNORE) | (answer == IGNORE)] = UNSCORED
    return shown


class Mosaic:
    """The patches of a split in one frame, faintly amid the others; what no patch covers stays white.

    `step` is the thinning: a pixel of the mosaic is every `step`-th pixel of the scene.
    """

    def __init__(self, patches: PatchSet, numbers: NDArray[np.int64]) -> None:
        index = patches.index
        self.size = patches.size
        self.rows, self.columns = index["row"].to_numpy(np.int64), index["col"].to_numpy(np.int64)
        self.top, self.left = int(self.rows[numbers].min()), int(self.columns[numbers].min())
        height = int(self.rows[numbers].max()) + self.size - self.top
        width = int(self.columns[numbers].max()) + self.size - self.left
        self.step = -(-max(height, width) // WIDEST)
        shape = (-(-height // self.step), -(-width // self.step))
        self.width = width
        self.stretch = Stretch(patches)
        self.covered, self.known = np.zeros(shape, bool), np.zeros(shape, bool)
        self.image: Picture = np.full((*shape, 3), 255, np.uint8)
        self.truth = np.full(shape, IGNORE, np.uint8)
        self.answer = np.full(shape, IGNORE, np.uint8)

    def _place(self, number: int) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
        """Where a patch goes in the frame, and which of its pixels go there; None for one that lies outside."""
        ends: list[tuple[slice, slice]] = []
        for start, length in zip(
            (int(self.rows[number]) - self.top, int(self.columns[number]) - self.left), self.covered.shape, strict=True
        ):
            first = max(0, -(-start // self.step))
            last = min(length, -(-(start + self.size) // self.step))
            if first >= last:
                return None
            offset = first * self.step - start
            ends.append((slice(first, last), slice(offset, offset + (last - first - 1) * self.step + 1, self.step)))
        return (ends[0][0], ends[1][0]), (ends[0][1], ends[1][1])

    def paint(
        self, number: int, image: NDArray[np.uint16], truth: NDArray[np.uint8], answer: NDArray[np.uint8]
    ) -> None:
        """Put a held-out patch in its place: image (band, y, x) as stored, truth and answer (y, x) as classes."""
        if (placed := self._place(number)) is not None:
            place, take = placed
            self.image[place] = self.stretch.picture(image[(slice(None), *take)])
            self.truth[place], self.answer[place] = truth[take], answer[take]
            self.covered[place] = self.known[place] = True

    def paint_around(self, number: int, image: NDArray[np.uint16], truth: NDArray[np.uint8]) -> None:
        """Put a patch of another split in its place, to be shown faintly; what is held out stays as it is."""
        if (placed := self._place(number)) is not None:
            place, take = placed
            free = ~self.covered[place]
            self.image[place][free] = self.stretch.picture(image[(slice(None), *take)])[free]
            self.truth[place][free] = truth[take][free]
            self.known[place] = True

    def blank(self) -> NDArray[np.uint8]:
        """An empty layer of classes (y, x) of the frame, for the answer of one more model."""
        return np.full(self.covered.shape, IGNORE, np.uint8)

    def put(self, number: int, answer: NDArray[np.uint8], layer: NDArray[np.uint8]) -> None:
        """Put the classes (y, x) of a patch in its place in a layer of the frame."""
        if (placed := self._place(number)) is not None:
            place, take = placed
            layer[place] = answer[take]

    def touches(self, number: int) -> bool:
        """Whether a patch has a pixel in the frame."""
        return self._place(number) is not None

    def framed(self, picture: Picture, *, faint: bool = False) -> Picture:
        """A picture of the frame as it is shown: outside what is held out faint or blank, white where no patch lies."""
        around = self.known & ~self.covered
        shown = picture.copy()
        shown[around] = (255 - (255 - picture[around].astype(np.float64)) * FAINT).astype(np.uint8) if faint else AROUND
        shown[~self.known] = PAPER
        return shown

    def pictures(self, nomenclature: Nomenclature) -> Sequence[Picture]:
        """Composite, labels, prediction and agreement, each (y, x, 3); faint or grey outside what is held out."""
        return [
            self.framed(self.image, faint=True),
            self.framed(colour(self.truth, nomenclature), faint=True),
            self.framed(colour(self.answer, nomenclature)),
            self.framed(agreement(self.truth, self.answer)),
        ]
