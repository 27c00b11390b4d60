"""The axis of time that temporal networks have and stored pixels do not: one place says how the bands make it up."""

from __future__ import annotations

import torch


def apart(image: torch.Tensor, frames: int) -> torch.Tensor:
    """Images (n, frame x band, y, x), all bands of the first frame first, as (n, band, frame, y, x): a view.

    One frame is no axis: then the images stay as they are.
    """
    if frames == 1:
        return image
    count, bands, height, width = image.shape
    return image.reshape(count, frames, bands // frames, height, width).transpose(1, 2)
