"""Kubeflow components and pipelines made from the components' signatures; nothing about a component is written twice.

A `Pipeline` is a body that calls tasks by their component's name. Every parameter of every component in it becomes a
parameter of the pipeline, named `<component>_<parameter>`, and is passed on explicitly.
"""

from __future__ import annotations

import inspect
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.kubeflow import IDENTIFY, encode, kfp_type, task_inputs, task_outputs
from components.launch.images import Image
from components.registry import load
from components.spec import Spec
from pipelines.cluster import Cluster

ARTIFACTS: Mapping[str, type[dsl.Artifact]] = {"Artifact": dsl.Artifact, "Metrics": dsl.Metrics, "HTML": dsl.HTML}
LENT = {"search": "acquire"}
"""A component that has the parameters of another where their names are the same: what is searched is acquired."""

UNKNOWN = ""
"""The digest of what nobody has looked at."""


class Placed(NamedTuple):
    """An artifact between two tasks: where it lies, and the digest of its contents; both known when the run is on."""

    location: Any
    digest: Any


@dataclass(frozen=True)
class Pipeline:
    """A pipeline: its body, what it is given beside the root, and whose components' parameters it has.

    `inputs` and `outputs` are names and types of what is given to the body and of what it returns; `within` are the
    pipelines that it has as tasks; `own` are the parameters, as `<component>_<parameter>`, that it sets itself and why.
    """

    name: str
    body: Callable[[Tasks], Mapping[str, Any]]
    inputs: Mapping[str, type]
    components: tuple[str, ...]
    outputs: Mapping[str, Any]
    within: tuple[Pipeline, ...] = ()
    own: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """What it does, in one line."""
        return inspect.cleandoc(self.body.__doc__ or "").partition("\n")[0]


class Tasks:
    """Calls components as tasks of the pipeline that is being built."""

    def __init__(
        self,
        given: Mapping[str, Any],
        images: Mapping[str, Image],
        cluster: Cluster,
        within: Mapping[str, BaseComponent],
    ) -> None:
        self.given = given
        self.images = images
        self.cluster = cluster
        self.within = within

    def __call__(
        self, component: str, inputs: Mapping[str, Placed], parameters: Mapping[str, Any] | None = None
    ) -> dsl.PipelineTask:
        """Add a task that runs a component on these inputs; `parameters` go before those of the pipeline.

        What the pipeline keeps to itself and does not set here either has its default.
        """
        spec, own = load(component).spec, parameters or {}
        several = tuple(name for name, placed in inputs.items() if isinstance(placed.location, dsl.Collected))
        arguments: dict[str, Any] = {"root": self.given["root"]}
        for slot in spec.inputs:
            # What may be left out is passed as well, as empty text: Kubeflow forgets defaults.
            arguments[slot.name], arguments[f"{slot.name}_digest"] = inputs.get(slot.name, Placed("", UNKNOWN))
        for parameter in spec.parameters:
            name = parameter.name
            default = encode(parameter, parameter.default)
            arguments[name] = own[name] if name in own else self.given.get(port(component, name), default)
        made = container(spec, self.images[spec.image].reference, several)
        # What nobody knows the contents of may have changed, and the address does not show it.
        cacheable = all(placed.digest != UNKNOWN for placed in inputs.values())
        return self._add(made, spec.name, spec.image, arguments, cacheable)

    def place(self, name: str) -> Placed:
        """One of the locations that the pipeline is given, whatever lies there: its task is never spared."""
        return Placed(self.given[name], UNKNOWN)

    def identify(self, name: str) -> Placed:
        """One of the locations that the pipeline is given, with the digest of what lies there when the run is on."""
        made = identifier(self.images["data"].reference)
        task = self._add(made, IDENTIFY, "data", {"location": self.given[name]}, cacheable=False)
        return Placed(self.given[name], task.outputs["digest"])

    def nested(self, pipeline: Pipeline, given: Mapping[str, Any]) -> dsl.PipelineTask:
        """Add a pipeline as a task; `given` are its inputs, the parameters are handed on."""
        handed = {name: self.given[name] for name in pipeline_inputs(pipeline) if name in self.given}
        return self.within[pipeline.name](**{**handed, **given})

    def _add(
        self, made: BaseComponent, name: str, image: str, arguments: Mapping[str, Any], cacheable: bool
    ) -> dsl.PipelineTask:
        task = made(**arguments)
        task.set_env_variable("GEODUCT_IMAGE", self.images[image].reference)
        task.set_env_variable("GEODUCT_CACHE", "/tmp/geoduct")  # the one folder that any user of an image may write
        self.cluster.equip(task, name, cacheable)
        return task


