"""The network as it is exported: normalisation and network in one, traced for the sizes that it can take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.export import export as trace

from components.errors import first_line
from components.learning.networks import STRIDE
from components.learning.normalisation import Scaling

INPUT, OUTPUT = "pixels", "logits"


class FromPixels(nn.Module):
    """DN as stored, uint16 (n, band, y, x) with 0 = nodata, to logits, by the steps of `normalise` and the network."""

    offset: torch.Tensor
    scale: torch.Tensor

    def __init__(self, network: nn.Module, scaling: Scaling) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("offset", torch.from_numpy(scaling.offset)[:, None, None])
        self.register_buffer("scale", torch.from_numpy(scaling.scale)[:, None, None])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        image = pixels.to(torch.float32)
        image = torch.where(image == 0, torch.zeros_like(image), (image - self.offset) * self.scale)
        logits: torch.Tensor = self.network(image)
        return logits


class Sizes(NamedTuple):
    """Edges of images that a traced network takes: multiples of `multiple`, at least `least`, or `fixed` alone."""

    multiple: int | None = None
    least: int | None = None
    fixed: int | None = None


class Traced(NamedTuple):
    """A network as a graph, and the sizes that it takes; `refused` says why it takes one size alone."""

    program: ExportedProgram
    sizes: Sizes
    refused: str | None


def trace_network(network: FromPixels, *, bands: int, size: int, one_size: str | None) -> Traced:
    """Trace a network in evaluation mode for any batch, and for images of any size if its code allows it, otherwise of
    the edge `size`; `one_size` says why it is to be traced for that one alone, if it is.

    torch.export traces one path through the code. A U-Net's is the same for all sizes that need no padding; a
    transformer that was built for one size takes that size alone.

    Raises:
        RuntimeError: torch cannot trace the network at all.
    """
    multiple = int(getattr(network.network, "multiple", STRIDE))
    refused = one_size or _pads_by_size(network)
    program = None
    if refused is None:
        edge = max(2, -(-size // multiple)) * multiple
        dims = {0: Dim("batch"), 2: multiple * Dim("rows"), 3: multiple * Dim("columns")}
        try:
            program = _trace(network, torch.zeros((2, bands, edge, edge), dtype=torch.uint16), dims)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            refused = first_line(error)
    sizes = Sizes(multiple=multiple, least=2 * multiple)  # torch.export takes sizes of 0 and 1 for special cases
    if program is None:
        program = _trace(network, torch.zeros((2, bands, size, size), dtype=torch.uint16), {0: Dim("batch")})
        sizes = Sizes(fixed=size)
    # Otherwise the file holds the pixels of the trace, and the paths of this machine's Python files.
    program.example_inputs = None
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return Traced(program, sizes, refused)


def _pads_by_size(network: nn.Module) -> str | None:
    """Why a network is not traced for any size: layers that pad by the image's size tie torch up for hours."""
    from timm.layers.conv2d_same import Conv2dSame
    from timm.layers.pool2d_same import AvgPool2dSame, MaxPool2dSame

    if any(isinstance(layer, Conv2dSame | AvgPool2dSame | MaxPool2dSame) for layer in network.modules()):
        return "its layers pad by the size of the image"
    return None


def _trace(network: FromPixels, pixels: torch.Tensor, dims: Mapping[int, object]) -> ExportedProgram:
    with torch.no_grad():
        return trace(network, (pixels,), dynamic_shapes=(dims,), strict=False)
