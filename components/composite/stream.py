"""Composing a cube of any size in bounded memory: block by block for writing, strip by strip for reducing.

Blocks are shards of the Composite, written whole. A block's mask is read with a halo as wide as the dilation, so
that a cloud in one block grows into the next and the result does not depend on where blocks begin.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from components.artifacts.composite import create_composite
from components.artifacts.scenecube import SceneCube
from components.artifacts.zarrs import CHUNK, SHARD
from components.blocks import Block, blocks_of, run_blocks
from components.composite.clear import unclear
from components.composite.reduce import best, median, observations
from components.errors import GeoductError

STRIP = 48 << 20
"""Most bytes of reflectance that a worker holds of all looks at once."""

REDUCTIONS = {"median": median, "best": best}


def compose(
    scenes: SceneCube,
    path: Path,
    reduction: str,
    classes: Collection[int],
    dilation: int,
    workers: int | None = None,
    size: int = SHARD,
) -> None:
    """Write the Composite of `scenes` at `path`, in blocks of `size` pixels.

    Raises:
        GeoductError: no pixel has a clear look.
    """
    looks, flags = scenes.array("reflectance"), scenes.array("scl")
    count, bands, height, width = looks.shape
    reflectance, clear_looks = create_composite(path, scenes.geobox, scenes.bands)
    reduce = REDUCTIONS[reduction]

    def work(block: Block) -> tuple[int, int]:
        """Compose a block; how many looks the mask ruled out and how many were clear."""
        wide = block.grow(dilation, (height, width))
        ruled = unclear(np.asarray(flags[(slice(None), *wide.window)]), scenes.mask, classes, dilation)
        top, left = block.y0 - wide.y0, block.x0 - wide.x0
        ruled = ruled[:, top : top + block.shape[0], left : left + block.shape[1]]
        out = np.zeros((bands, *block.shape), "uint16")
        counts = np.zeros(block.shape, "uint8")
        total = 0
        for strip in blocks_of(block.shape, _strip(count * bands, block.shape[1])):
            rows = Block(block.y0 + strip.y0, block.y0 + strip.y1, block.x0 + strip.x0, block.x0 + strip.x1)
            values = np.asarray(looks[(slice(None), slice(None), *rows.window)])
            clear = ~ruled[(slice(None), *strip.window)] & values.all(axis=1)
            total += int(np.count_nonzero(clear))
            for tile in blocks_of(strip.shape, CHUNK):
                here = (slice(None), *tile.window)
                part = (slice(None), *_shift(tile, strip).window)
                out[part] = reduce(values[(slice(None), *here)], clear[here])
            counts[strip.window] = observations(clear)
        reflectance[(slice(None), *block.window)] = out
        clear_looks[block.window] = counts
        return int(np.count_nonzero(ruled)), total

    results = list(run_blocks(work, blocks_of((height, width), size), workers=workers, label="composite"))
    masked, clear = (sum(column) for column in zip(*results, strict=True))
    if not clear:
        share = 100 * masked / (count * height * width)
        raise GeoductError(
            f"every pixel of all {count} scenes of {scenes.path} is cloudy or nodata: the mask rules out {share:.3g} % "
            f"(with a dilation of {dilation} pixels), the rest is nodata"
        )


def _strip(planes: int, width: int) -> tuple[int, int]:
    """Height and width of strips, whole chunks, so that `planes` planes of uint16 fit into STRIP bytes."""
    chunks = max(STRIP // (planes * CHUNK * CHUNK * 2), 1)
    across = max(min(chunks, -(-width // CHUNK)), 1)
    return CHUNK * max(chunks // across, 1), CHUNK * across


def _shift(tile: Block, strip: Block) -> Block:
    return Block(tile.y0 + strip.y0, tile.y1 + strip.y0, tile.x0 + strip.x0, tile.x1 + strip.x0)
