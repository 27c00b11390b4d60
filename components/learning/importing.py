"""The one place where TerraTorch is imported first: it calls nobody then, and leaves torch as it was."""

from __future__ import annotations

import importlib
import os
import warnings

_SILENT = {
    "HF_HUB_OFFLINE": "1",  # weights are an input, staged before
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "LIGHTLY_DID_VERSION_CHECK": "True",
}
"""What keeps TerraTorch's libraries from calling out; in the image containers/Dockerfile sets the same."""


def import_terratorch() -> None:
    """Import terratorch, which takes over ten seconds the first time.

    Its libraries look for newer versions of themselves over the network unless the environment forbids it. And it has
    torch round the products of matrices to bfloat16 or TF32, in networks of others too: that is set back.
    """
    for name, value in _SILENT.items():
        os.environ.setdefault(name, value)
    import torch

    exactness = torch.get_float32_matmul_precision()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("terratorch.registry")
    torch.set_float32_matmul_precision(exactness)
