"""Composites of given pixels, and models that answer what the test says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from components.artifacts.composite import Composite, create_composite
from components.artifacts.model import Architecture, Description, Model, Task, write_model
from components.learning.networks import build, design, weights_of
from tests.makers import geobox, nomenclature

BANDS = ("B02", "B03", "B08")


def composite(
    path: Path,
    pixels: NDArray[np.uint16],
    bands: tuple[str, ...] = BANDS,
    dates: tuple[str, str] = ("2023-06-01T00:00:00Z", "2023-08-31T00:00:00Z"),
) -> Composite:
    """A sealed Composite of `pixels` (band, y, x)."""
    reflectance, observations = create_composite(path, geobox(*pixels.shape[1:]), bands, *dates)
    reflectance[...] = pixels
    observations[...] = (pixels != 0).all(axis=0)
    Composite(path).seal({})
    return Composite.open(path)


def scene(height: int, width: int, bands: int = len(BANDS), seed: int = 0) -> NDArray[np.uint16]:
    """Valid noise (band, y, x)."""
    return np.random.default_rng(seed).integers(1, 4000, (bands, height, width), dtype=np.uint16)


def model(path: Path, task: Task = "segmentation", classes: int = 3, size: int = 32, constant: bool = False) -> Model:
    """A tiny model with random weights; a constant one answers the same whatever it sees."""
    torch.manual_seed(0)
    encoder = "tu-test_resnet" if task == "segmentation" else "test_resnet"
    architecture: Architecture = design(task, encoder, bands=len(BANDS), classes=classes, decoder=(8, 8, 8, 8, 8))
    weights = weights_of(build(architecture))
    if constant:
        last = [name for name in weights if weights[name].shape == (classes,)][-1]
        weights = {name: np.zeros_like(values) for name, values in weights.items()}
        weights[last] = np.linspace(0, 1, classes, dtype=np.float32)
    statistics = {band: {"mean": 2000.0, "std": 1000.0} for band in BANDS}
    least = 0.01 if task == "multilabel" else None
    description = Description(
        task, architecture, BANDS, statistics, "standardise", nomenclature(classes), size, "sha256:abc", least
    )
    write_model(path, description, weights)
    Model(path).seal({})
    return Model.open(path)
