"""Schedules and scores against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from components.learning.learner import macro_f1
from components.learning.task import PatchTask, Schedule, schedule_of


@pytest.mark.parametrize(
    ("schedule", "start", "end"), [("constant", 1 / 21, 1.0), ("cosine", 1 / 21, 0.0), ("onecycle", 1 / 25, 1e-4)]
)
def test_a_schedule_climbs_and_falls_where_it_should(schedule: Schedule, start: float, end: float) -> None:
    factor = schedule_of(schedule, steps=100, warmup=0.2)
    values = [factor(step) for step in range(101)]
    assert values[0] == pytest.approx(start)
    assert values[:21] == sorted(values[:21]) and values[20] == pytest.approx(1.0)
    assert values[20:] == sorted(values[20:], reverse=True) and values[100] == pytest.approx(end)


def test_cosine_is_half_way_down_half_way_through() -> None:
    assert schedule_of("cosine", steps=100, warmup=0.0)(50) == pytest.approx(0.5)


def test_macro_f1_is_the_mean_over_classes_that_occur() -> None:
    confusion = torch.tensor([[3, 1, 0], [1, 5, 2], [0, 0, 0]])  # class 2 is predicted twice and never true
    assert macro_f1(confusion) == pytest.approx((2 * 3 / (4 + 4) + 2 * 5 / (8 + 6)) / 2)
    assert macro_f1(torch.zeros(3, 3, dtype=torch.long)) == 0.0


class Fixed(torch.nn.Module):
    """Gives the same logits to every pixel."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logits[None, :, None, None].expand(len(image), -1, *image.shape[-2:])


def batch(mask: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"image": torch.zeros(len(mask), 1, *mask.shape[1:]), "mask": mask, "index": torch.arange(len(mask))}


def test_the_loss_is_the_weighted_mean_over_labelled_pixels() -> None:
    weights = torch.tensor([1.0, 3.0])
    task = PatchTask(Fixed([0.0, 1.0]), classes=2, ids=["a"], learning_rate=1.0, weights=weights)
    mask = torch.tensor([[[0, 1], [255, 255]]])
    log = torch.log_softmax(torch.tensor([0.0, 1.0]), dim=0)
    assert task.training_step(batch(mask), 0).item() == pytest.approx(float(-(log[0] + 3 * log[1]) / 4))


def test_a_batch_without_labels_is_no_error() -> None:
    task = PatchTask(Fixed([0.0, 1.0]), classes=2, ids=["a"], learning_rate=1.0)
    loss = task.training_step(batch(torch.full((1, 2, 2), 255)), 0)
    loss.backward()
    assert loss.item() == 0.0
