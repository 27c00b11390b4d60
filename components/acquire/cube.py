"""From scenes to the SceneCube: shard by shard, so that what is read stays read when a run is killed or fails."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from components import storage
from components.acquire.ledger import LEDGER, Ledger
from components.acquire.planes import Chunks, How, Plane, Unreadable, Work, make_plane
from components.acquire.steps import LeftOut, Report, Step
from components.artifacts.scenecube import SceneCube, create_scenecube
from components.artifacts.shards import Shards
from components.artifacts.zarrs import SHARD
from components.blocks import blocks_of, cores, run_blocks
from components.errors import GeoductError
from components.progress import say
from components.remote.earthengine import is_earth_engine
from components.remote.raster import Remote, is_remote

REMOTE_WORKERS = 8
"""Planes read at a time over a network, at least: most of the time is waiting for answers."""

HELD = 6
"""Encoded planes, of a few megabytes each, held for each worker: about as many as are read while a shard is written."""

ARRAYS = ("reflectance", "scl")


def read_cube(
    steps: Sequence[Step],
    how: How,
    path: Path,
    remote: Remote,
    report: Report,
    skip_failed: bool,
    workers: int | None = None,
    scheduler: str | None = None,
) -> dict[str, str]:
    """Read steps onto one grid, write the SceneCube at `path`, and print the report.

    Returns the SHA-256 of its shards, by their path in the cube.

    What a killed or failed run left at `path` of the same scenes on the same grid is not read again. Workers share a
    shard's bands (each is read, harmonised and encoded on its own), so that memory is one encoded shard and, a worker,
    one plane of 2048 x 2048 pixels and up to `HELD` encoded ones, however large the grid. With `skip_failed` a scene
    that cannot be read is left out. Workers are threads, or those of the dask cluster that has this `scheduler`; shards
    are written here in either case.

    Raises:
        GeoductError: a scene cannot be read, or none has a valid pixel in the window.
    """
    if _is_complete(path, steps):
        return {}
    plan: dict[int, Step] = dict(enumerate(steps))
    ledger = Ledger(path, ARRAYS)
    if len(ledger):
        say(f"acquire: going on where an earlier run stopped; {len(ledger)} shards are there")
    while unreadable := _read(plan, len(steps), how, path, remote, ledger, skip_failed, workers, scheduler):
        report.failed += [LeftOut(each.scene, each.reason) for each in unreadable]
        ids = {each.scene for each in unreadable}
        for n in [n for n, step in plan.items() if any(scene.id in ids for scene in step.scenes)]:
            _clear(path, n)
            ledger.forget(n)
        plan = {n: left for n, step in plan.items() if (left := step.without(ids))}
        if not plan:
            first = unreadable[0]
            raise GeoductError(f"no scene can be read; the first: {first.reason}") from first.cause
    filled = {n: step for n, step in plan.items() if _has_pixels(ledger, how, n, step)}
    if not filled:
        raise GeoductError(f"none of the {len(plan)} items found has a valid pixel in the window asked for")
    report.skipped += [
        LeftOut(scene.id, "no valid pixel in the window") for n in plan.keys() - filled for scene in plan[n].scenes
    ]
    sums_of = {n: ledger.sums(how.content(step), n) for n, step in filled.items()}
    _clear_but(path, sums_of)
    for new, old in enumerate(filled):
        _move(path, old, new)
    _lay_out(path, how, list(filled.values()), report)
    sums: dict[str, str] = {}
    for new, found in enumerate(sums_of.values()):
        for file, sha256 in found.items():
            array, chunks, _, *place = file.split("/")
            sums["/".join((array, chunks, str(new), *place))] = sha256
    ledger.remove()
    report.tell(sum(len(step.scenes) for step in filled.values()))
    return sums


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


def _planes(plan: dict[int, Step], how: How, ledger: Ledger) -> Iterator[Plane]:
    """The planes that are still to be read, step by step, a shard's planes one after the other."""
    bands = [("reflectance", name, index) for index, name in enumerate(how.bands)]
    masks = [("scl", how.mask, 0)] if how.mask != "none" else []
    for n, step in plan.items():
        for block in blocks_of((how.geobox.height, how.geobox.width), SHARD):
            for array, planes in (("reflectance", bands), ("scl", masks)):
                place = n, block.y0 // SHARD, block.x0 // SHARD
                if not ledger.find(array, how.content(step), place):
                    for _, name, index in planes:
                        yield Plane(array, n, block, name, index, index == len(planes) - 1)


