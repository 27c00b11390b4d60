"""The networks: a U-Net for a class a pixel, a CNN for a class a patch or several, and what TerraTorch builds.

An `Architecture` (a name and JSON arguments) says all that is needed to build one again without its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from components.artifacts.model import Architecture, Task
from components.artifacts.tensors import Tensors
from components.errors import GeoductError, nearest
from components.learning.importing import import_terratorch

STRIDE = 32
"""A U-Net halves its input five times."""


class UNet(nn.Module):
    """A U-Net for images of any size: (n, band, y, x) float32 to logits (n, class, y, x).

    Sizes that cannot be halved five times are padded by reflection, evenly on both sides, and cut again.
    """

    def __init__(self, encoder: str, bands: int, classes: int, decoder: list[int]) -> None:
        import segmentation_models_pytorch as smp

        super().__init__()
        self.network = smp.Unet(
            encoder, encoder_weights=None, in_channels=bands, classes=classes, decoder_channels=decoder
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        more_y, more_x = -height % STRIDE, -width % STRIDE
        top, left = more_y // 2, more_x // 2
        if more_y or more_x:
            pads = (left, more_x - left, top, more_y - top)
            # Reflection needs more pixels than it adds; an image smaller than that repeats its edge.
            mode = "reflect" if more_y - top < height and more_x - left < width else "replicate"
            image = nn.functional.pad(image, pads, mode=mode)
        logits: torch.Tensor = self.network(image)
        return logits[..., top : top + height, left : left + width]


def _timm(encoder: str, bands: int, classes: int) -> nn.Module:
    import timm

    network: nn.Module = timm.create_model(encoder, in_chans=bands, num_classes=classes)
    return network


def _terratorch(**arguments: Any) -> nn.Module:
    import_terratorch()
    from components.learning.foundation import Foundation

    return Foundation(**arguments)


FAMILIES: dict[str, Callable[..., nn.Module]] = {"unet": UNet, "timm": _timm, "terratorch": _terratorch}
"""Name of an architecture → what builds it from its arguments, with random weights."""

DECODER = (128, 64, 32, 16, 16)
"""Channels of the U-Net's decoder from coarse to fine: half of smp's, 1.4 times as fast on a CPU with ResNet-18."""


def design(task: Task, encoder: str, *, bands: int, classes: int, decoder: Sequence[int] = DECODER) -> Architecture:
    """The architecture for a task over an encoder named as timm or smp names it; `decoder` is the U-Net's alone.

    Raises:
        GeoductError: no such encoder; the nearest name is given.
    """
    import timm

    known = set(timm.list_models())
    if task != "segmentation":
        if encoder not in known:
            raise GeoductError(f"--encoder {encoder!r} is not in timm's list{_near(encoder, known)}")
        return Architecture("timm", {"encoder": encoder, "bands": bands, "classes": classes})
    from segmentation_models_pytorch.encoders import encoders

    plain = encoder.removeprefix("tu-")  # smp's prefix for encoders that it takes from timm
    name = encoder if encoder in encoders else f"tu-{plain}"
    if encoder not in encoders and plain not in known:
        raise GeoductError(
            f"--encoder {encoder!r} is in neither smp's nor timm's list{_near(encoder, known | set(encoders))}"
        )
    return Architecture("unet", {"encoder": name, "bands": bands, "classes": classes, "decoder": list(decoder)})


def _near(encoder: str, known: set[str]) -> str:
    hint = nearest(encoder, known)
    return hint if "did you mean" in hint else "; for instance 'resnet18' or 'efficientnet_b0'"


def build(architecture: Architecture) -> nn.Module:
    """The network of an architecture, in train mode, with random weights from torch's generator.

    Raises:
        GeoductError: the family is unknown, or the arguments do not build one.
    """
    if architecture.name not in FAMILIES:
        raise GeoductError(f"a model's architecture is {architecture.name!r}{nearest(architecture.name, FAMILIES)}")
    try:
        return FAMILIES[architecture.name](**architecture.arguments)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise GeoductError(
            f"the architecture {architecture.name!r} cannot be built from {dict(architecture.arguments)}: {error}"
        ) from None


def lay_out(network: nn.Module, layout: torch.memory_format) -> nn.Module:
    """Give the weights of two-dimensional convolutions a memory layout; torch's own way trips over other ones."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return network


def weights_of(network: nn.Module) -> dict[str, Any]:
    """All tensors of a network as numpy arrays by name."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}


def load_weights(network: nn.Module, weights: Tensors, where: object) -> None:
    """Put tensors into a network; `where` names their file in the sentence.

    Raises:
        GeoductError: a tensor is missing, is one too many, or has another shape.
    """
    expected = network.state_dict()
    if missing := sorted(expected.keys() - weights.keys()):
        raise GeoductError(f"{where} lacks the tensor {missing[0]!r} of its architecture")
    if strange := sorted(weights.keys() - expected.keys()):
        raise GeoductError(f"{where} has a tensor {strange[0]!r}, which its architecture does not know")
    for name, values in weights.items():
        shape = tuple(expected[name].shape)
        if values.shape != shape:
            raise GeoductError(f"{where}: tensor {name!r} has shape {values.shape}; its architecture expects {shape}")
    network.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
