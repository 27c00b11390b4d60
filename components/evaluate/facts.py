"""Facts about the data and the model, as rows of text for the page's tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.artifacts.model import Model
from components.artifacts.patchset import SPLITS, PatchSet
from components.evaluate.wording import count, percent, whole_percent

STATISTICS = ("mean", "std", "min", "p02", "p50", "p98", "max")


class Bar(NamedTuple):
    """A scale bar: how much of the picture's width it takes, in per cent, and what it says."""

    width: float
    label: str


def pixel_metres(patches: PatchSet) -> float | None:
    """Ground sampling distance from the first footprint, in metres; None where the CRS has no length unit."""
    crs = patches.index.crs
    if crs is None or not crs.is_projected:
        return None
    west, _, east, _ = patches.index.geometry.iloc[0].bounds
    return float((east - west) / patches.size * crs.axis_info[0].unit_conversion_factor)


def scale_bar(width: int, patches: PatchSet) -> Bar | None:
    """A round length of at most a quarter of `width` pixels of the scene."""
    metres = pixel_metres(patches)
    if metres is None:
        return None
    longest = width * metres / 4
    power = 10.0 ** np.floor(np.log10(longest))
    length = max(step * power for step in (1, 2, 5) if step * power <= longest)
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    return Bar(round(100 * length / (width * metres), 3), label)


def splits(patches: PatchSet) -> list[dict[str, str]]:
    """Per split: patches, their share, blocks, and area in square kilometres where the CRS tells it."""
    index, metres = patches.index, pixel_metres(patches)
    rows = []
    for name in SPLITS:
        part = index[index["split"] == name]
        area = len(part) * (patches.size * (metres or 0)) ** 2 / 1e6
        rows.append(
            {
                "name": name,
                "patches": count(len(part)),
                "share": percent(len(part) / len(index)),
                "blocks": count(part["block"].nunique()),
                "area": f"{area:,.1f} km²" if metres else "–",
            }
        )
    return rows


def nearest_train(patches: PatchSet, numbers: NDArray[np.int64]) -> int:
    """Pixels between the patches `numbers` and the nearest train patch; negative by how far two overlap."""
    from scipy.spatial import cKDTree

    corners = patches.index[["row", "col"]].to_numpy(np.float64)
    distance, _ = cKDTree(corners[patches.indices("train")]).query(corners[numbers], p=np.inf)
    return int(distance.min()) - patches.size


def gap_sentence(patches: PatchSet, numbers: NDArray[np.int64]) -> str:
    """How far the held-out patches are from training, as found in the index, not as asked for."""
    gap, metres = nearest_train(patches, numbers), pixel_metres(patches)
    if gap < 0:
        return f"Held-out and train patches overlap by up to {-gap} pixels: these scores are too good."
    if gap == 0:
        return (
            "Held-out and train patches touch: there is no buffer between them, so these scores are a little too good."
        )
    length = f" ({gap * metres:,.0f} m)" if metres else ""
    return f"Between a held-out patch and the nearest train patch lie at least {gap} pixels{length}."


def class_shares(patches: PatchSet, min_fraction: float | None) -> list[dict[str, Any]]:
    """Per class: mean share of a patch in each split, and in how many patches of each it dominates, or, if that is
    given, covers at least this fraction.

    A class that occurs nowhere has no row.
    """
    index = patches.index
    rows: list[dict[str, Any]] = []
    parts = [index[index["split"] == name] for name in SPLITS]
    for position, k in enumerate(patches.nomenclature):
        column = f"fraction_{k.code}"
        cells = []
        if column not in index.columns or not index[column].any():
            continue
        for part in parts:
            mean = float(part[column].mean()) if len(part) else 0.0
            held = part["dominant"] == position
            if min_fraction is not None:
                held = (part["dominant"] >= 0) & (part[column] >= min_fraction)
            cells.append((percent(mean), count(int(held.sum()))))
        rows.append({"name": k.name, "code": k.code, "colour": k.colour, "cells": cells})
    return rows


def statistics(patches: PatchSet, model: Model) -> dict[str, Any]:
    """The table of band statistics, in DN, which bands the model uses, and which period each number after an @ is."""
    rows = [
        {
            "name": band,
            "used": band in model.bands,
            "cells": [f"{values[name]:.0f}" if name in values else "–" for name in STATISTICS],
        }
        for band, values in ((band, patches.statistics[band]) for band in patches.bands)
    ]
    periods = ", ".join(
        f"@{number} is {period} ({count(len(period.dates))} {'scene' if len(period.dates) == 1 else 'scenes'})"
        for number, period in enumerate(patches.periods, 1)
    )
    return {"titles": STATISTICS, "rows": rows, "normalisation": model.normalisation, "periods": periods}


def model(model: Model) -> list[tuple[str, str]]:
    """What the network is."""
    parameters = sum(int(values.size) for values in model.weights().values())
    architecture = model.architecture
    if architecture.name == "terratorch":
        parts = architecture.arguments["model_args"]
        shown = {name: parts[name] for name in ("backbone", "decoder") if name in parts}
    else:
        shown = {k: v for k, v in architecture.arguments.items() if k not in ("bands", "classes")}
    words = ", ".join(f"{k} {v}" for k, v in shown.items() if isinstance(v, str | int))
    rows = [
        ("Network", f"{architecture.name} ({words})" if words else architecture.name),
        ("Numbers in it", count(parameters)),
        ("Bands", ", ".join(model.bands)),
        ("Normalisation", model.normalisation),
        ("Patch", f"{model.size} × {model.size} pixels"),
    ]
    if model.min_fraction is not None:
        rows.append(("Holds a class", f"from {whole_percent(model.min_fraction)} of its pixels on"))
    return rows


def split_report(patches: PatchSet) -> list[tuple[str, str]]:
    """What the PatchSet says of how it was split, as rows of name and value; only what it does say."""
    stored = patches.attrs.get("split")
    said: Mapping[str, Any] = stored if isinstance(stored, Mapping) else {}
    rows: list[tuple[str, str]] = []
    for key, name in (("asked", "Asked for"), ("reached", "Reached")):
        if isinstance(shares := said.get(key), Mapping):
            rows.append((name, ", ".join(f"{split} {percent(float(share))}" for split, share in shares.items())))
    for key, name in (("block", "Edge of a block"), ("buffer", "Buffer between splits")):
        if key in said:
            rows.append((name, f"{float(said[key]):,.0f} m"))
    if "windows" in said:
        rows.append(("Windows in the scene", count(int(said["windows"]))))
    for key, name in (("invalid", "Left out for lack of data"), ("discarded", "Left out for the buffer")):
        if key in said:
            rows.append((name, percent(float(said[key]))))
    return rows
