"""Small PatchSets whose classes can be told apart by known rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
from shapely.geometry import box

from components.artifacts import PatchSet
from components.artifacts.nomenclature import IGNORE
from components.artifacts.patchset import checksum, create_patchset
from tests.makers import nomenclature

BANDS = ("B04", "B08", "B11")
DARK, BRIGHT = 800, 3200
LEARNER: dict[str, Any] = {
    "encoder": "tu-test_resnet",
    "decoder": (16, 16, 8, 8, 8),
    "learning_rate": 5e-3,
    "threads": 1,
}
"""Parameters of `train`: a network of 0.4 M weights that learns these worlds in seconds."""


def land(count: int, size: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels: half-planes of a class, bright in the band of the class's number and dark in the others."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size - 0.5
    label = np.empty((count, size, size), np.uint8)
    for patch in label:
        angle, one, other = rng.uniform(0, 2 * np.pi), *rng.choice(classes, 2, replace=False)
        patch[:] = np.where(np.cos(angle) * x + np.sin(angle) * y > rng.uniform(-0.2, 0.2), one, other)
    bright = label[:, None] == np.arange(len(BANDS))[None, :, None, None]
    image = np.where(bright, BRIGHT, DARK) + rng.normal(0, 300, bright.shape)
    return image.clip(1, 10000).astype(np.uint16), label


def patchset(
    path: Path,
    image: np.ndarray,
    label: np.ndarray,
    classes: int = 3,
    shares: tuple[float, float] = (0.6, 0.2),
    statistics: dict[str, float] | None = None,
    bands: tuple[str, ...] = BANDS,
) -> PatchSet:
    """A sealed PatchSet of these patches; the first `shares` of them are train and val, the rest test."""
    count, size = len(label), label.shape[-1]
    land = nomenclature(classes)
    ends = np.cumsum([round(share * count) for share in shares])
    counts = np.stack([(label == c).sum(axis=(1, 2)) for c in range(classes)], axis=1)
    train = image[: ends[0]].transpose(1, 0, 2, 3).reshape(len(bands), -1).astype(float)
    found = {
        band: {"mean": v.mean(), "std": v.std(), "min": v.min(), "max": v.max()}
        | {f"p{q:02d}": np.percentile(v, q) for q in (1, 2, 50, 98, 99)}
        for band, v in zip(bands, train, strict=True)
    }
    attributes = {"statistics": {b: {**found[b], **(statistics or {})} for b in bands}}
    images, labels = create_patchset(path, count, size, bands, land, attributes)
    images[...], labels[...] = image, label
    splits = np.array(["train", "val", "test"])[np.searchsorted(ends, np.arange(count), side="right")]
    index = geopandas.GeoDataFrame(
        {
            "id": [f"p{i:03d}" for i in range(count)],
            "split": splits,
            "block": np.arange(count),
            "row": np.zeros(count, int),
            "col": np.arange(count) * size,
            "valid_fraction": (image > 0).all(axis=1).mean(axis=(1, 2)),
            "dominant": np.where(counts.sum(axis=1) > 0, counts.argmax(axis=1), -1),
            "crc32c": [checksum(*patch) for patch in zip(image, label, strict=True)],
            **{f"fraction_{c.code}": counts[:, i] / size**2 for i, c in enumerate(land)},
        },
        geometry=[box(i, 0, i + 1, 1) for i in range(count)],
        crs="EPSG:32627",
    )
    index.to_parquet(path / "index.parquet")
    PatchSet(path).seal({})
    return PatchSet.open(path)


def hide(label: np.ndarray, *classes: int) -> np.ndarray:
    """The labels with some classes turned into *ignore*."""
    return np.where(np.isin(label, classes), IGNORE, label).astype(np.uint8)
