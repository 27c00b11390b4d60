"""The plan of a PatchSet: which windows are kept, in which split and order, and how close that is to what was asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from components.artifacts.nomenclature import Nomenclature
from components.artifacts.patchset import SPLITS
from components.artifacts.zarrs import SHARD
from components.errors import GeoductError
from components.patch.geometry import DISCARDED, TRAIN, Blocks, fates, make_cells
from components.patch.scene import Scene
from components.patch.search import search
from components.patch.windows import Windows, count_windows

CLOSE = 0.05
"""Shares further than this from what was asked are reported as missed."""


@dataclass(frozen=True)
class Request:
    """What the user asked for; lengths in metres, `size` and `stride` in pixels."""

    size: int
    stride: int
    shares: tuple[float, float, float]
    block: float
    buffer: float | None
    min_valid: float
    rare: str
    seed: int


@dataclass(frozen=True)
class Plan:
    """Kept windows in order of split and block; `split` (0, 1, 2) and `block` of each; classes ignored; the report."""

    windows: Windows
    split: np.ndarray[Any, np.dtype[np.int64]]
    block: np.ndarray[Any, np.dtype[np.int64]]
    ignored: list[int]
    report: dict[str, Any]


def make_plan(scene: Scene, nomenclature: Nomenclature, request: Request, *, workers: int | None) -> Plan:
    """Look through a scene and decide on its patches.

    Raises:
        GeoductError: nothing is labelled, a split would be empty, or a class is in no train patch.
    """
    _check(scene, request)
    seen = count_windows(scene, request.size, request.stride, len(nomenclature), workers=workers)
    windows = seen.take((seen.valid_fraction >= request.min_valid) & (seen.counts.sum(axis=1) > 0))
    if len(windows) == 0:
        raise GeoductError(
            f"no window of {request.size} x {request.size} pixels is valid (pixels and labels) on "
            f"{request.min_valid:.0%} of its area; the best has {seen.valid_fraction.max(initial=0):.1%}: are the "
            "composite or the labels empty, or --min-valid too high?"
        )
    split, blocks = _assign(scene, windows, request)
    if lost := _empty(split, request):
        raise GeoductError(_too_small(scene, request, lost))
    ignored: list[int] = []
    while rare := _untrained(windows, split):
        _refuse_rare(rare, windows, nomenclature, request, len(windows))
        ignored += rare
        windows = windows.without(rare)
        split = np.where(windows.valid_fraction >= request.min_valid, split, DISCARDED)
        if lost := _empty(split, request):
            names = ", ".join(nomenclature.names[c] for c in ignored)
            raise GeoductError(f"with the classes in no train patch ignored ({names}), the {lost} split is empty")
    report = _report(scene, seen, windows, split, blocks, sorted(ignored), nomenclature, request)
    order, number = _order(windows, split, blocks)
    return Plan(windows.take(order), split[order], number[order], sorted(ignored), report)


def _check(scene: Scene, request: Request) -> None:
    if abs(sum(request.shares) - 1) > 1e-6 or request.shares[TRAIN] == 0:
        shown = " ".join(f"{s:g}" for s in request.shares)
        raise GeoductError(f"--split is {shown}; expected shares of train, val and test that sum to 1, train above 0")
    patch = request.size * max(scene.resolution)
    if request.block < patch * 0.999:
        raise GeoductError(
            f"--block is {request.block:g} m, but a patch of {request.size} pixels is {patch:.0f} m wide; expected "
            f"a block of at least that"
        )


def block_edge(scene: Scene, block: float) -> tuple[int, int]:
    """Edge (y, x) of a block of `block` metres in whole pixels."""
    return max(1, round(block / scene.resolution[0])), max(1, round(block / scene.resolution[1]))


def buffer_pixels(scene: Scene, request: Request) -> tuple[float, float]:
    """The buffer (y, x) in pixels; one patch width by default."""
    if request.buffer is None:
        return float(request.size), float(request.size)
    # Rounded, so that 160 m of 10 m pixels do not become 16.000000001 of them.
    return round(request.buffer / scene.resolution[0], 6), round(request.buffer / scene.resolution[1], 6)


def _assign(scene: Scene, windows: Windows, request: Request) -> tuple[np.ndarray[Any, np.dtype[np.int64]], Blocks]:
    """The split of each window, or DISCARDED."""
    blocks = Blocks(scene.shape, block_edge(scene, request.block))
    cells = make_cells(windows, blocks, buffer_pixels(scene, request))
    assignment = search(cells, request.shares, request.seed)
    return fates(cells, assignment)[0][cells.cell_of], blocks


def _empty(split: np.ndarray[Any, Any], request: Request) -> str | None:
    """The first split that ought to have patches and has none."""
    return next((n for s, n in enumerate(SPLITS) if request.shares[s] > 0 and not (split == s).any()), None)


def _too_small(scene: Scene, request: Request, lost: str) -> str:
    """Say that a split is empty, and the nearest size and block that would do, found by trying."""
    height, width = scene.shape
    metres = max(scene.resolution)
    sentence = (
        f"the {lost} split would be empty: {width} x {height} pixels give too few patches of {request.size} pixels in "
        f"blocks of {request.block:g} m"
    )
    size = request.size
    while size >= 8:
        rows, cols = ((np.arange((n - size) // size + 1) * size) if n >= size else np.arange(0) for n in scene.shape)
        row, col = (a.ravel() for a in np.meshgrid(rows, cols, indexing="ij"))
        windows = Windows(size, row, col, np.ones((len(row), 1), "int64"))
        for times in (8, 4, 3, 2, 1):
            block = float(np.ceil(times * size * metres))
            trial = Request(size, size, request.shares, block, None, 0.0, "ignore", request.seed)
            if (
                block < request.block * 1.001
                and len(windows) >= 3
                and not _empty(_assign(scene, windows, trial)[0], trial)
            ):
                return f"{sentence}; --size {size} --stride {size} --block {block:g} would fit"
        size //= 2
    return f"{sentence}; the scene is too small to be split by blocks"


def _untrained(windows: Windows, split: np.ndarray[Any, Any]) -> list[int]:
    """Classes that occur in the windows but in none of train."""
    found, trained = windows.counts.any(axis=0), windows.counts[split == TRAIN].any(axis=0)
    return [int(c) for c in np.flatnonzero(found & ~trained)]


def _refuse_rare(rare: list[int], windows: Windows, nomenclature: Nomenclature, request: Request, total: int) -> None:
    if request.rare == "ignore":
        return
    c = nomenclature.classes[rare[0]]
    holding = int(windows.counts[:, rare[0]].astype(bool).sum())
    others = f" (and {len(rare) - 1} more)" if len(rare) > 1 else ""
    raise GeoductError(
        f"class {c.code} {c.name!r}{others} is in {holding} of {total} windows, but in no train patch; take smaller "
        "blocks or a smaller buffer, another --seed, or --rare ignore to leave its pixels out"
    )


def _order(
    windows: Windows, split: np.ndarray[Any, np.dtype[np.int64]], blocks: Blocks
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Which windows are kept, in order of split and block; and of every window the number of the block it lies in."""
    middle = windows.size // 2
    y, x = (windows.row + middle) // blocks.edge[0], (windows.col + middle) // blocks.edge[1]
    number = _numbers(blocks)[y, x]
    order = np.lexsort((windows.col, windows.row, number, split))
    return order[split[order] != DISCARDED], number


