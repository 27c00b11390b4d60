"""The run of export: trace the network, write it for both runtimes, check both, and say what goes in and comes out."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from components import __version__
from components.artifacts.export import DESCRIPTION, ONNX, TORCH
from components.artifacts.model import Model
from components.errors import GeoductError, first_line
from components.export.check import Answers, check, onnx_run, random_pixels, torch_run
from components.export.network import INPUT, OUTPUT, FromPixels, Sizes, Traced, trace_network
from components.learning.predictor import Predictor
from components.learning.sets import SAID
from components.progress import say

if TYPE_CHECKING:
    from onnx_ir import Function, Graph
    from onnx_ir import Model as OnnxModel

MOST_INSIDE = 1 << 30
"""Bytes of weights up to which they stand in model.onnx itself; a file of protobuf holds less than twice that."""


def write_export(model: Model, folder: Path, *, any_size: bool, opset: int, tolerance: float, seed: int) -> None:
    """Write an Export's files into `folder`.

    Raises:
        GeoductError: the network cannot be exported, or an exported file answers otherwise than the model.
    """
    predictor = Predictor(model)
    for tensor in predictor.network.parameters():
        tensor.data = tensor.data.contiguous()  # files in the layout that every runtime expects
    network = FromPixels(predictor.network, predictor.scaling).eval()
    folder.mkdir(parents=True, exist_ok=True)
    say("export: tracing the network")
    with _hushed():
        try:
            one_size = _one_size(model) if any_size else "as asked for"
            traced = trace_network(network, bands=len(model.bands), size=model.size, one_size=one_size)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            raise GeoductError(f"torch cannot export the network of {model.path}: {first_line(error)}") from error
        if traced.refused:
            say(f"export: for images of {model.size} x {model.size} pixels alone: {traced.refused}")
        description = _description(model, predictor, traced.sizes)
        torch.export.save(traced.program, folder / TORCH)
        say("export: writing it as ONNX")
        _write_onnx(traced, folder / ONNX, opset, description, model)
    say("export: running both beside the model")
    checks: dict[str, Any] = {"tolerance": tolerance, "seed": seed}
    for name, run in (("onnx", onnx_run(folder / ONNX)), ("torch", torch_run(folder / TORCH))):
        found = check(run, predictor, random_pixels(predictor.scaling, traced.sizes, seed), _answers(model))
        if not found.relative <= tolerance:
            raise GeoductError(
                f"the {name} export of {model.path} answers otherwise than the model: a logit differs by "
                f"{found.largest:.3g}, {found.relative:.3g} of the largest; --tolerance is {tolerance:g}"
            )
        say(f"export: {name} differs by at most {found.largest:.2g}, {found.relative:.1g} of the largest logit")
        checks[name] = found._asdict()
    (folder / DESCRIPTION).write_text(json.dumps({**description, "checks": checks}, indent=1) + "\n")


def _answers(model: Model) -> Answers:
    """What logits say: the likeliest class, or of each class whether it is there."""
    return (lambda logits: logits > SAID) if model.task == "multilabel" else (lambda logits: logits.argmax(1))


def _one_size(model: Model) -> str | None:
    """Why a model is exported for the size of its patches alone, where its family says it before anything is traced.

    Transformers fit their position embedding to the image in code that torch.export traces for every size without a
    complaint, while the ONNX file that comes of it runs at the size of the trace alone.
    """
    return "a network of TerraTorch" if model.architecture.name == "terratorch" else None


def _description(model: Model, predictor: Predictor, sizes: Sizes) -> dict[str, Any]:
    """What goes in and comes out."""
    planar = ["y", "x"] if sizes.fixed is None else [sizes.fixed, sizes.fixed]
    classes = len(model.nomenclature)
    return {
        "task": model.task,
        "input": {
            "name": INPUT,
            "type": "uint16",
            "shape": ["batch", len(model.bands), *planar],
            "edge": {name: value for name, value in sizes._asdict().items() if value is not None},
            "unit": "DN, reflectance x 10000, as Geoduct stores it",
            "nodata": 0,
        },
        "output": {
            "name": OUTPUT,
            "type": "float32",
            "shape": ["batch", classes, *planar] if model.task == "segmentation" else ["batch", classes],
            "meaning": _meaning(model),
        },
        "bands": model.bands,
        "normalisation": {
            "done": "inside the network: (DN - offset) * scale by band, and 0 where DN is 0",
            "name": model.normalisation,
            "offset": predictor.scaling.offset.tolist(),
            "scale": predictor.scaling.scale.tolist(),
            "statistics": model.statistics,
        },
        "nomenclature": model.nomenclature.to_dict(),
        "model": model.digest,
        "version": __version__,
    }


def _meaning(model: Model) -> str:
    """How the logits are to be read."""
    if model.min_fraction is not None:
        return (
            "logits; the sigmoid of each gives the probability that the patch holds the class, which is to cover at "
            f"least the share {model.min_fraction:g} of its pixels"
        )
    return "logits; their softmax over axis 1 gives probabilities; leave out pixels of nodata"


def _write_onnx(traced: Traced, path: Path, opset: int, description: dict[str, Any], model: Model) -> None:
    try:
        exported = torch.onnx.export(
            traced.program, (), dynamo=True, opset_version=opset, input_names=[INPUT], output_names=[OUTPUT],
            verbose=False,
        )  # fmt: skip
    except (RuntimeError, ValueError) as error:
        raise GeoductError(f"torch cannot write {model.path} as ONNX: {first_line(error)}") from error
    assert exported is not None
    _label(exported.model, description)
    weights = sum(value.nbytes for value in traced.program.state_dict.values())
    exported.save(path, external_data=weights > MOST_INSIDE)


def _label(network: OnnxModel, description: dict[str, Any]) -> None:
    """Name the axes, say what the network is for, and leave out what torch notes about this machine's Python files."""
    from onnx_ir import Shape

    network.metadata_props.clear()
    network.metadata_props["geoduct"] = json.dumps(description)
    parts: list[Graph | Function] = [network.graph, *network.functions.values()]
    for part in parts:
        part.metadata_props.clear()
        for value in part.inputs:
            value.metadata_props.clear()
        for node in part:
            node.metadata_props.clear()
            for value in node.outputs:
                value.metadata_props.clear()
                if not value.is_graph_output():
                    value.shape = None  # in torch's own names of the axes; runtimes infer it
    network.graph.inputs[0].shape = Shape(description["input"]["shape"])
    network.graph.outputs[0].shape = Shape(description["output"]["shape"])


@contextmanager
def _hushed() -> Iterator[None]:
    """Without the warnings that torch's exporters give about their own insides."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
