"""A picture of what a masked autoencoder makes of images that it has not learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from components.artifacts.periods import find_bands
from components.finetune.weights import terratorch_names
from components.pretrain.data import Images

ROWS = 6
EDGE = 160
"""Least edge of one image in pixels; smaller patches are enlarged by a whole number."""
GAP = 6


def draw(network: nn.Module, data: Images, file: Path, seed: int) -> None:
    """Write a PNG: a row for each of a few val patches, in columns the patch, what is seen of it, and its completion.

    Args:
        network: TerraTorch's `PrithviMAE`, in evaluation.
        data: where the patches come from; those shown are spread evenly over the val split.
        file: of the picture.
        seed: of the masks.
    """
    numbers = data.numbers["val"]
    chosen = numbers[np.linspace(0, len(numbers) - 1, min(ROWS, len(numbers))).round().astype(int)]
    image = torch.cat([batch["image"] for batch in data.loader(chosen, learning=False)])
    with torch.inference_mode():
        torch.manual_seed(seed)
        _, painted, mask = network(image)
    if network.norm_pix_loss:
        painted = _on_scale_of(network, image, painted)
    hidden = mask[:, None].bool()
    columns = (image, image.masked_fill(hidden, torch.nan), torch.where(hidden, painted, image))
    shown = _colours(columns, _channels(data.bands))
    enlarge = max(1, -(-EDGE // data.size))
    sheet = np.full((len(chosen) * (cell := data.size * enlarge + GAP) + GAP, 3 * cell + GAP, 3), 255, np.uint8)
    for column, pictures in enumerate(shown):
        for row, picture in enumerate(pictures):
            top, left = GAP + row * cell, GAP + column * cell
            sheet[top : top + cell - GAP, left : left + cell - GAP] = picture.repeat(enlarge, 0).repeat(enlarge, 1)
    Image.fromarray(sheet).save(file, "PNG", optimize=True)


def _on_scale_of(network: Any, image: torch.Tensor, painted: torch.Tensor) -> torch.Tensor:
    """What was painted with mean 0 and variance 1 in each token, on the scale of the token that it stands for."""
    truth, answer = network.patchify(image.unsqueeze(2)), network.patchify(painted.unsqueeze(2))
    spread = (truth.var(dim=-1, keepdim=True) + 1e-6) ** 0.5
    scaled = answer * spread + truth.mean(dim=-1, keepdim=True)
    result: torch.Tensor = network.unpatchify(scaled, image_size=image.shape[-2:]).squeeze(2)
    return result


def _channels(bands: tuple[str, ...]) -> list[int]:
    """Numbers of the bands shown as red, green and blue: those, or the first one as grey."""
    for names, wanted in ((bands, ("B04", "B03", "B02")), (terratorch_names(bands), ("RED", "GREEN", "BLUE"))):
        if (found := find_bands(wanted, names)) is not None:
            return [names.index(band) for band in found]
    return [0, 0, 0]


def _colours(columns: tuple[torch.Tensor, ...], channels: list[int]) -> list[NDArray[np.uint8]]:
    """(n, y, x, 3) for each column, all on the scale of the first; what is hidden is grey."""
    arrays = [column[:, channels].permute(0, 2, 3, 1).numpy() for column in columns]
    low, high = np.percentile(arrays[0], (1, 99), axis=(0, 1, 2))
    scaled = [np.clip((array - low) / np.maximum(high - low, 1e-6), 0, 1) * 255 for array in arrays]
    return [np.nan_to_num(array, nan=128).round().astype(np.uint8) for array in scaled]
