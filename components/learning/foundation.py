"""The family `terratorch`: a backbone of TerraTorch's registry with necks, decoder and head, as its factory builds it.

Importing terratorch takes over ten seconds, so this module is imported only where such a network is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from terratorch.registry import BACKBONE_REGISTRY, DECODER_REGISTRY, MODEL_FACTORY_REGISTRY, NECK_REGISTRY
from torch import nn

from components.artifacts.model import Architecture, Task
from components.errors import GeoductError, first_line, nearest
from components.learning.frames import apart

FACTORY = "EncoderDecoderFactory"
"""TerraTorch's factory for every backbone of its registry."""

_TRAINING_ONLY = ("peft_config", "backbone_pretrained", "backbone_ckpt_path")
"""Arguments of the factory that say where weights come from or how they learn, not what the network is."""


class Foundation(nn.Module):
    """A network of TerraTorch for images of any size that its backbone takes: (n, band, y, x) float32 to logits.

    Of several frames, all bands of the first come first; a network that takes frames apart is given them so.

    Args:
        task: logits (n, class, y, x) for segmentation, (n, class) for classification.
        size: edge in pixels of the images that it was trained on.
        model_args: as in a YAML of TerraTorch, without pretrained weights and LoRA.
        frames: how many the bands belong to.
        moments: year, and day of the year from 0, of each frame, if it learned with them. A composite of other dates
            is met as one of these, since the network has seen no other.
        place: latitude and longitude in degrees of the middle of what it learned from, if it learned with places; it is
            asked with this one, since pixels do not say where they are.

    Raises:
        GeoductError: TerraTorch has no such backbone, or cannot build it from these arguments.
    """

    moments: torch.Tensor | None
    place: torch.Tensor | None

    def __init__(
        self,
        task: Task,
        size: int,
        model_args: Mapping[str, Any],
        frames: int = 1,
        moments: Sequence[Sequence[float]] | None = None,
        place: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.size, self.backbone, self.frames = size, str(model_args["backbone"]), frames
        self.register_buffer("moments", None if moments is None else torch.tensor(moments), persistent=False)
        self.register_buffer("place", None if place is None else torch.tensor(place), persistent=False)
        require_parts(model_args)
        factory = MODEL_FACTORY_REGISTRY.build(FACTORY)
        # The factory takes its arguments apart.
        self.network: nn.Module = factory.build_model(task, **deepcopy(dict(model_args)))
        self.multiple = _multiple(self.network)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        more_y, more_x = -height % self.multiple, -width % self.multiple
        top, left = more_y // 2, more_x // 2
        if more_y or more_x:
            pads = (left, more_x - left, top, more_y - top)
            # Reflection needs more pixels than it adds; an image smaller than that repeats its edge.
            mode = "reflect" if more_y - top < height and more_x - left < width else "replicate"
            image = nn.functional.pad(image, pads, mode=mode)
        beside = {}
        if self.moments is not None:
            beside["temporal_coords"] = self.moments.expand(image.shape[0], -1, -1)
        if self.place is not None:
            beside["location_coords"] = self.place.expand(image.shape[0], -1)
        try:
            logits: torch.Tensor = self.network(apart(image, self.frames), **beside).output
        except (AssertionError, RuntimeError, ValueError) as error:
            if isinstance(error, torch.OutOfMemoryError) or max(height, width) == self.size == min(height, width):
                raise
            raise GeoductError(
                f"the backbone {self.backbone!r} takes no images of {height} x {width} pixels ({first_line(error)}); "
                f"expected {self.size} x {self.size}, on which it was trained"
            ) from error
        return logits if logits.ndim == 2 else logits[..., top : top + height, left : left + width]


def _multiple(network: nn.Module) -> int:
    """What the edges of images have to be a multiple of.

    TerraTorch itself doubles the patch size, so that decoders can halve the grid of patches. A convolutional backbone
    has none; those of its registry halve their input five times.
    """
    patch = getattr(network, "patch_size", None)
    if not patch:
        return 32
    return 2 * int(patch if isinstance(patch, int) else patch[-1])


def require_parts(model_args: Mapping[str, Any]) -> None:
    """Refuse a backbone, a neck or a decoder that TerraTorch's registries do not have.

    Raises:
        GeoductError: no such part; the nearest name is given.
    """
    necks = [("neck", neck.get("name"), NECK_REGISTRY) for neck in model_args.get("necks") or []]
    for what, name, registry in (
        ("backbone", model_args.get("backbone"), BACKBONE_REGISTRY),
        *necks,
        ("decoder", model_args.get("decoder"), DECODER_REGISTRY),
    ):
        if isinstance(name, str) and name not in registry:
            near = nearest(name, {str(entry) for source in registry._sources.values() for entry in source})
            hint = near if "did you mean" in near else ""  # the registry of backbones has thousands
            raise GeoductError(f"the {what} {name!r} is not in TerraTorch's registry{hint}")


def architecture_of(
    task: Task,
    size: int,
    model_args: Mapping[str, Any],
    frames: int = 1,
    moments: Sequence[Sequence[float]] | None = None,
    place: Sequence[float] | None = None,
) -> Architecture:
    """The architecture of what a YAML's `model_args` describe, once LoRA is merged into the weights."""
    plain = {name: value for name, value in model_args.items() if name not in _TRAINING_ONLY}
    if "backbone_kwargs" in plain:
        drop = {name.removeprefix("backbone_") for name in _TRAINING_ONLY}
        plain["backbone_kwargs"] = {name: v for name, v in plain["backbone_kwargs"].items() if name not in drop}
    # Sets of classes come from TerraTorch's network for one class: what the logits mean is the loss's business.
    network: Task = "classification" if task == "multilabel" else task
    arguments: dict[str, Any] = {"task": network, "size": size, "model_args": plain}
    if frames > 1:
        arguments["frames"] = frames
    if moments is not None:
        arguments["moments"] = [list(moment) for moment in moments]
    if place is not None:
        arguments["place"] = list(place)
    return Architecture("terratorch", arguments)
