"""The archive as files: plan, render block by block on threads, write in order, then COGs, labels and catalog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.artifacts.archive import Archive
from components.blocks import Block, blocks_of, cores, run_blocks
from components.simulate.catalog import COLLECTION, SCALE, cells, grid_transform, make_item, write_catalog
from components.simulate.corine import (
    CODES,
    CORINE_EPSG,
    MARGIN,
    NODATA,
    Lattice,
    Tally,
    colour_table,
    commonest,
    lattice_over,
    tally,
)
from components.simulate.corine import add as add_tally
from components.simulate.land import survey
from components.simulate.noise import Grid
from components.simulate.plan import EPSG, Acquisition, acquisitions
from components.simulate.rasters import Kind, Rasters
from components.simulate.scene import HALO, Reading, acquire, lay_ground
from components.simulate.sky import forecast
from components.simulate.spectra import BANDS

BLOCK = 384
"""Width of a block in pixels of 10 m: whole pixels at 20 and 60 m, and few enough for a core's cache."""


@dataclass(frozen=True)
class Rendered:
    """All acquisitions over one block."""

    block: Block
    classes: npt.NDArray[np.uint8]
    labels: Tally
    readings: list[Reading]


def whole_pixels(length: int) -> int:
    """`length` rounded up to whole pixels of 60 m."""
    return -(-length // 6) * 6


def _rim(size: int) -> list[Block]:
    """Blocks of the margin around the scene, in which only the class is of interest."""
    strips = [
        Block(-MARGIN, 0, -MARGIN, size + MARGIN),
        Block(size, size + MARGIN, -MARGIN, size + MARGIN),
        Block(0, size, -MARGIN, 0),
        Block(0, size, size, size + MARGIN),
    ]
    return [
        Block(strip.y0 + b.y0, strip.y0 + b.y1, strip.x0 + b.x0, strip.x0 + b.x1)
        for strip in strips
        for b in blocks_of(strip.shape, BLOCK)
    ]


def _open_rasters(rasters: Rasters, archive: Archive, plan: list[Acquisition], size: int, truth: bool) -> None:
    def add(path: Path, gsd: int, dtype: str, nodata: int | None, kind: Kind, **more: Any) -> None:
        width = cells(size, gsd)
        rasters.add(path, (width, width), dtype, grid_transform(gsd), EPSG, nodata, kind=kind, **more)

    for item in plan:
        folder = archive.path / COLLECTION / item.id
        for band in BANDS:
            packing = (SCALE, -item.offset * SCALE)
            add(folder / f"{band.name}.tif", band.gsd, "uint16", 0, "image", unpacking=packing)
        add(folder / "SCL.tif", 20, "uint8", 0, "classes")
        add(archive.clear_of(item.id), 10, "uint8", None, "classes")
        if truth:
            names = tuple(band.name for band in BANDS)
            add(archive.truth_of(item.id), 10, "uint16", 0, "truth", bands=names, unpacking=(SCALE, 0.0))
    add(archive.classes, 10, "uint8", NODATA, "classes", colours=colour_table())


def _write_block(rasters: Rasters, archive: Archive, plan: list[Acquisition], done: Rendered, truth: bool) -> None:
    y0, x0 = done.block.y0, done.block.x0
    rasters.write(archive.classes, done.classes, y0, x0)
    for item, reading in zip(plan, done.readings, strict=True):
        folder = archive.path / COLLECTION / item.id
        rasters.write(folder / "SCL.tif", reading.scl, y0 // 2, x0 // 2)
        rasters.write(archive.clear_of(item.id), reading.clear.astype(np.uint8), y0, x0)
        for position, band in enumerate(BANDS):
            step = band.gsd // 10
            rasters.write(folder / f"{band.name}.tif", reading.dn[position], y0 // step, x0 // step)
            if truth:
                fine = np.repeat(np.repeat(reading.truth[position], step, axis=0), step, axis=1)
                rasters.write(archive.truth_of(item.id), fine, y0, x0, band=position + 1)


def _write_labels(archive: Archive, parts: Iterable[Tally], lattice: Lattice) -> None:
    total = np.zeros((lattice.height, lattice.width, len(CODES) + 1), np.uint8)
    for part in parts:
        add_tally(total, part)
    with Rasters(archive.path / "labels.tmp") as rasters:
        shape = (lattice.height, lattice.width)
        colours = colour_table()
        rasters.add(
            archive.labels, shape, "uint8", lattice.transform, CORINE_EPSG, NODATA, kind="classes", colours=colours
        )
        rasters.write(archive.labels, commonest(total), 0, 0)
        rasters.finish(1)


def write_archive(
    archive: Archive, *, size: int, dates: int, seed: int, cloud_cover: float, truth: bool, workers: int | None = None
) -> None:
    """Write a whole archive into `archive.path`, which does not exist yet.

    Memory does not grow with `size`; the bytes do not depend on `workers`.

    Args:
        archive: the archive to be written.
        size: pixels of 10 m along each side.
        dates: number of acquisitions.
        seed: of everything that is left to chance.
        cloud_cover: mean share of cloud, 0 to 1, of all acquisitions but the overcast one.
        truth: whether to write the true reflectance of every acquisition.
        workers: threads; None takes all cores.
    """
    archive.path.mkdir(parents=True)
    plan = acquisitions(dates, seed, cloud_cover)
    weather = [forecast(item, seed, size) for item in plan]
    lattice = lattice_over(size)

    def render(block: Block) -> Rendered:
        height, width = whole_pixels(block.y1 - block.y0), whole_pixels(block.x1 - block.x0)
        ground = lay_ground(block.y0, block.x0, height, width, seed)
        readings = [acquire(ground, item, air, seed, size) for item, air in zip(plan, weather, strict=True)]
        classes = ground.land.classes[HALO:, HALO:][: block.shape[0], : block.shape[1]]
        grid = Grid(block.y0, block.x0, *block.shape)
        return Rendered(block, classes, tally(grid, classes, lattice), readings)

    def survey_rim(block: Block) -> Tally:
        grid = Grid(block.y0, block.x0, *block.shape)
        return tally(grid, survey(grid, seed).classes, lattice)

    scl: list[Counter[int]] = [Counter() for _ in plan]
    tallies: list[Tally] = []
    with Rasters(archive.path / "parts.tmp") as rasters:
        _open_rasters(rasters, archive, plan, size, truth)
        for done in run_blocks(render, blocks_of((size, size), BLOCK), workers=workers, label="simulate"):
            _write_block(rasters, archive, plan, done, truth)
            tallies.append(done.labels)
            for counter, reading in zip(scl, done.readings, strict=True):
                inside = reading.scl[: cells(size, 20) - done.block.y0 // 2, : cells(size, 20) - done.block.x0 // 2]
                counter.update(dict(enumerate(np.bincount(inside.ravel(), minlength=12).tolist())))
        rasters.finish(workers or cores())
    tallies.extend(run_blocks(survey_rim, _rim(size), workers=workers, label="simulate labels"))
    _write_labels(archive, tallies, lattice)
    write_catalog(archive.path, [make_item(item, size, count) for item, count in zip(plan, scl, strict=True)])
