"""Composing a cube of any size in bounded memory: tile by tile for reducing, shard by shard for writing.

A tile's mask is read with a halo as wide as the dilation, so that a cloud in one tile grows into the next and the
result does not depend on where tiles begin.
"""

from __future__ import annotations

from collections.abc import Collection
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
from components.composite.reduce import best, median, observations
from components.errors import GeoductError

TILE = 24 << 20
"""Bytes of reflectance, all looks and bands, that a worker aims to hold at a time; a chunk's width is the least."""

REDUCTIONS = {"median": median, "best": best}

Chunks = dict[tuple[int, ...], bytes | None]


Tile = tuple[Block, Block]
"""A shard, and a part of it that is reduced at a time."""


@dataclass(frozen=True)
class _Reduction:
    """How a tile is made, whoever makes it: from which arrays, in which way, and encoded for which."""

    looks: Shards
    flags: Shards
    reflectance: Shards
    observations: Shards
    name: str
    mask: str
    classes: frozenset[int]
    dilation: int

    def __call__(self, tile: Tile) -> tuple[Chunks, Chunks, int, int]:
        """A tile's chunks in both arrays, how many looks the mask ruled out and how many were clear."""
        shard, part = tile
        here = _inside(shard, part)
        count, bands = self.looks.shape[:2]
        ruled = _ruled(self.flags, here, self.mask, self.classes, self.dilation)
        values = self.looks.read(slice(0, count), slice(0, bands), *here.window)
        clear = ~ruled & values.all(axis=1)
        counts = observations(clear)
        images: Chunks = {}
        seen: Chunks = {}
        for chunk in blocks_of(part.shape, CHUNK):
            window = (slice(None), *chunk.window)
            place = (part.y0 + chunk.y0) // CHUNK, (part.x0 + chunk.x0) // CHUNK
            image = REDUCTIONS[self.name](values[(slice(None), *window)], clear[window])
            images |= {(band, *place): self.reflectance.encode(image[band : band + 1]) for band in range(bands)}
            seen[place] = self.observations.encode(counts[chunk.window])
        return images, seen, int(np.count_nonzero(ruled)), int(np.count_nonzero(clear))


def compose(
    scenes: SceneCube,
    path: Path,
    reduction: str,
    classes: Collection[int],
    dilation: int,
    workers: int | None = None,
    scheduler: str | None = None,
) -> None:
    """Write the Composite of `scenes` at `path`, with threads or with the dask cluster that has this `scheduler`.

    Raises:
        GeoductError: no pixel has a clear look, or a chunk of the scenes is corrupt.
    """
    looks, flags = Shards(scenes.array("reflectance")), Shards(scenes.array("scl"))
    count, bands, height, width = looks.shape
    reflectance, clear_looks = map(Shards, create_composite(path, scenes.geobox, scenes.bands, *scenes.dates))
    reduce = _Reduction(looks, flags, reflectance, clear_looks, reduction, scenes.mask, frozenset(classes), dilation)
    tiles = [
        (shard, part)
        for shard in blocks_of((height, width), SHARD)
        for part in blocks_of(shard.shape, (CHUNK, _across(count * bands)))
    ]
    masked = clear = 0
    shard_images: Chunks = {}
    shard_seen: Chunks = {}
    results = run_blocks(reduce, tiles, workers=workers, label="composite", scheduler=scheduler)
    for (shard, part), (images, seen, out, good) in zip(tiles, results, strict=True):
        shard_images |= images
        shard_seen |= seen
        masked, clear = masked + out, clear + good
        if (part.y1, part.x1) == shard.shape:
            place = shard.y0 // SHARD, shard.x0 // SHARD
            reflectance.write((0, *place), shard_images)
            clear_looks.write(place, shard_seen)
            shard_images, shard_seen = {}, {}
    if not clear:
        share = 100 * masked / (count * height * width)
        raise GeoductError(
            f"every pixel of all {count} scenes of {scenes.path} is cloudy or nodata: the mask rules out {share:.3g} % "
            f"(with a dilation of {dilation} pixels), the rest is nodata"
        )


def _across(planes: int) -> int:
    """Width of a tile one chunk high: 1, 2, 4 or 8 chunks, as many as TILE bytes hold of `planes` planes of uint16."""
    chunks = max(TILE // (planes * CHUNK * CHUNK * 2), 1)
    return CHUNK * min(1 << chunks.bit_length() - 1, SHARD // CHUNK)


def _inside(outer: Block, inner: Block) -> Block:
    """A block given relative to another one, relative to the grid."""
    return Block(outer.y0 + inner.y0, outer.y0 + inner.y1, outer.x0 + inner.x0, outer.x0 + inner.x1)


def _ruled(flags: Shards, here: Block, kind: str, classes: Collection[int], dilation: int) -> NDArray[Any]:
    """Looks at a tile that the mask rules out, with what grows into it from outside; (time, y, x)."""
    count, height, width = flags.shape
    wide = here.grow(dilation, (height, width))
    grown = unclear(flags.read(slice(0, count), *wide.window), kind, classes, dilation)
    top, left = here.y0 - wide.y0, here.x0 - wide.x0
    return grown[:, top : top + here.shape[0], left : left + here.shape[1]]