def _numbers(blocks: Blocks) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Numbers of the blocks (y, x), shard by shard: patches in this order are read from few places at a time."""
    y, x = np.indices(blocks.grid)
    shard_y, shard_x = (y * blocks.edge[0]) // SHARD, (x * blocks.edge[1]) // SHARD
    numbers = np.empty(y.size, "int64")
    numbers[np.lexsort((x.ravel(), y.ravel(), shard_x.ravel(), shard_y.ravel()))] = np.arange(y.size)
    return numbers.reshape(blocks.grid)


def _report(
    scene: Scene,
    seen: Windows,
    windows: Windows,
    split: np.ndarray[Any, np.dtype[np.int64]],
    blocks: Blocks,
    ignored: list[int],
    nomenclature: Nomenclature,
    request: Request,
) -> dict[str, Any]:
    patches = {name: int((split == s).sum()) for s, name in enumerate(SPLITS)}
    kept = sum(patches.values())
    reached = {name: n / kept for name, n in patches.items()}
    asked = dict(zip(SPLITS, request.shares, strict=True))
    pixels = np.stack([windows.counts[split == s].sum(axis=0) for s in range(len(SPLITS))])
    classes = {
        c.code: {
            name: float(pixels[s, i] / pixels[s].sum()) if pixels[s].any() else 0.0 for s, name in enumerate(SPLITS)
        }
        for i, c in enumerate(nomenclature)
        if windows.counts[:, i].any()
    }
    missing = {name: [code for code, shares in classes.items() if shares[name] == 0] for name in SPLITS}
    off = max(abs(reached[name] - asked[name]) for name in SPLITS)
    buffer = buffer_pixels(scene, request)
    return {
        "asked": asked,
        "reached": reached,
        "deviation": off,
        "within_five_points": off <= CLOSE,
        "patches": patches,
        "windows": len(seen),
        "invalid": (len(seen) - len(windows)) / len(seen),
        "discarded": 1 - kept / len(windows),
        "block": request.block,
        "block_pixels": list(blocks.edge),
        "buffer": max(b * r for b, r in zip(buffer, scene.resolution, strict=True)),
        "buffer_pixels": list(buffer),
        "classes": classes,
        "missing": missing,
        "ignored": [nomenclature.codes[c] for c in ignored],
    }
