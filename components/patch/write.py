"""From a labelled scene to a finished PatchSet: shards are assembled in memory and written whole, in threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely

from components.artifacts import Composite, LabelMap
from components.artifacts.nomenclature import IGNORE, Nomenclature
from components.artifacts.patchset import SPLITS, checksum, create_patchset, describe_patchset, write_index, write_shard
from components.artifacts.shards import Shards
from components.blocks import Block, blocks_of, run_blocks
from components.patch.geometry import TRAIN
from components.patch.plan import Plan, Request, make_plan
from components.patch.scene import Scene
from components.patch.statistics import BINS, describe, histogram
from components.progress import say

Written = tuple[list[int], np.ndarray[Any, np.dtype[np.int64]]]


def write_patches(path: Path, composite: Composite, labels: LabelMap, request: Request, *, workers: int | None) -> None:
    """Write the PatchSet of a labelled scene to `path`.

    Raises:
        GeoductError: grids differ, nothing is valid, a split would be empty, or a class is in no train patch.
    """
    scene, nomenclature = Scene(composite, labels), labels.nomenclature
    plan = make_plan(scene, nomenclature, request, workers=workers)
    count, size = len(plan.windows), request.size
    periods = {"periods": [period.to_dict() for period in composite.periods]} if composite.periods else {}
    attributes = {"statistics": {}, **periods}
    image, label = map(Shards, create_patchset(path, count, size, scene.bands, nomenclature, attributes))
    recode = np.arange(IGNORE + 1, dtype="uint8")
    recode[plan.ignored] = IGNORE

    per_shard = image.shard[0]

    def write_block(block: Block) -> Written:
        images = np.empty((block.y1 - block.y0, len(scene.bands), size, size), "uint16")
        classes = np.empty((block.y1 - block.y0, size, size), "uint8")
        for i in range(block.y0, block.y1):
            pixels, found = scene.window(int(plan.windows.row[i]), int(plan.windows.col[i]), size)
            images[i - block.y0], classes[i - block.y0] = pixels, recode[found]
        write_shard(image, label, block.y0 // per_shard, images, classes)
        sums = [checksum(a, b) for a, b in zip(images, classes, strict=True)]
        return sums, histogram(images[plan.split[block.y0 : block.y1] == TRAIN])

    counts = np.zeros((len(scene.bands), BINS), "int64")
    sums: list[int] = []
    for part, seen in run_blocks(write_block, blocks_of((count, 1), (per_shard, 1)), workers=workers, label="patch"):
        sums += part
        counts += seen
    statistics = {band: describe(counts[i]) for i, band in enumerate(scene.bands)}
    describe_patchset(path, {"statistics": statistics, "split": plan.report, "label_source": labels.source})
    write_index(path, index_of(plan, scene, nomenclature, sums))
    _tell(plan, nomenclature)


def index_of(plan: Plan, scene: Scene, nomenclature: Nomenclature, sums: list[int]) -> geopandas.GeoDataFrame:
    """The index: one row a patch. `fraction_<code>` is a share of all pixels; they sum to `valid_fraction`."""
    windows, t = plan.windows, scene.geobox.transform
    fractions = windows.counts / windows.size**2
    x0, x1 = (t.c + t.a * (windows.col + end) for end in (0, windows.size))
    y0, y1 = (t.f + t.e * (windows.row + end) for end in (0, windows.size))
    columns = {
        "id": [f"r{r:05d}_c{c:05d}" for r, c in zip(windows.row, windows.col, strict=True)],
        "split": [SPLITS[s] for s in plan.split],
        "block": plan.block,
        "row": windows.row,
        "col": windows.col,
        "valid_fraction": windows.valid_fraction,
        "dominant": windows.counts.argmax(axis=1),
        **{f"fraction_{code}": fractions[:, i] for i, code in enumerate(nomenclature.codes)},
        "crc32c": np.array(sums, "uint32"),
    }
    footprints = shapely.box(np.minimum(x0, x1), np.minimum(y0, y1), np.maximum(x0, x1), np.maximum(y0, y1))
    return geopandas.GeoDataFrame(columns, geometry=footprints, crs=str(scene.geobox.crs))


def _tell(plan: Plan, nomenclature: Nomenclature) -> None:
    report = plan.report
    shares = ", ".join(
        f"{name} {report['reached'][name]:.1%} of {report['asked'][name]:.0%} ({report['patches'][name]})"
        for name in SPLITS
    )
    say(f"patch: {len(plan.windows)} patches: {shares}; {report['discarded']:.1%} of the valid windows discarded")
    names = dict(zip(nomenclature.codes, nomenclature.names, strict=True))
    for name in SPLITS:
        if absent := [f"{c} {names[c]}" for c in report["missing"][name] if report["asked"][name] > 0]:
            say(f"patch: {name} holds nothing of {', '.join(absent)}")
    if report["ignored"]:
        say(f"patch: in no train patch, therefore ignored: {', '.join(f'{c} {names[c]}' for c in report['ignored'])}")
    if not report["within_five_points"]:
        say(
            f"patch: warning: the shares are {100 * report['deviation']:.0f} points off what was asked; the scene has "
            "too few blocks for it: smaller blocks, patches or buffer would come closer"
        )
