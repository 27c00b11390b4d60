"""From scenes to the SceneCube: shard by shard, so that what is read stays read when a run is killed or fails."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from components import storage
from components.acquire.ledger import LEDGER, Ledger
from components.acquire.read import harmonise, read_asset
from components.acquire.steps import LeftOut, Report, Step
from components.acquire.understand import Asset
from components.artifacts.scenecube import SceneCube, create_scenecube
from components.artifacts.shards import Shards
from components.artifacts.zarrs import SHARD
from components.blocks import Block, blocks_of, cores, run_blocks
from components.errors import GeoductError
from components.progress import say
from components.remote.client import shown
from components.remote.earthengine import is_earth_engine
from components.remote.raster import Remote, is_remote

REMOTE_WORKERS = 8
"""Planes read at a time over a network, at least: most of the time is waiting for answers."""

ARRAYS = ("reflectance", "scl")

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


class _Unreadable(Exception):
    """A scene that cannot be read, whatever was tried."""

    def __init__(self, scene: str, error: GeoductError) -> None:
        super().__init__(str(error))
        self.scene, self.error = scene, error


@dataclass(frozen=True)
class _Task:
    """A plane to read: `name` is the band's or the mask's, `index` the band's place in its shard."""

    array: str
    step: int
    block: Block
    name: str
    index: int
    last: bool

    @property
    def place(self) -> tuple[int, ...]:
        """The place of the plane's shard in the grid of shards of a step."""
        return self.block.y0 // SHARD, self.block.x0 // SHARD


def read_cube(
    steps: Sequence[Step], how: How, path: Path, remote: Remote, report: Report, skip_failed: bool, workers: int | None
) -> None:
    """Read steps onto one grid, write the SceneCube at `path`, and print the report.

    What a killed or failed run left at `path` of the same scenes on the same grid is not read again. Workers share a
    shard's bands (each is read, harmonised and encoded on its own), so that memory is one encoded shard and one plane
    of 2048 x 2048 pixels a worker, however large the grid. With `skip_failed` a scene that cannot be read is left out.

    Raises:
        GeoductError: a scene cannot be read, or none has a valid pixel in the window.
    """
    if _is_complete(path, steps):
        return
    plan: dict[int, Step] = dict(enumerate(steps))
    ledger = Ledger(path, ARRAYS)
    if len(ledger):
        say(f"acquire: going on where an earlier run stopped; {len(ledger)} shards are there")
    while unreadable := _read(plan, len(steps), how, path, remote, ledger, skip_failed, workers):
        report.failed += [LeftOut(each.scene, str(each.error)) for each in unreadable]
        ids = {each.scene for each in unreadable}
        for n in [n for n, step in plan.items() if any(scene.id in ids for scene in step.scenes)]:
            _clear(path, n)
        plan = {n: left for n, step in plan.items() if (left := step.without(ids))}
        if not plan:
            first = unreadable[0].error
            raise GeoductError(f"no scene can be read; the first: {first}") from first.__cause__
    filled = {n: step for n, step in plan.items() if _has_pixels(ledger, how, n, step)}
    if not filled:
        raise GeoductError(f"none of the {len(plan)} items found has a valid pixel in the window asked for")
    report.skipped += [
        LeftOut(scene.id, "no valid pixel in the window") for n in plan.keys() - filled for scene in plan[n].scenes
    ]
    for n in set(range(len(steps))) - filled.keys():
        _clear(path, n)
    for new, old in enumerate(filled):
        _move(path, old, new)
    _lay_out(path, how, list(filled.values()), report)
    ledger.remove()
    report.tell(sum(len(step.scenes) for step in filled.values()))


def _is_complete(path: Path, steps: Sequence[Step]) -> bool:
    """Whether a run was killed after the cube was whole: then it tells of the very scenes, and has no ledger."""
    if (path / LEDGER).exists() or not (path / "zarr.json").exists():
        return False
    cube = SceneCube(path)
    used = {str(part["id"]) for item in cube.items for part in item.get("parts", [item])}
    left_out = {one["id"] for ones in cube.left_out.values() for one in ones}
    return used <= {scene.id for step in steps for scene in step.scenes} <= used | left_out


def _lay_out(path: Path, how: How, steps: Sequence[Step], report: Report | None = None) -> dict[str, Shards]:
    """Write the metadata for these steps around the shards that are there."""
    for entry in path.iterdir():
        if entry.name in ARRAYS:
            storage.remove(entry / "zarr.json")
        elif entry.name != LEDGER:
            storage.remove(entry)
    left_out = {} if report is None else {name: list(map(asdict, ones)) for name, ones in vars(report).items()}
    # Zarr makes no group where there is something already.
    new = path / "layout"
    create_scenecube(new, how.geobox, how.bands, [step.record for step in steps], how.mask, left_out)
    for array in ARRAYS:
        (path / array).mkdir(exist_ok=True)
        (new / array / "zarr.json").rename(path / array / "zarr.json")
        (new / array).rmdir()
    for entry in new.iterdir():
        entry.rename(path / entry.name)
    new.rmdir()
    cube = SceneCube(path)
    return {array: Shards(cube.array(array)) for array in ARRAYS}


