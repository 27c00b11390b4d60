"""What cannot be divided among ranks is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from components.errors import GeoductError
from components.learning.sharding import Sharded, shard
from components.learning.timing import Timing

NO_MESH = cast(Any, None)


class Scaled(nn.Module):
    """A layer with a factor of its own."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layer, self.factor = nn.Linear(2, 2), nn.Parameter(torch.ones(shape))


def test_a_single_number_has_no_parts() -> None:
    with pytest.raises(GeoductError, match=r"the weight 0\.factor is a single number.* expected strategy ddp"):
        shard(nn.Sequential(Scaled(())), [], NO_MESH)


def test_a_weight_outside_of_all_modules_is_refused() -> None:
    with pytest.raises(GeoductError, match="the weight factor is in no module"):
        shard(Scaled((2,)), [], NO_MESH)


def test_its_steps_are_not_measured(tmp_path: Any) -> None:
    trainer = cast(Any, SimpleNamespace(accumulate_grad_batches=1, strategy=Sharded()))
    with pytest.raises(GeoductError, match=r"no step does without exchange; .* trainer\.strategy=ddp"):
        Timing(tmp_path / "times.json", 1).on_train_start(trainer, cast(Any, None))
