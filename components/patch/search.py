"""The search for a good split: simulated annealing over the assignment of blocks, seeded and of fixed length.

It starts from the best of many compact layouts (blocks nearest to a few random centres are val or test), then moves
one block at a time, mostly at the seam of two splits. Kirkpatrick et al., Optimization by Simulated Annealing (1983).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from components.patch.geometry import DISCARDED, TEST, TRAIN, VAL, Cells, areas, fate, fates

STARTS = 64
RUNS = 4
MOVES_PER_BLOCK = 60
MOVES = (2_000, 60_000)
"""Least and most moves in a run; runs after the first are left out where they would exceed the most together."""
HOT, COLD = 0.05, 0.0003
UNUSABLE = 5.0
"""Cost of a class that no train patch holds; a split without patches costs a hundred times as much."""
TOLERATED = 0.02
"""Deviation of a share from what was asked, above which it costs ten times as much."""

Assignment = np.ndarray[Any, np.dtype[np.int64]]


class Cost:
    """What a split costs, from `totals` (4, 1 + class): windows and pixels a class in train, val, test, discarded.

    The sum of: how far the shares of the kept windows are from those asked; the share that is discarded; how far
    each class's pixels are from being spread in the shares asked, weighted by the root of its frequency; and, for
    each class, how far a split is from holding a quarter of its due. A class in no train patch, or a split without
    patches, costs more than all else can gain.
    """

    def __init__(self, weight: np.ndarray[Any, Any], shares: tuple[float, float, float]) -> None:
        total = weight.sum(axis=0)
        self._present = np.flatnonzero(total[1:] > 0) + 1
        pixels = total[self._present]
        root = np.sqrt(pixels)
        self._importance = root / root.sum()
        self._asked = np.array(shares)
        self._due = 0.25 * self._asked[:, None] * pixels
        self._due[self._due == 0] = 1e-9
        self._urgency = np.where(self._asked > 0, [1.0, 0.25, 0.25], 0.0)
        self._windows = total[0]

    def __call__(self, totals: np.ndarray[Any, Any]) -> float:
        kept = totals[:DISCARDED, 0]
        every = max(float(kept.sum()), 1e-9)
        off = np.abs(kept / every - self._asked)
        empty = float(((kept == 0) & (self._asked > 0)).sum())
        classes = totals[:DISCARDED, self._present]
        spread = np.abs(classes / np.maximum(classes.sum(axis=0), 1e-9) - self._asked[:, None]).sum(axis=0)
        short = np.maximum(0.0, 1.0 - classes / self._due).sum(axis=1)
        return float(
            2.0 * off.sum()
            + 20.0 * np.maximum(0.0, off - TOLERATED).sum()
            + totals[DISCARDED, 0] / self._windows
            + 0.4 * (spread * self._importance).sum()
            + short @ self._urgency
            + UNUSABLE * (100.0 * empty + float((classes[TRAIN] == 0).sum()))
        )


def _totals(weight: np.ndarray[Any, Any], fate_of: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.stack([weight[fate_of == s].sum(axis=0) for s in (TRAIN, VAL, TEST, DISCARDED)])


def search(cells: Cells, shares: tuple[float, float, float], seed: int) -> Assignment:
    """Assign each block (y, x) to TRAIN, VAL or TEST. The same arguments give the same assignment."""
    rng = np.random.default_rng(seed)
    cost = Cost(cells.weight, shares)
    active = _active(cells)
    starts = [_layout(active, shares, rng) for _ in range(STARTS)]
    costs = [cost(_totals(cells.weight, fates(cells, start)[0])) for start in starts]
    moves = int(np.clip(MOVES_PER_BLOCK * active.sum(), *MOVES))
    chosen = np.argsort(costs, kind="stable")[: max(1, min(RUNS, MOVES[1] // moves))]
    results = [_anneal(cells, starts[int(i)], active, cost, moves, rng) for i in chosen]
    return min(results, key=lambda result: result[0])[1]


def _active(cells: Cells) -> np.ndarray[Any, Any]:
    """Which blocks (y, x) any window touches."""
    active = np.zeros(cells.blocks.grid, bool)
    for y0, y1, x0, x1 in cells.touched:
        active[y0:y1, x0:x1] = True
    return active


def _layout(active: np.ndarray[Any, Any], shares: tuple[float, float, float], rng: np.random.Generator) -> Assignment:
    """A compact layout: the blocks nearest to one to four random centres are val, likewise test, until it is enough."""
    y, x = np.nonzero(active)
    left = np.full(len(y), TRAIN)
    for split in (TEST, VAL):
        centres = rng.integers(0, len(y), rng.integers(1, 5))
        distance = np.min([np.hypot(y - y[c], x - x[c]) for c in centres], axis=0)
        distance[left != TRAIN] = np.inf
        wanted = max(1, round(shares[split] * len(y))) if shares[split] > 0 else 0
        left[np.argsort(distance, kind="stable")[:wanted]] = split
    assignment = np.full(active.shape, TRAIN)
    assignment[y, x] = left
    return assignment


def _members(rectangles: np.ndarray[Any, Any], grid: tuple[int, int]) -> list[np.ndarray[Any, Any]]:
    """For each block, the cells whose rectangle holds it."""
    size = areas(rectangles)
    cell = np.repeat(np.arange(len(rectangles)), size)
    place = np.arange(len(cell)) - np.repeat(np.cumsum(size) - size, size)
    width = (rectangles[:, 3] - rectangles[:, 2])[cell]
    block = (rectangles[cell, 0] + place // width) * grid[1] + rectangles[cell, 2] + place % width
    order = np.argsort(block, kind="stable")
    bounds = np.searchsorted(block[order], np.arange(grid[0] * grid[1] + 1))
    return [cell[order[a:b]] for a, b in pairwise(bounds)]


def _anneal(
    cells: Cells, start: Assignment, active: np.ndarray[Any, Any], cost: Cost, moves: int, rng: np.random.Generator
) -> tuple[float, Assignment]:
    """One run from `start`: the lowest cost met and the assignment that has it."""
    grid = cells.blocks.grid
    blocks = np.flatnonzero(active.ravel())
    size = areas(cells.touched)
    touching, nearing = _members(cells.touched, grid), _members(cells.near, grid)
    inside = [np.isin(nearing[b], touching[b], assume_unique=True) for b in range(grid[0] * grid[1])]
    current = start.ravel().copy()
    fate_of, touched, near = fates(cells, start)
    totals = _totals(cells.weight, fate_of)
    price = cost(totals)
    best, best_price = current.copy(), price
    picks = rng.integers(0, len(blocks), moves)
    steps = rng.integers(0, 4, moves)
    wild = rng.integers(0, 3, moves)
    chance, threshold = rng.random(moves), rng.random(moves)
    for move in range(moves):
        block = int(blocks[picks[move]])
        old = int(current[block])
        new = int(wild[move]) if chance[move] < 0.1 else _beside(current, active, block, int(steps[move]), grid)
        if new == old:
            continue
        of = nearing[block]
        count_near, count_touched = near[of], touched[of]
        count_near[:, old] -= 1
        count_near[:, new] += 1
        count_touched[inside[block], old] -= 1
        count_touched[inside[block], new] += 1
        fresh = fate(count_touched, count_near, size[of])
        changed = np.flatnonzero(fresh != fate_of[of])
        proposed = totals.copy()
        if changed.size:
            weight = cells.weight[of[changed]]
            np.subtract.at(proposed, fate_of[of[changed]], weight)
            np.add.at(proposed, fresh[changed], weight)
        proposed_price = cost(proposed)
        heat = HOT * (COLD / HOT) ** (move / moves)
        if proposed_price <= price or threshold[move] < math.exp((price - proposed_price) / heat):
            current[block] = new
            near[of], touched[of], fate_of[of] = count_near, count_touched, fresh
            totals, price = proposed, proposed_price
            if price < best_price:
                best, best_price = current.copy(), price
    return best_price, best.reshape(grid)


def _beside(current: Assignment, active: np.ndarray[Any, Any], block: int, step: int, grid: tuple[int, int]) -> int:
    """The split of one of the four neighbours of a block, or its own at the edge."""
    y, x = divmod(block, grid[1])
    y, x = (y + (1, -1, 0, 0)[step], x + (0, 0, 1, -1)[step])
    if not (0 <= y < grid[0] and 0 <= x < grid[1] and active[y, x]):
        return int(current[block])
    return int(current[y * grid[1] + x])
