"""Layer-wise decay of the learning rate: what a backbone learned first, its early layers, is changed least."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from components.errors import GeoductError

_BLOCK = re.compile(r"(?:^|\.)(?:blocks|layers?|stages)[._](\d+)(?:\.|$)")
"""The number of a block in a parameter's name: `blocks.3.` of transformers, `stages_3.` and `layers.3.` of others."""


def blocks(model: nn.Module) -> list[nn.Module]:
    """The outermost numbered blocks of a network, backbone and decoder, in the order in which they were declared."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        last = _BLOCK.search(name)
        if last and last.end() == len(name) and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = module
    return list(found.values())


def layer_groups(model: nn.Module, rate: float, decay: float) -> list[dict[str, Any]]:
    """Groups of parameters for an optimiser, one a layer, each with its learning rate.

    The rate of layer i of n + 1 is `rate * decay ** (n + 1 - i)` (Bao et al. 2021, "BEiT"): layer 0 is what stands
    before the first of the backbone's n blocks (embeddings), layer i block i, layer n + 1 what comes after the last,
    and all beside the backbone learns at the full rate too. Parameters that do not learn are left out.

    Args:
        model: a network whose backbone is its `encoder`.
        rate: of the decoder and the head.
        decay: factor from a block to the one before it, more than 0, at most 1.

    Raises:
        GeoductError: the decay is out of bounds, or the backbone has no numbered blocks.
    """
    if not 0 < decay <= 1:
        raise GeoductError(f"model.init_args.layer_decay is {decay:g}; expected more than 0, at most 1")
    encoder = model.get_submodule("encoder")
    numbers = {name: int(found[1]) for name, _ in encoder.named_parameters() if (found := _BLOCK.search(name))}
    if not numbers:
        raise GeoductError(
            f"model.init_args.layer_decay is {decay:g}, but the backbone {type(encoder).__name__} has no numbered "
            "blocks to let it decay over; expected 1"
        )
    depth = max(numbers.values()) + 1
    layers: dict[int, list[nn.Parameter]] = {}
    reached = 0
    own = set()
    for name, parameter in encoder.named_parameters():
        own.add(id(parameter))
        # Modules stand in the order in which they were declared: embeddings, blocks, last normalisation.
        reached = numbers[name] + 1 if name in numbers else (depth + 1 if reached else 0)
        if parameter.requires_grad:
            layers.setdefault(reached, []).append(parameter)
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
    layers.setdefault(depth + 1, []).extend(rest)
    return [{"params": members, "lr": rate * decay ** (depth + 1 - layer)} for layer, members in sorted(layers.items())]
