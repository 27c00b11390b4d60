"""The parameters of a pipeline and their values: the signatures' defaults, params.yaml over them, `--set` over both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.artifacts.source import Source
from components.errors import GeoductError, nearest
from components.kubeflow import encode
from components.registry import load
from pipelines.graph import Pipeline, port
from pipelines.inference import INFERENCE
from pipelines.sections import check_section, read_sections
from pipelines.training import TRAINING

PIPELINES: Mapping[str, Pipeline] = {p.name: p for p in (TRAINING, INFERENCE)}


def named(name: str) -> Pipeline:
    """The pipeline of that name.

    Raises:
        GeoductError: there is none; the nearest is named.
    """
    if name not in PIPELINES:
        raise GeoductError(f"there is no pipeline {name!r}{nearest(name, PIPELINES)}")
    return PIPELINES[name]


def read_params(path: Path) -> dict[str, Any]:
    """The sections of a params.yaml.

    Raises:
        GeoductError: it cannot be read, or is no mapping of mappings.
    """
    return read_sections(path, remedy="; it is written by: geoduct experiment")


def settings(words: Sequence[str]) -> dict[str, str]:
    """`--set name=value …` by name.

    Raises:
        GeoductError: a word has no `=`.
    """
    split = [word.partition("=") for word in words]
    if wrong := next((word for word, pair in zip(words, split, strict=True) if not pair[1]), None):
        raise GeoductError(f"--set {wrong!r} sets nothing; expected name=value, such as composite.reduction=median")
    return {name: value for name, _, value in split}


def arguments(
    pipeline: Pipeline, params: Mapping[str, Any], overrides: Mapping[str, str], origin: str = "params.yaml"
) -> dict[str, Any]:
    """Values of all parameters of the pipeline as Kubeflow carries them; of its inputs only those that are set.

    Raises:
        GeoductError: a name is unknown (the nearest is named), or a value is refused.
    """
    values: dict[str, Any] = {}
    known = ["root", *pipeline.inputs]
    for component in pipeline.components:
        spec = load(component).spec
        section = check_section(spec, params.get(component), origin)
        for parameter in spec.parameters:
            name = parameter.name
            dotted = f"{component}.{name}"
            if port(component, name) != f"{component}_{name}":
                continue  # the component that lends it says it
            if f"{component}_{name}" in pipeline.own:
                if section[name] != parameter.default or dotted in overrides:
                    why = pipeline.own[f"{component}_{name}"]
                    raise GeoductError(
                        f"pipeline {pipeline.name} sets {dotted} itself ({why}); leave it out of {origin}"
                    )
                continue
            known.append(dotted)
            found = section[name]
            if dotted in overrides:
                try:
                    found = parameter.check(_spelled(overrides[dotted]))
                except GeoductError as error:
                    raise GeoductError(f"--set: {component} {error}") from None
            values[f"{component}_{name}"] = encode(parameter, found)
    if stranger := next((name for name in overrides if name not in known), None):
        same = [name for name in known if name.partition(".")[2] == stranger.partition(".")[2] != ""]
        raise GeoductError(f"pipeline {pipeline.name} has no parameter {stranger!r}{nearest(stranger, same or known)}")
    return values | {name: overrides[name] for name in ("root", *pipeline.inputs) if name in overrides}


def _spelled(text: str) -> Any:
    """Several values are separated by commas, as in `acquire.bands=B02,B03`."""
    return text.split(",") if "," in text else text


def located(pipeline: Pipeline, values: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, str]:
    """Where this machine has the pipeline's inputs: as set, else as dvc.yaml has them; paths absolute.

    Raises:
        GeoductError: one is not set, and params.yaml does not say; or it does not exist.
    """
    experiment, places = params.get("experiment"), params.get("inputs")
    usual = {**(places if isinstance(places, Mapping) else {})}
    if experiment:
        usual["model"] = str(Path("data") / str(experiment) / "model")
    found = {}
    for name in pipeline.inputs:
        location = values.get(name) or usual.get(name)
        if not location:
            raise GeoductError(f"pipeline {pipeline.name} needs --set {name}=…, which params.yaml does not say")
        source = Source.open(location)
        found[name] = str(source.path.absolute()) if source.is_path else source.location
    return found
