"""Both exported files beside the model itself, on random pixels: how far their logits differ."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.blocks import cores
from components.errors import GeoductError, first_line
from components.export.network import INPUT, OUTPUT, Sizes
from components.learning.normalisation import Scaling

Run = Callable[[NDArray[np.uint16]], NDArray[np.float32]]
"""Pixels (n, band, y, x) as stored to logits."""

Answers = Callable[[NDArray[np.float32]], NDArray[Any]]
"""Logits to what they say, one answer a sample or several."""

_FIXED_BATCHES = (1, 3)


class Check(NamedTuple):
    """How far a file's logits lie from the model's: the `largest` difference, the same as a share of the largest logit
    (`relative`), the share of answers that are another (`changed`), and the `shapes` of the pixels."""

    largest: float
    relative: float
    changed: float
    shapes: list[tuple[int, ...]]


def onnx_run(path: Path) -> Run:
    """The file as onnxruntime runs it on processors.

    Raises:
        GeoductError: onnxruntime cannot load it; the function returned raises one where it cannot run it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.log_severity_level = 4  # its errors come as exceptions too, and it warns of each constant that it folds
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise GeoductError(f"onnxruntime does not load the exported network: {first_line(error)}") from error

    def run(pixels: NDArray[np.uint16]) -> NDArray[np.float32]:
        try:
            (logits,) = session.run([OUTPUT], {INPUT: pixels})
        except Exception as error:
            raise GeoductError(
                f"onnxruntime does not run the exported network on pixels {pixels.shape}: {first_line(error)}"
            ) from error
        found: NDArray[np.float32] = np.asarray(logits, np.float32)
        return found

    return run


def torch_run(path: Path) -> Run:
    """The file as torch.export loads and runs it."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about its own internals here
        module = torch.export.load(path).module()

    def run(pixels: NDArray[np.uint16]) -> NDArray[np.float32]:
        with torch.no_grad():
            found: NDArray[np.float32] = module(torch.from_numpy(pixels)).numpy()
        return found

    return run


def random_pixels(scaling: Scaling, sizes: Sizes, seed: int) -> Iterator[NDArray[np.uint16]]:
    """Batches (n, band, y, x) of several shapes, spread as the statistics say, with pixels and corners of nodata."""
    generator = np.random.default_rng(seed)
    bands = len(scaling.offset)
    if sizes.fixed is not None:
        shapes = [(n, bands, sizes.fixed, sizes.fixed) for n in _FIXED_BATCHES]
    else:
        assert sizes.multiple is not None and sizes.least is not None
        least, step = sizes.least, sizes.multiple
        shapes = [(1, bands, least, least), (3, bands, least + step, least), (2, bands, least, least + 2 * step)]
    for shape in shapes:
        spread = generator.uniform(-2, 2, shape) / scaling.scale[:, None, None]
        pixels = np.clip(scaling.offset[:, None, None] + spread, 1, 65535).astype(np.uint16)
        pixels[generator.random(shape) < 0.01] = 0
        pixels[:, :, : shape[2] // 4, : shape[3] // 3] = 0
        yield pixels


def check(run: Run, expected: Run, batches: Iterator[NDArray[np.uint16]], answers: Answers) -> Check:
    """Compare two ways to run a network, by their logits and by the `answers` that they give."""
    largest, reach, changed, total = 0.0, 0.0, 0, 0
    shapes: list[tuple[int, ...]] = []
    for pixels in batches:
        found, wanted = run(pixels), expected(pixels)
        if found.shape != wanted.shape:
            raise GeoductError(
                f"the exported network gives logits {found.shape} for pixels {pixels.shape}; the model {wanted.shape}"
            )
        difference = np.abs(found.astype(np.float64) - wanted)
        # A logit that is not finite must count as different, which NaN in a comparison would not.
        largest = max(largest, float(np.where(np.isfinite(difference), difference, np.inf).max()))
        reach = max(reach, float(np.abs(wanted).max()))
        differs = answers(found) != answers(wanted)
        changed += int(differs.sum())
        total += differs.size
        shapes.append(pixels.shape)
    return Check(largest, largest / reach if reach else largest, changed / total, shapes)
