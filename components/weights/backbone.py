"""A checkpoint's tensors as Weights: renamed as TerraTorch's backbone names them, and tried on that very backbone."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from components.artifacts.weights import Origin, Pretraining, write_weights
from components.errors import GeoductError, first_line, nearest
from components.finetune.bands import FAMILIES, published
from components.finetune.weights import Tensors, match, rename, terratorch_names
from components.learning.importing import import_terratorch
from components.progress import say


def describe(
    backbone: str, bands: tuple[str, ...] | None, size: int, origin: Origin, arguments: Mapping[str, Any]
) -> Pretraining:
    """What is to be said of weights; bands and statistics that are published need not be given.

    Raises:
        GeoductError: no bands are given, nor published.
    """
    known = next((found for start, found in FAMILIES.items() if backbone.startswith(start)), None)
    if bands is None and known is None:
        raise GeoductError(f"the bands that {backbone!r} was pre-trained on are not known; name them with --bands")
    names = terratorch_names(bands or published(backbone).bands)
    statistics = None
    if known is not None and names == terratorch_names(known.bands):
        columns = zip(names, known.mean, known.std, strict=True)
        statistics = {band: {"mean": mean, "std": std} for band, mean, std in columns}
    return Pretraining(backbone, names, size, origin, arguments, statistics)


def build(told: Pretraining) -> nn.Module:
    """The backbone that weights are of, with random tensors.

    Raises:
        GeoductError: TerraTorch has no such backbone, or its arguments do not build it.
    """
    import_terratorch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from terratorch.registry import BACKBONE_REGISTRY

        if told.backbone not in BACKBONE_REGISTRY:
            known = [str(name) for name in BACKBONE_REGISTRY]
            raise GeoductError(f"TerraTorch has no backbone {told.backbone!r}{_near(told.backbone, known)}")
        try:
            built: nn.Module = BACKBONE_REGISTRY.build(told.backbone, **_input(told), **told.arguments)
        except Exception as error:  # each source of backbones refuses in its own way
            raise GeoductError(
                f"the backbone {told.backbone!r} cannot be built with the bands {', '.join(told.bands)} and "
                f"{dict(told.arguments) or 'no further arguments'}: {first_line(error)}"
            ) from None
    return built


def _near(name: str, known: list[str]) -> str:
    hint = nearest(name, known)
    return hint if "did you mean" in hint else f"; it knows {len(known)}, such as prithvi_eo_v2_tiny_tl"


def _input(told: Pretraining) -> dict[str, Any]:
    """How the bands are told to a backbone, which each of TerraTorch's sources names differently."""
    if told.backbone.startswith("terramind"):
        return {"modalities": ["S2L2A"]}
    if told.backbone.startswith("prithvi_eo"):
        return {"bands": list(told.bands), "img_size": told.size}
    if told.backbone.startswith(("ssl4eo", "dofa", "satlas", "scalemae")):
        return {"model_bands": list(told.bands)}
    return {"in_chans": len(told.bands)}


def write(path: Path, told: Pretraining, tensors: Tensors, source: str) -> None:
    """Write Weights of a checkpoint's tensors, once all of them have been loaded into the backbone.

    Raises:
        GeoductError: they do not fit; `source` names their file in the sentence.
    """
    import numpy as np

    encoder = build(told)
    named = rename(encoder, tensors)
    matched = match(encoder, named, told.bands, told.bands, f"{source} as {told.backbone}")
    left = len(tensors) - len(named)
    say(f"weights: {told.backbone}: {matched}" + (f"; {left} of the pretraining's own head left out" if left else ""))
    # 16-bit floats of torch have no counterpart in numpy, and the network computes from 32 bits anyhow.
    values = {name: t.float() if t.is_floating_point() else t for name, t in named.items()}
    write_weights(path, told, {name: np.asarray(values[name].numpy()) for name in sorted(values)})