def output(task: dsl.PipelineTask, slot: str) -> Placed:
    """What a task writes, for the next one to read."""
    return Placed(task.outputs[f"{slot}_location"], task.outputs[f"{slot}_digest"])


def container(spec: Spec, image: str, several: Sequence[str] = ()) -> BaseComponent:
    """The Kubeflow component of one of ours; each input in `several` is a list of artifacts, put in one folder."""
    values, files = task_outputs(spec)
    places = [f"{name}={{{{$.outputs.artifacts['{name}'].path}}}}" for name in files]
    command = ["geoduct", "kfp", spec.name]
    arguments = [dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER, dsl.PIPELINE_JOB_ID_PLACEHOLDER, *places]
    types: dict[str, Any] = {name: ARTIFACTS[kind] for name, kind in files.items()}
    return _container(spec.name, spec.summary, image, command, arguments, task_inputs(spec, several), values, types)


def identifier(image: str) -> BaseComponent:
    """The Kubeflow component that says the digest of what lies at a location."""
    about = "Say the digest of what lies at a location."
    arguments = [dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER, dsl.PIPELINE_JOB_ID_PLACEHOLDER]
    return _container(
        IDENTIFY, about, image, ["geoduct", "kfp", IDENTIFY], arguments, {"location": str}, {"digest": str}, {}
    )


def _container(
    name: str,
    about: str,
    image: str,
    command: list[str],
    arguments: list[str],
    inputs: Mapping[str, type],
    values: Mapping[str, type],
    files: Mapping[str, type[dsl.Artifact]],
) -> BaseComponent:
    def declared(*_: Any) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(image=image, command=command, args=arguments)

    ports: dict[str, Any] = dict(inputs)
    ports |= {value: dsl.OutputPath(kind) for value, kind in values.items()}
    ports |= {file: dsl.Output[kind] for file, kind in files.items()}
    _declare(declared, name, about, [_port(port, kind) for port, kind in ports.items()], dsl.ContainerSpec)
    made: BaseComponent = dsl.container_component(declared)
    return made


def port(component: str, parameter: str) -> str:
    """The parameter of a pipeline that a component's parameter has its value from."""
    lender = LENT.get(component)
    if lender and any(p.name == parameter for p in load(lender).spec.parameters):
        return f"{lender}_{parameter}"
    return f"{component}_{parameter}"


def pipeline_inputs(pipeline: Pipeline) -> dict[str, type]:
    """Names and types of a pipeline's own parameters: root, its inputs, and those of its components."""
    ports: dict[str, type] = {"root": str, **pipeline.inputs}
    for component in pipeline.components:
        ports |= {port(component, p.name): kfp_type(p) for p in load(component).spec.parameters}
    return {name: kind for name, kind in ports.items() if name not in pipeline.own}


def graph(
    pipeline: Pipeline,
    images: Mapping[str, Image],
    cluster: Cluster,
    defaults: Mapping[str, Any] | None = None,
) -> BaseComponent:
    """The Kubeflow pipeline, with these defaults of its parameters."""
    ports = pipeline_inputs(pipeline)
    within = {p.name: graph(p, images, cluster) for p in pipeline.within}  # Kubeflow does not build one in another
    make: Any = namedtuple
    outputs = make("outputs", pipeline.outputs)  # Kubeflow reads a pipeline's outputs from such a class
    outputs.__annotations__ = dict(pipeline.outputs)

    def body(*channels: Any) -> Any:
        given = dict(zip(ports, channels, strict=True))
        return outputs(**pipeline.body(Tasks(given, images, cluster, within)))

    _declare(body, pipeline.name, pipeline.summary, [_port(n, k, defaults or {}) for n, k in ports.items()], outputs)
    made: BaseComponent = dsl.pipeline(name=pipeline.name, description=pipeline.summary)(body)
    return made


def _port(name: str, kind: Any, defaults: Mapping[str, Any] | None = None) -> inspect.Parameter:
    default = (defaults or {}).get(name, inspect.Parameter.empty)
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind)


def _declare(function: Any, name: str, about: str, parameters: Sequence[inspect.Parameter], returned: Any) -> None:
    """Give a function the signature that Kubeflow reads: what a decorated function of Kubeflow has in its source."""
    function.__name__ = name
    function.__doc__ = about
    function.__signature__ = inspect.Signature(list(parameters), return_annotation=returned)
    function.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": returned}
