"""The learning rate falls from the head to the embeddings, a factor a block."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.errors import GeoductError
from components.finetune.optimisers import blocks, layer_groups


def network(blocks: str = "blocks") -> nn.Module:
    """An embedding, three blocks and a norm as `encoder`, and a head: one weight of two numbers each."""
    encoder = nn.Module()
    encoder.register_parameter("pos_embed", nn.Parameter(torch.zeros(2)))
    encoder.patch_embed = nn.Linear(2, 1, bias=False)
    encoder.add_module(blocks, nn.ModuleList(nn.Linear(2, 1, bias=False) for _ in range(3)))
    encoder.norm = nn.Linear(2, 1, bias=False)
    model = nn.Module()
    model.encoder, model.head = encoder, nn.Linear(2, 1, bias=False)
    return model


def test_blocks_are_the_outermost_numbered_parts() -> None:
    inner = nn.Module()
    inner.layers = nn.ModuleList([nn.Linear(2, 2)])
    inner.adapter = nn.Linear(2, 2)
    model = nn.Module()
    model.encoder = nn.Module()
    model.encoder.stages_0, model.encoder.norm = inner, nn.Linear(2, 2)
    model.decoder = nn.Module()
    model.decoder.blocks = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    assert blocks(model) == [inner, *model.decoder.blocks]


def rates(model: nn.Module, decay: float) -> dict[str, float]:
    groups = layer_groups(model, 1.0, decay)
    by_number = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(by_number) == sum(len(group["params"]) for group in groups)
    return {name: by_number[id(p)] for name, p in model.named_parameters() if id(p) in by_number}


@pytest.mark.parametrize("blocks", ["blocks", "layers", "stages"])
def test_a_rate_a_layer(blocks: str) -> None:
    assert rates(network(blocks), 0.5) == {
        "encoder.pos_embed": 0.5**4,
        "encoder.patch_embed.weight": 0.5**4,
        f"encoder.{blocks}.0.weight": 0.5**3,
        f"encoder.{blocks}.1.weight": 0.5**2,
        f"encoder.{blocks}.2.weight": 0.5,
        "encoder.norm.weight": 1.0,
        "head.weight": 1.0,
    }


def test_what_is_frozen_is_left_out() -> None:
    model = network()
    model.encoder.requires_grad_(False)
    assert rates(model, 0.5) == {"head.weight": 1.0}


def test_a_backbone_without_blocks_is_refused() -> None:
    with pytest.raises(GeoductError, match="the backbone Module has no numbered blocks"):
        layer_groups(network("rest"), 1.0, 0.5)


@pytest.mark.parametrize("decay", [0.0, 1.5])
def test_a_decay_out_of_bounds_is_refused(decay: float) -> None:
    with pytest.raises(GeoductError, match=r"layer_decay is .*; expected more than 0, at most 1"):
        layer_groups(network(), 1.0, decay)
