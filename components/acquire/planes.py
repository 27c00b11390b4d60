"""A plane of a cube (one band, or the mask, of a time step in a block): the unit of work of threads and of clusters.

What a plane is made from, and what comes of it, are values that travel to a worker and back. A scene that cannot be
read comes back as one too: an exception would lose its cause on the way.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from components.acquire.read import harmonise, read_asset
from components.acquire.steps import Step
from components.acquire.understand import Asset
from components.artifacts.shards import Shards
from components.artifacts.zarrs import SHARD
from components.blocks import Block
from components.errors import GeoductError
from components.remote.client import shown
from components.remote.raster import Remote

Chunks = dict[tuple[int, ...], bytes | None]


@dataclass(frozen=True)
class How:
    """How scenes are read: onto which grid, which bands and mask, and how reflectance is resampled."""

    geobox: GeoBox
    bands: tuple[str, ...]
    mask: str
    resampling: str

    def content(self, step: Step) -> str:
        """A digest of all that decides a step's pixels, but for what is in the files."""

        def lies(asset: Asset | None) -> str | None:
            return None if asset is None else shown(asset.href)

        grid = [list(self.geobox.shape), list(self.geobox.transform), str(self.geobox.crs)]
        scenes = [[s.record, {n: lies(a) for n, a in s.bands.items()}, lies(s.mask)] for s in step.scenes]
        text = json.dumps([grid, self.bands, self.mask, self.resampling, scenes])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Unreadable:
    """A scene that cannot be read, whatever was tried: why, and the failure of the surroundings that caused it."""

    scene: str
    reason: str
    cause: BaseException | None

    @property
    def error(self) -> GeoductError:
        """To be raised."""
        error = GeoductError(self.reason)
        error.__cause__ = self.cause
        return error


@dataclass(frozen=True)
class Plane:
    """Which plane: `name` is the band's or the mask's, `index` the band's place in its shard."""

    array: str
    step: int
    block: Block
    name: str
    index: int
    last: bool
    """Whether it is the last one of its shard."""

    @property
    def place(self) -> tuple[int, ...]:
        """The place of the plane's shard in the grid of shards of a step."""
        return self.block.y0 // SHARD, self.block.x0 // SHARD


@dataclass(frozen=True)
class Work:
    """All that it takes to make a plane."""

    plane: Plane
    step: Step
    how: How
    array: Shards
    remote: Remote


def make_plane(work: Work) -> tuple[Plane, Chunks | Unreadable]:
    """Read, harmonise and encode a plane: its chunks by their place in the shard."""
    plane = work.plane
    pixels = _pixels(work.step, plane, work.how, work.remote)
    if isinstance(pixels, Unreadable):
        return plane, pixels
    return plane, work.array.encode_planes(pixels, (0,) if plane.array == "scl" else (0, plane.index))


def _pixels(step: Step, plane: Plane, how: How, remote: Remote) -> np.ndarray[Any, Any] | Unreadable:
    """A plane's pixels (y, x) of all scenes of a step, harmonised."""
    is_mask, grid = plane.array == "scl", how.geobox[plane.block.window]
    out: np.ndarray[Any, Any] | None = None
    for scene in step.scenes:
        asset = scene.mask if is_mask else scene.bands[plane.name]
        assert asset is not None
        pixels = np.zeros(plane.block.shape, "uint8" if is_mask else "uint16")
        try:
            read_asset(scene, asset, grid, "nearest" if is_mask else how.resampling, pixels, remote)
        except GeoductError as error:
            return Unreadable(scene.id, str(error), error.__cause__)
        if not is_mask:
            harmonise(pixels, scene.offset)
        out = pixels if out is None else np.where(out == 0, pixels, out)
    assert out is not None
    return out
