"""Fully sharded training (torch's FSDP2): each rank keeps its part of the weights, gradients and optimiser's state.

A block of the network is put together from its parts for as long as it computes, forward and backward. What a rank has
to hold for good is thus divided by the number of ranks, for more traffic between them than DDP's. A checkpoint is the
one whole file that a run without sharding writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.strategies.parallel import ParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from components.errors import GeoductError

_NETWORKS = ("state_dict", "current_model_state")
"""Entries of a checkpoint that hold a network's tensors; the second where weights are averaged."""


def shard(network: nn.Module, blocks: Iterable[nn.Module], mesh: DeviceMesh) -> None:
    """Divide the weights of a network among the ranks of a mesh, in place.

    Args:
        network: consists of modules that are called one after the other, such as encoder, decoder and head.
        blocks: parts of these, each put together for its own call; what is in none, while the module computes.
        mesh: of one dimension.

    Raises:
        GeoductError: a weight is a single number, which has no parts, or belongs to none of the modules.
    """
    if single := next((name for name, weight in network.named_parameters() if weight.ndim == 0), None):
        raise GeoductError(f"the weight {single} is a single number, which fsdp2 cannot divide; expected strategy ddp")
    if loose := next((name for name, _ in network.named_parameters(recurse=False)), None):
        raise GeoductError(f"the weight {loose} is in no module that fsdp2 could divide; expected strategy ddp")
    # Not the network itself: torch swaps the class of what it divides, and that of TerraTorch's models does not let it.
    modules = [module for module in network.children() if next(module.parameters(), None) is not None]
    for part in (*blocks, *modules):
        # Taken apart again after each call: after validation others look at the weights.
        fully_shard(part, mesh=mesh, reshard_after_forward=True)


def align_buffers(network: nn.Module) -> None:
    """Give every rank the buffers of rank 0, such as the means of batch normalisation, as DDP does."""
    for buffer in network.buffers():
        dist.broadcast(buffer, 0)


def whole(values: Any) -> Any:
    """Dictionaries and lists of values with each divided tensor put together; all ranks take part.

    On ranks other than 0 such a tensor is None afterwards.
    """
    match values:
        case DTensor():
            tensor = values.full_tensor().detach()
            return tensor.cpu() if dist.get_rank() == 0 else None
        case dict():
            return {name: whole(value) for name, value in values.items()}
        case list():
            return [whole(value) for value in values]
    return values


def _part(value: Any, place: Any) -> Any:
    """This rank's part of a whole tensor that belongs to `place`, divided alike and in memory of its own."""
    if not isinstance(place, DTensor) or not isinstance(value, torch.Tensor) or value.shape != place.shape:
        return value
    part = torch.empty_like(place, dtype=value.dtype, requires_grad=False)
    return part.copy_(distribute_tensor(value, place.device_mesh, place.placements, src_data_rank=None))


class Sharded(ModelParallelStrategy):
    """Lightning's strategy for FSDP2 over all ranks, with whole checkpoints, averaged weights included.

    A YAML names it by `class_path: components.learning.sharding.Sharded`. The task divides its network in
    `configure_model`. Lightning's own class would write the parts of averaged weights as they are and could not read
    them back, and takes the GPUs of a single node for ones that split each matrix among them.
    """

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    # What follows is as for any strategy that does not divide networks; `save_checkpoint` puts them together.

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return ParallelStrategy.lightning_module_state_dict(self)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        ParallelStrategy.load_model_state_dict(self, checkpoint, strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return ParallelStrategy.optimizer_state(self, optimizer)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        ParallelStrategy.load_optimizer_state_dict(self, checkpoint)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        ParallelStrategy.save_checkpoint(self, whole(checkpoint), filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        checkpoint = ParallelStrategy.load_checkpoint(self, checkpoint_path, weights_only)
        module = cast(nn.Module, self.lightning_module)
        places = module.state_dict()
        for key in checkpoint.keys() & set(_NETWORKS):
            checkpoint[key] = {name: _part(value, places.get(name)) for name, value in checkpoint[key].items()}
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=False):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            saved["state"] = {
                number: {name: _part(value, weights[number]) for name, value in state.items()}
                for number, state in saved["state"].items()
            }
        return checkpoint
