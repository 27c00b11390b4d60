"""One rank of a run whose network has no batch normalisation, so that only the gradients join the ranks."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from components.artifacts import PatchSet
from components.learning.datamodule import PatchDataModule
from components.learning.fitting import fit, session
from components.learning.task import PatchTask
from components.ranks import here, together


def main(patches: str, folder: str, batch_size: str) -> None:
    """Fit; a batch that is the whole split, over all ranks, is the same however many share it."""
    with together(here()) as ranks, session(1):
        data = PatchDataModule(
            PatchSet.open(patches), task="segmentation", batch_size=int(batch_size), augment=False, ranks=ranks.size
        )
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 3, 1))
        task = PatchTask(network, classes=3, ids=data.ids, learning_rate=1e-2)
        fitted = fit(task, data, Path(folder), ranks=ranks, epochs=5, patience=0, accelerator="cpu")
        torch.save((network.state_dict(), fitted.history), Path(folder) / f"rank-{ranks.rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