def _tasks(plan: dict[int, Step], how: How, ledger: Ledger) -> Iterator[_Task]:
    """The planes that are still to be read, step by step, a shard's planes one after the other."""
    bands = [("reflectance", name, index) for index, name in enumerate(how.bands)]
    masks = [("scl", how.mask, 0)] if how.mask != "none" else []
    for n, step in plan.items():
        for block in blocks_of((how.geobox.height, how.geobox.width), SHARD):
            for array, planes in (("reflectance", bands), ("scl", masks)):
                place = n, block.y0 // SHARD, block.x0 // SHARD
                if not ledger.find(array, how.content(step), place):
                    for _, name, index in planes:
                        yield _Task(array, n, block, name, index, index == len(planes) - 1)


def _read(
    plan: dict[int, Step],
    length: int,
    how: How,
    path: Path,
    remote: Remote,
    ledger: Ledger,
    skip_failed: bool,
    workers: int | None,
) -> list[_Unreadable]:
    """Read and write what is missing; returns the scenes that cannot be read, at most one a step."""
    laid_out = [plan.get(n) or next(iter(plan.values())) for n in range(length)]
    arrays = _lay_out(path, how, laid_out)
    contents = {n: how.content(step) for n, step in plan.items()}
    unreadable: dict[int, _Unreadable] = {}

    def read(task: _Task) -> Chunks:
        if task.step in unreadable:
            return {}
        try:
            pixels = _plane(plan[task.step], task, how, remote)
        except _Unreadable as each:
            if not skip_failed:
                raise each.error from each.error.__cause__
            unreadable[task.step] = each
            return {}
        at = (0,) if task.array == "scl" else (0, task.index)
        return arrays[task.array].encode_planes(pixels, at)

    tasks = list(_tasks(plan, how, ledger))
    hrefs = [asset.href for step in plan.values() for scene in step.scenes for asset in scene.bands.values()]
    far = any(is_remote(href) or is_earth_engine(href) for href in hrefs)
    count = workers or (max(cores(), REMOTE_WORKERS) if far else cores())
    shard: Chunks = {}
    for task, chunks in zip(tasks, run_blocks(read, tasks, workers=count, label="acquire"), strict=True):
        shard |= chunks
        if task.last:
            if task.step not in unreadable:
                lead = (task.step,) if task.array == "scl" else (task.step, 0)
                file = arrays[task.array].write((*lead, *task.place), shard)
                ledger.add(task.array, contents[task.step], (task.step, *task.place), file)
            shard = {}
    return [unreadable[n] for n in sorted(unreadable)]


def _plane(step: Step, task: _Task, how: How, remote: Remote) -> np.ndarray[Any, Any]:
    """A plane's pixels (y, x) of all scenes of a step, harmonised."""
    is_mask, grid = task.array == "scl", how.geobox[task.block.window]
    kind = "uint8" if is_mask else "uint16"
    out: np.ndarray[Any, Any] | None = None
    for scene in step.scenes:
        asset = scene.mask if is_mask else scene.bands[task.name]
        assert asset is not None
        pixels = np.zeros(task.block.shape, kind)
        try:
            read_asset(scene, asset, grid, "nearest" if is_mask else how.resampling, pixels, remote)
        except GeoductError as error:
            raise _Unreadable(scene.id, error) from error
        if not is_mask:
            harmonise(pixels, scene.offset)
        out = pixels if out is None else np.where(out == 0, pixels, out)
    assert out is not None
    return out


def _has_pixels(ledger: Ledger, how: How, n: int, step: Step) -> bool:
    places = [(n, b.y0 // SHARD, b.x0 // SHARD) for b in blocks_of((how.geobox.height, how.geobox.width), SHARD)]
    found = [ledger.find("reflectance", how.content(step), place) for place in places]
    return any(entry is not None and entry.file is not None for entry in found)


def _clear(path: Path, n: int) -> None:
    """Remove what was written of a step that is left out, or made of other scenes than before."""
    for array in ARRAYS:
        storage.remove(path / array / "c" / str(n))


def _move(path: Path, old: int, new: int) -> None:
    """Give a step another place in the cube, where nothing is."""
    for array in ARRAYS if old != new else ():
        source = path / array / "c" / str(old)
        if source.exists():
            source.rename(path / array / "c" / str(new))
