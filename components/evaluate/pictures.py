"""Pictures as data URIs, so that the page needs no other file; and plans of where patches and blocks lie."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.artifacts.patchset import SPLITS, PatchSet
from components.evaluate.mosaic import PAPER, Picture

PLAN = 480
"""Longest edge of a plan in pixels."""

SPLIT_COLOURS = {"train": "#88ccee", "val": "#ddcc77", "test": "#882255"}
"""Paul Tol's muted scheme: apart for every common colour blindness, and in grey."""

RAMP = ("#00204d", "#414d6b", "#7c7b78", "#bcaf6f", "#ffea46")
"""Five stops of the colour map cividis (Nunez, Anderton and Renslow, PLOS ONE 2018), from low to high."""


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def png(picture: Picture) -> str:
    """A data URI of a picture, without loss: for maps."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", optimize=True)
    return _uri("png", out.getvalue())


def jpeg(picture: Picture) -> str:
    """A data URI of a picture, a fifth of the size with a loss that does not show: for imagery."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=90, subsampling=0)
    return _uri("jpeg", out.getvalue())


def svg(content: bytes) -> str:
    """A data URI of an SVG file."""
    return _uri("svg+xml", content)


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of `#rrggbb`."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def ramp(levels: NDArray[np.floating]) -> Picture:
    """Colours (…, 3) of levels 0 to 1 (…) along `RAMP`."""
    stops = np.array([rgb(colour) for colour in RAMP], float)
    places = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(levels, places, stops[:, i]) for i in range(3)], -1).round().astype(np.uint8)


def plan(patches: PatchSet, colours: Mapping[int, Sequence[int]]) -> Picture:
    """The footprints of all patches, seen from above, each in its colour by number; one without a colour is grey."""
    rows, columns = patches.index["row"].to_numpy(np.int64), patches.index["col"].to_numpy(np.int64)
    top, left = int(rows.min()), int(columns.min())
    height, width = int(rows.max()) - top + patches.size, int(columns.max()) - left + patches.size
    scale = PLAN / max(height, width)
    shown: Picture = np.full((max(1, round(height * scale)), max(1, round(width * scale)), 3), PAPER[0], np.uint8)
    gap = 1 if patches.size * scale > 6 else 0  # a white line between neighbours, where there is room for one
    for number, (row, column) in enumerate(zip(rows - top, columns - left, strict=True)):
        place = tuple(
            slice(int(start * scale), max(int(start * scale) + 1, int((start + patches.size) * scale) - gap))
            for start in (row, column)
        )
        shown[place] = colours.get(number, (232, 234, 237))
    return shown


def split_plan(patches: PatchSet) -> Picture:
    """Which patch is in which split."""
    splits = patches.index["split"].to_numpy(str)
    return plan(patches, {i: rgb(SPLIT_COLOURS[name]) for i, name in enumerate(splits) if name in SPLITS})


def score_plan(patches: PatchSet, numbers: NDArray[np.int64], levels: NDArray[np.floating]) -> Picture:
    """The patches `numbers` (n,) in the colours of their `levels` (n,), 0 to 1, among all others in grey."""
    return plan(patches, dict(zip(numbers.tolist(), ramp(levels).tolist(), strict=True)))
