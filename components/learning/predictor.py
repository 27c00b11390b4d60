"""From pixels as stored to logits: the one way in which evaluation and prediction use a model, so that they agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from components.artifacts.model import WEIGHTS, Model
from components.errors import GeoductError
from components.learning.networks import build, lay_out, load_weights
from components.learning.normalisation import normalise, scaling_of


class Predictor:
    """A model made ready: evaluation mode, channels-last memory, no gradients.

    Args:
        model: its network, weights, normalisation and statistics.
        bf16: compute in bfloat16 where torch deems it safe: faster, logits right to about 2 digits. Without it the
            same pixels give the same logits.
        device: where to compute, as torch names it.

    Raises:
        GeoductError: the weights do not fit the architecture, or the architecture is unknown.
    """

    def __init__(self, model: Model, *, bf16: bool = False, device: str = "cpu") -> None:
        self.path, self.bands = model.path, model.bands
        self.bf16 = bf16
        self.device = torch.device(device)
        self.scaling = scaling_of(model.statistics, model.bands, model.normalisation)
        network = build(model.architecture)
        load_weights(network, model.weights(), model.path / WEIGHTS)
        network = network.eval().requires_grad_(False).to(self.device)
        self.network = lay_out(network, torch.channels_last)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The bare network on a normalised image (n, band, y, x) float32; logits of that device and precision."""
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits: torch.Tensor = self.network(image)
        return logits

    def __call__(self, pixels: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Logits of pixels as stored.

        Args:
            pixels: (n, band, y, x) uint16 DN with 0 = nodata, bands in the model's order; any height and width.

        Returns:
            float32, (n, class, y, x) for segmentation and (n, class) for classification and multilabel, where each
            class has a sigmoid of its own instead of a softmax with the others. What the network makes of nodata pixels
            is in it as well: leave them out by the pixels.

        Raises:
            GeoductError: another number of bands or of dimensions, or another type; the network's answer is no number.
        """
        if pixels.ndim != 4 or pixels.shape[1] != len(self.bands) or pixels.dtype != np.uint16:
            raise GeoductError(
                f"the model takes pixels (n, {len(self.bands)}, y, x) uint16 with the bands {', '.join(self.bands)}; "
                f"got {pixels.shape} {pixels.dtype}"
            )
        image = torch.empty(pixels.shape, dtype=torch.float32, memory_format=torch.channels_last)
        planar: NDArray[Any] = np.empty(pixels.shape[1:], np.float32)
        for position, patch in enumerate(pixels):
            normalise(patch, self.scaling, planar)
            image[position] = torch.from_numpy(planar)
        logits = self.forward(image.to(self.device))
        result: NDArray[np.float32] = logits.float().cpu().numpy()
        if not np.isfinite(result.sum(dtype=np.float64)):
            raise GeoductError(
                f"the model {self.path} answers with what is no number (NaN or infinite); it has to be trained anew"
                + (", or asked with precision 32" if self.bf16 else "")
            )
        return result
