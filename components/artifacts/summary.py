"""What an artifact says of itself to a person who does not open it: a few numbers, and a page of one file."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import numpy as np
import rasterio

from components.artifacts.base import Artifact
from components.artifacts.map import NODATA, Map
from components.artifacts.report import Report

SUMMARISED = ("Comparison", "Map", "Report")
"""Kinds that have a summary."""


def numbers(artifact: Artifact) -> dict[str, float]:
    """Of a Report or a Comparison its scores; of a Map the share of each class and of pixels mapped, and the mean
    confidence, all 0 to 1.

    Raises:
        GeoductError: the artifact cannot be read.
    """
    if isinstance(artifact, Report):
        return dict(_flat(artifact.metrics))
    if isinstance(artifact, Map):
        return _shares(artifact)
    raise TypeError(f"a {artifact.kind} has no summary")


def page(artifact: Artifact) -> str:
    """One HTML page: a Report's or Comparison's own; of a Map its quicklook, legend and numbers.

    Raises:
        GeoductError: the artifact cannot be read.
    """
    if isinstance(artifact, Report):
        return artifact.page.read_text(encoding="utf-8")
    if isinstance(artifact, Map):
        return _map_page(artifact)
    raise TypeError(f"a {artifact.kind} has no summary")


def _flat(nested: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", float(value)


def _shares(map: Map) -> dict[str, float]:
    counts = np.zeros(256, np.int64)
    confidence = 0
    with rasterio.open(map.classes) as classes, rasterio.open(map.confidence) as sure:
        for _, window in classes.block_windows(1):
            block = classes.read(1, window=window)
            counts += np.bincount(block.ravel(), minlength=256)
            confidence += int(sure.read(1, window=window)[block != NODATA].sum(dtype=np.int64))
    mapped = int(counts.sum() - counts[NODATA])
    found = {"mapped": mapped / int(counts.sum())}
    if mapped:
        found["confidence"] = confidence / mapped / 100
        found |= {f"share.{c.name}": counts[i] / mapped for i, c in enumerate(map.nomenclature) if counts[i]}
    return {name: round(float(value), 6) for name, value in found.items()}


def _map_page(map: Map) -> str:
    shares = _shares(map)
    rows = "".join(
        f'<tr><td style="background:{c.colour}">&nbsp;&nbsp;&nbsp;</td><td>{escape(c.name)}</td>'
        f"<td>{100 * shares[f'share.{c.name}']:.1f} %</td></tr>"
        for c in map.nomenclature
        if f"share.{c.name}" in shares
    )
    picture = base64.b64encode(map.quicklook.read_bytes()).decode()
    title = escape(str(map.item["id"]))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>'
        "body{font:16px system-ui,sans-serif;margin:2rem;max-width:60rem}img{max-width:100%;image-rendering:pixelated}"
        "td{padding:.15rem .6rem}td:last-child{text-align:right}</style></head><body>"
        f"<h1>{title}</h1><p>{100 * shares['mapped']:.1f} % of the pixels are mapped"
        + (f", with a mean confidence of {100 * shares['confidence']:.0f} %" if "confidence" in shares else "")
        + f'.</p><img alt="The map" src="data:image/png;base64,{picture}"><table>{rows}</table></body></html>\n'
    )
