"""A small land of known classes, cut into patches, and models that see it: what the tests of evaluate score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
from scipy.ndimage import gaussian_filter
from shapely.geometry import box

from components.artifacts import Model, PatchSet
from components.artifacts.model import Architecture, Description, write_model
from components.artifacts.nomenclature import Nomenclature
from components.artifacts.patchset import INDEX, checksum, create_patchset
from tests import makers

BANDS = ("B02", "B03", "B04", "B08")
SPECTRA = np.array(
    [
        [300, 500, 400, 3000],
        [900, 1000, 1100, 1500],
        [250, 200, 120, 60],
        [800, 1200, 900, 2600],
        [1500, 1600, 1800, 2200],
    ]
)
"""DN of each class in each of `BANDS`."""


def land(edge: int, classes: int, seed: int = 0, grain: float = 9.0) -> np.ndarray[Any, Any]:
    """A map of classes (edge, edge) with smooth borders."""
    fields = np.random.default_rng(seed).normal(size=(classes, edge, edge))
    return np.stack([gaussian_filter(f, grain) for f in fields]).argmax(0).astype(np.uint8)


def image_of(classes: np.ndarray[Any, Any], noise: float, seed: int = 1) -> np.ndarray[Any, Any]:
    """Reflectance (band, y, x) of a map of classes; one class's DN over all bands is as bright as its spectrum."""
    clean = SPECTRA[classes].transpose(2, 0, 1)
    return np.clip(clean + np.random.default_rng(seed).normal(0, noise, clean.shape), 1, 65535).astype(np.uint16)