def _read(
    plan: dict[int, Step],
    length: int,
    how: How,
    path: Path,
    remote: Remote,
    ledger: Ledger,
    skip_failed: bool,
    workers: int | None,
    scheduler: str | None,
) -> list[Unreadable]:
    """Read and write what is missing; returns the scenes that cannot be read, at most one a step."""
    laid_out = [plan.get(n) or next(iter(plan.values())) for n in range(length)]
    arrays = _lay_out(path, how, laid_out)
    contents = {n: how.content(step) for n, step in plan.items()}
    unreadable: dict[int, Unreadable] = {}
    planes = list(_planes(plan, how, ledger))
    left = (
        Work(plane, plan[plane.step], how, arrays[plane.array], remote)
        for plane in planes
        if plane.step not in unreadable
    )
    count = workers or (None if scheduler else _at_a_time(plan))
    shard: Chunks = {}
    for plane, made in run_blocks(
        make_plane, left, total=len(planes), label="acquire", workers=count, scheduler=scheduler, held=HELD
    ):
        if isinstance(made, Unreadable):
            if not skip_failed:
                raise made.error
            unreadable.setdefault(plane.step, made)
        elif plane.step not in unreadable:
            shard = {**shard, **made} if plane.index else made
            if plane.last:
                lead = (plane.step,) if plane.array == "scl" else (plane.step, 0)
                digest = hashlib.sha256()
                file = arrays[plane.array].write((*lead, *plane.place), shard, digest)
                ledger.add(plane.array, contents[plane.step], (plane.step, *plane.place), file, digest.hexdigest())
    return [unreadable[n] for n in sorted(unreadable)]


def _at_a_time(plan: dict[int, Step]) -> int:
    """How many planes to read at a time on this machine."""
    hrefs = [asset.href for step in plan.values() for scene in step.scenes for asset in scene.bands.values()]
    far = any(is_remote(href) or is_earth_engine(href) for href in hrefs)
    return max(cores(), REMOTE_WORKERS) if far else cores()


def _has_pixels(ledger: Ledger, how: How, n: int, step: Step) -> bool:
    places = [(n, b.y0 // SHARD, b.x0 // SHARD) for b in blocks_of((how.geobox.height, how.geobox.width), SHARD)]
    found = [ledger.find("reflectance", how.content(step), place) for place in places]
    return any(entry is not None and entry.file is not None for entry in found)


def _clear(path: Path, n: int) -> None:
    """Remove what was written of a step that is left out, or made of other scenes than before."""
    for array in ARRAYS:
        storage.remove(path / array / "c" / str(n))


def _clear_but(path: Path, kept: Mapping[int, Container[str]]) -> None:
    """Remove all shards but these files of each step: those that are left out, and what runs of other scenes left."""
    for array in ARRAYS:
        for folder in (path / array / "c").glob("*"):
            if int(folder.name) not in kept:
                storage.remove(folder)
                continue
            for file in [file for file in folder.rglob("*") if file.is_file()]:
                if file.relative_to(path).as_posix() not in kept[int(folder.name)]:
                    file.unlink()


def _move(path: Path, old: int, new: int) -> None:
    """Give a step another place in the cube, where nothing is."""
    for array in ARRAYS if old != new else ():
        source = path / array / "c" / str(old)
        if source.exists():
            source.rename(path / array / "c" / str(new))
