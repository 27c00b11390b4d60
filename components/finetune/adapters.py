"""LoRA merged into the weights that it adapts, so that a Model is a plain network without peft."""

from __future__ import annotations

import torch
from peft import PeftModel
from terratorch.models.peft_utils import QKVSep
from torch import nn


def merge(model: nn.Module) -> nn.Module:
    """Merge the adapters around the `encoder` of a TerraTorch model, in place; one without adapters stays as it is.

    TerraTorch splits the joint projection of queries, keys and values before it adapts them; it is joined again.
    """
    encoder = model.get_submodule("encoder")
    if isinstance(encoder, PeftModel):
        merged: nn.Module = encoder.merge_and_unload()
        model.encoder = merged
        for name, module in list(merged.named_modules()):
            if isinstance(module, QKVSep):
                parent, _, own = name.rpartition(".")
                setattr(merged.get_submodule(parent), own, _joined(module))
    return model


def _joined(split: QKVSep) -> nn.Linear:
    parts = [split.q_linear, split.k_linear, split.v_linear]
    whole = nn.Linear(split.in_features, 3 * split.in_features, bias=parts[0].bias is not None)
    with torch.no_grad():
        whole.weight.copy_(torch.cat([part.weight for part in parts]))
        if whole.bias is not None:
            whole.bias.copy_(torch.cat([part.bias for part in parts]))
    return whole