def patchset(
    path: Path,
    image: np.ndarray[Any, Any],
    label: np.ndarray[Any, Any],
    names: Nomenclature,
    *,
    size: int,
    block: int,
    splits: str = "train train train val test",
    bands: tuple[str, ...] = BANDS,
) -> PatchSet:
    """A sealed PatchSet of a whole scene in blocks of `block` x `block` patches that take the `splits` in turn."""
    order = splits.split()
    cells = []
    for y in range(0, label.shape[0], size):
        for x in range(0, label.shape[1], size):
            by, bx = y // (size * block), x // (size * block)
            across = -(-label.shape[1] // (size * block))
            cells.append((order[(by * across + bx) % len(order)], f"{by}-{bx}", y, x))
    cells.sort(key=lambda cell: (["train", "val", "test"].index(cell[0]), cell[1:]))
    images = np.stack([image[:, y : y + size, x : x + size] for _, _, y, x in cells])
    labels = np.stack([label[y : y + size, x : x + size] for _, _, y, x in cells])
    train = (
        images[[i for i, cell in enumerate(cells) if cell[0] == "train"]].transpose(1, 0, 2, 3).reshape(len(bands), -1)
    )
    statistics = {
        band: {
            "mean": float(v.mean()),
            "std": float(v.std()),
            "min": float(v.min()),
            "max": float(v.max()),
            **{f"p{q:02d}": float(np.percentile(v, q)) for q in (1, 2, 50, 98, 99)},
        }
        for band, v in zip(bands, train, strict=True)
    }
    split = {"asked": {"train": 0.6, "val": 0.2, "test": 0.2}, "block": 10.0 * size * block, "discarded": 0.25}
    arrays = create_patchset(path, len(cells), size, bands, names, {"statistics": statistics, "split": split})
    for array, values in zip(arrays, (images, labels), strict=True):
        array[...] = values
    counts = np.stack([np.bincount(one[one != 255], minlength=len(names)) for one in labels])
    west, north = 500_000, 7_100_000
    index = geopandas.GeoDataFrame(
        {
            "id": [f"p{y:05d}-{x:05d}" for _, _, y, x in cells],
            "split": [cell[0] for cell in cells],
            "block": [cell[1] for cell in cells],
            "row": [cell[2] for cell in cells],
            "col": [cell[3] for cell in cells],
            "valid_fraction": 1.0,
            "dominant": np.where(counts.sum(1) > 0, counts.argmax(1), -1),
            "crc32c": [checksum(*patch) for patch in zip(images, labels, strict=True)],
            **{f"fraction_{code}": counts[:, i] / size**2 for i, code in enumerate(names.codes)},
        },
        geometry=[
            box(west + 10 * x, north - 10 * (y + size), west + 10 * (x + size), north - 10 * y) for _, _, y, x in cells
        ],
        crs="EPSG:32627",
    )
    index.to_parquet(path / INDEX)
    PatchSet(path).seal({"component": "test"})
    return PatchSet.open(path)


def model(
    path: Path,
    patches: PatchSet,
    *,
    task: str = "segmentation",
    bands: tuple[str, ...] = BANDS,
    names: Nomenclature | None = None,
    architecture: Architecture | None = None,
    weights: dict[str, Any] | None = None,
    history: str = "",
    min_fraction: float | None = None,
) -> Model:
    """A sealed Model for `patches`: the smallest U-Net or CNN there is, with seeded random weights, if no other."""
    import torch

    from components.learning.networks import build, weights_of

    names = names or patches.nomenclature
    architecture = architecture or (
        Architecture(
            "unet",
            {
                "encoder": "timm-mobilenetv3_small_minimal_100",
                "bands": len(bands),
                "classes": len(names),
                "decoder": [16, 16, 8, 8, 8],
            },
        )
        if task == "segmentation"
        else Architecture("timm", {"encoder": "mobilenetv3_small_050", "bands": len(bands), "classes": len(names)})
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = weights or weights_of(build(architecture))
    statistics = {band: patches.statistics.get(band, {"mean": 1000.0, "std": 500.0}) for band in bands}
    description = Description(
        task=task,
        architecture=architecture,
        bands=bands,
        statistics=statistics,
        normalisation="standardise",
        nomenclature=names,
        size=patches.size,
        patches=patches.digest,
        min_fraction=min_fraction,
    )
    write_model(path, description, weights)
    if history:
        (path / "history.csv").write_text(history)
    Model(path).seal({"component": "test"})
    return Model.open(path)


def nearest(patches: PatchSet, classes: int, lost: tuple[str, ...] = ()) -> dict[str, np.ndarray[Any, Any]]:
    """Weights of a convolution `linear` over one pixel of `BANDS` that finds the class whose spectrum is the nearest;
    of the bands `lost` it makes nothing."""
    mean, std = (np.array([patches.statistics[band][name] for band in BANDS]) for name in ("mean", "std"))
    centres = (SPECTRA[:classes] - mean) / std
    centres[:, [BANDS.index(band) for band in lost]] = 0
    # The squared distance to a centre c is |x|² - 2 c·x + |c|²; |x|² is the same for all.
    return {
        "linear.weight": (2 * centres)[:, :, None, None].astype(np.float32),
        "linear.bias": -(centres**2).sum(1).astype(np.float32),
    }


def nomenclature(count: int = 5) -> Nomenclature:
    """The first `count` classes of the land."""
    return makers.nomenclature(count)


def transformer(size: int, classes: int) -> Architecture:
    """A segmenting transformer of TerraTorch with four blocks of few features, for patches of that size in `BANDS`."""
    necks = [
        {"name": "SelectIndices", "indices": [0, 1, 2, 3]},
        {"name": "ReshapeTokensToImage"},
        {"name": "LearnedInterpolateToPyramidal"},
    ]
    arguments = {
        "backbone": "prithvi_eo_v2_tiny_tl",
        "backbone_bands": ["BLUE", "GREEN", "RED", "NIR_BROAD"],
        "backbone_img_size": size,
        "backbone_patch_size": [1, 8, 8],
        "backbone_embed_dim": 32,
        "backbone_depth": 4,
        "backbone_num_heads": 2,
        "backbone_coords_encoding": [],
        "necks": necks,
        "decoder": "UNetDecoder",
        "decoder_channels": [16, 16, 8, 8],
        "num_classes": classes,
    }
    return Architecture("terratorch", {"task": "segmentation", "size": size, "model_args": arguments})
