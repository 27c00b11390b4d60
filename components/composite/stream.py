"""Composing a cube of any size in bounded memory: tile by tile for reducing, shard by shard for writing.

A tile's mask is read with a halo as wide as the dilation, so that a cloud in one tile grows into the next and the
result does not depend on where tiles begin. Periods are reduced one after the other within a shard, so that more of
them take no more memory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.artifacts.composite import create_composite
from components.artifacts.scenecube import SceneCube
from components.artifacts.shards import Shards
from components.artifacts.zarrs import CHUNK, SHARD
from components.blocks import Block, blocks_of, run_blocks
from components.composite.clear import unclear
from components.composite.periods import Share, shares_of
from components.composite.reduce import best, median, observations
from components.errors import GeoductError

TILE = 24 << 20
"""Bytes of reflectance, all looks and bands, that a worker aims to hold at a time; a chunk's width is the least."""

REDUCTIONS = {"median": median, "best": best}

Chunks = dict[tuple[int, ...], bytes | None]


Tile = tuple[Block, int, Block]
"""A shard, the number of a share of the scenes, and a part of the shard that is reduced at a time."""


@dataclass(frozen=True)
class _Reduction:
    """How a tile is made, whoever makes it: from which arrays, in which way, and encoded for which."""

    looks: Shards
    flags: Shards
    reflectance: Shards
    steps: tuple[slice, ...]
    name: str
    mask: str
    classes: frozenset[int]
    dilation: int

    def __call__(self, tile: Tile) -> tuple[Chunks, NDArray[np.uint8], int, int]:
        """A tile's chunks of reflectance by their place in the shard, its number of clear looks (y, x), and how many
        looks the mask ruled out and how many were clear in all."""
        shard, share, part = tile
        here, steps = _inside(shard, part), self.steps[share]
        bands = self.looks.shape[1]
        ruled = _ruled(self.flags, here, steps, self.mask, self.classes, self.dilation)
        values = self.looks.read(steps, slice(0, bands), *here.window)
        clear = ~ruled & values.all(axis=1)
        images: Chunks = {}
        for chunk in blocks_of(part.shape, CHUNK):
            window = (slice(None), *chunk.window)
            place = (part.y0 + chunk.y0) // CHUNK, (part.x0 + chunk.x0) // CHUNK
            image = REDUCTIONS[self.name](values[(slice(None), *window)], clear[window])
            images |= {(band, *place): self.reflectance.encode(image[band : band + 1]) for band in range(bands)}
        return images, observations(clear), int(np.count_nonzero(ruled)), int(np.count_nonzero(clear))


def compose(
    scenes: SceneCube,
    path: Path,
    reduction: str,
    classes: Collection[int],
    dilation: int,
    periods: Sequence[str] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
) -> None:
    """Write the Composite of `scenes` at `path`, with threads or with the dask cluster that has this `scheduler`.

    Raises:
        GeoductError: the periods do not go with the scenes, no pixel has a clear look in one of them or in all, or a
            chunk of the scenes is corrupt.
    """
    shares = shares_of(scenes, periods)
    looks, flags = Shards(scenes.array("reflectance")), Shards(scenes.array("scl"))
    bands, height, width = looks.shape[1:]
    reflectance, clear_looks = map(Shards, _create(path, scenes, shares))
    steps = tuple(share.steps for share in shares)
    reduce = _Reduction(looks, flags, reflectance, steps, reduction, scenes.mask, frozenset(classes), dilation)
    across = _across(bands * max(_count(share) for share in shares))
    tiles = [
        (shard, number, part)
        for shard in blocks_of((height, width), SHARD)
        for number in range(len(shares))
        for part in blocks_of(shard.shape, (CHUNK, across))
    ]
    masked, clear = [0] * len(shares), [0] * len(shares)
    shard_images: Chunks = {}
    fewest = np.full((SHARD, SHARD), 255, "uint8")
    results = run_blocks(reduce, tiles, workers=workers, label="composite", scheduler=scheduler)
    for (shard, number, part), (images, counts, out, good) in zip(tiles, results, strict=True):
        shard_images |= images
        np.minimum(fewest[part.window], counts, out=fewest[part.window])
        masked[number], clear[number] = masked[number] + out, clear[number] + good
        if (part.y1, part.x1) == shard.shape:
            place = shard.y0 // SHARD, shard.x0 // SHARD
            reflectance.write((number, *place), shard_images)
            shard_images = {}
            if number == len(shares) - 1:
                rows, columns = shard.shape
                clear_looks.write(place, clear_looks.encode_planes(fewest[:rows, :columns]))
                fewest[...] = 255
    for number, share in enumerate(shares):
        if not clear[number]:
            when = f" in the period {share.period}" if share.period else ""
            part_masked = 100 * masked[number] / (_count(share) * height * width)
            raise GeoductError(
                f"every pixel of all {_count(share)} scenes of {scenes.path}{when} is cloudy or nodata: the mask rules "
                f"out {part_masked:.3g} % (with a dilation of {dilation} pixels), the rest is nodata"
            )


def _create(path: Path, scenes: SceneCube, shares: Sequence[Share]) -> tuple[Any, Any]:
    """Lay out the Composite of these shares."""
    periods = [share.period for share in shares if share.period is not None]
    start, end = (periods[0].dates[0], periods[-1].dates[-1]) if periods else scenes.dates
    return create_composite(path, scenes.geobox, scenes.bands, start, end, periods)


def _count(share: Share) -> int:
    """How many scenes are in a share."""
    return int(share.steps.stop - share.steps.start)


def _across(planes: int) -> int:
    """Width of a tile one chunk high: 1, 2, 4 or 8 chunks, as many as TILE bytes hold of `planes` planes of uint16."""
    chunks = max(TILE // (planes * CHUNK * CHUNK * 2), 1)
    return CHUNK * min(1 << chunks.bit_length() - 1, SHARD // CHUNK)


def _inside(outer: Block, inner: Block) -> Block:
    """A block given relative to another one, relative to the grid."""
    return Block(outer.y0 + inner.y0, outer.y0 + inner.y1, outer.x0 + inner.x0, outer.x0 + inner.x1)


def _ruled(
    flags: Shards, here: Block, steps: slice, kind: str, classes: Collection[int], dilation: int
) -> NDArray[Any]:
    """Looks at a tile that the mask rules out, with what grows into it from outside; (time, y, x)."""
    height, width = flags.shape[1:]
    wide = here.grow(dilation, (height, width))
    grown = unclear(flags.read(steps, *wide.window), kind, classes, dilation)
    top, left = here.y0 - wide.y0, here.x0 - wide.x0
    return grown[:, top : top + here.shape[0], left : left + here.shape[1]]
