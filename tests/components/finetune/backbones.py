"""Backbones small enough for tests, and the Weights that they give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.artifacts import Weights
from components.artifacts.weights import Origin, Pretraining, write_weights

TINY: dict[str, Any] = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32}
HLS = ("BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2")


def prithvi(**arguments: Any) -> Any:
    """`prithvi_eo_v2_tiny_tl`, smaller still; weights from torch's generator."""
    from terratorch.registry import BACKBONE_REGISTRY

    return BACKBONE_REGISTRY.build("prithvi_eo_v2_tiny_tl", **{"pretrained": False, **TINY, **arguments})


def weights_of(encoder: Any, path: Path, bands: tuple[str, ...] = HLS, **replaced: Any) -> Weights:
    """The sealed Weights of an encoder; `replaced` are tensors to put in, or None for one to leave out."""
    tensors = {name: values.numpy() for name, values in encoder.state_dict().items()} | replaced
    told = Pretraining("prithvi_eo_v2_tiny_tl", bands, 32, Origin("made for a test"), arguments=TINY)
    write_weights(path, told, {name: values for name, values in tensors.items() if values is not None})
    Weights(path).seal({})
    return Weights.open(path)
