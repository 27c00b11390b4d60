"""The tool `geoduct weights convert`: a checkpoint at hand, checked, and kept as an artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from components.contract import File, Ge, Output, Unit

if TYPE_CHECKING:
    from components.artifacts import Weights


def convert(
    to: Output[Weights],
    *,
    file: Annotated[str, File()] = "",
    backbone: str = "",
    bands: tuple[str, ...] | None = None,
    size: Annotated[int, Ge(1), Unit("pixels")] = 224,
    licence: str | None = None,
    arguments: tuple[str, ...] | None = None,
) -> None:
    """Take the weights of a backbone from a checkpoint at hand, and keep them as an artifact that finetune reads.

    Only tensors are read: a file that is pickled with code is refused. They are renamed as TerraTorch's backbone names
    them, and tried on it; tensors of the pretraining's own head are left out, anything else that does not fit is
    refused.

    Args:
        to: the weights
        file: a checkpoint, .pt, .pth or .safetensors
        backbone: its name in TerraTorch's registry
        bands: that it was pre-trained on, in order, by Sentinel-2's names or TerraTorch's; those published by default
        size: edge of the images that it was pre-trained on
        licence: of the weights, to be recorded
        arguments: what the backbone is built with beyond its name's defaults, as key=value, for instance embed_dim=128
    """
    import hashlib
    from pathlib import Path

    import yaml

    from components.artifacts.weights import Origin
    from components.errors import GeoductError
    from components.weights.backbone import describe, write
    from components.weights.checkpoint import read_tensors

    if not backbone:
        raise GeoductError("weights convert needs --backbone, the backbone's name in TerraTorch's registry")
    more = {}
    for word in arguments or ():
        key, equals, value = word.partition("=")
        if not (key.isidentifier() and equals):
            raise GeoductError(f"--arguments holds {word!r}; expected key=value, for instance embed_dim=128")
        more[key] = yaml.safe_load(value)
    path = Path(file)
    tensors = read_tensors(path)
    with path.open("rb") as data:
        sha256 = hashlib.file_digest(data, "sha256").hexdigest()
    origin = Origin(f"converted from {path.name}", licence=licence, sha256=sha256)
    write(to.path, describe(backbone, bands, size, origin, more), tensors, str(path))
