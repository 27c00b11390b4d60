"""A YAML file of components and their parameters: an experiment, or the `params.yaml` that comes of one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from components.errors import GeoductError, nearest
from components.spec import Spec


def read_yaml(file: Path, remedy: str = "") -> Any:
    """What a YAML file holds; `remedy` ends the sentence if the file cannot be read.

    Raises:
        GeoductError: it cannot be read, or is no YAML.
    """
    try:
        return yaml.safe_load(file.read_text())
    except OSError as error:
        raise GeoductError(f"{file} cannot be read: {error.strerror}{remedy}") from None
    except yaml.YAMLError as error:
        raise GeoductError(f"{file} is not YAML: {' '.join(str(error).split())}") from None


def read_sections(file: Path, remedy: str = "") -> dict[str, Any]:
    """The sections as written; `remedy` as for `read_yaml`.

    Raises:
        GeoductError: it cannot be read, or is no mapping.
    """
    found = read_yaml(file, remedy)
    if not isinstance(found, dict):
        raise GeoductError(f"{file} holds {type(found).__name__}; expected a mapping of components to parameters")
    return found


def check_section(spec: Spec, given: Any, origin: str) -> dict[str, Any]:
    """Values of all parameters of a component: those of its section, which may be missing, and defaults for the rest.

    Raises:
        GeoductError: the section is no mapping, a name is unknown (the nearest is named), or a value is refused;
            `origin` begins the sentence.
    """
    given = given or {}
    if not isinstance(given, Mapping):
        raise GeoductError(f"{origin}: {spec.name} is {given!r}; expected a mapping of parameters")
    parameters = {parameter.name: parameter for parameter in spec.parameters}
    if stranger := next((str(name) for name in given if name not in parameters), None):
        raise GeoductError(f"{origin}: {spec.name} has no parameter {stranger!r}{nearest(stranger, parameters)}")
    try:
        return {name: p.check(given[name]) if name in given else p.default for name, p in parameters.items()}
    except GeoductError as error:
        raise GeoductError(f"{origin}: {spec.name} {error}") from None


def change_section(text: str, component: str, values: Mapping[str, Any], origin: str) -> str:
    """The text of a YAML with these values in a component's section; all else stays as it is written.

    Raises:
        GeoductError: it has no such section, or an empty one, or is written in a way of which a part cannot be changed
            by itself; `origin` begins the sentence.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    sections = {key.value: value for key, value in root.value} if isinstance(root, yaml.MappingNode) else {}
    section = sections.get(component)
    if not isinstance(section, yaml.MappingNode) or not section.value:
        raise GeoductError(f"{origin} has no section {component!r} with values to change")
    whole = yaml.safe_load(text)
    nodes, before = {key.value: value for key, value in section.value}, whole[component]
    first = section.value[0][0].start_mark
    changes = []
    for name, value in values.items():
        said = yaml.safe_dump([value], default_flow_style=True, width=sys.maxsize).strip()[1:-1]  # as in a list: quoted
        if name not in nodes:
            after = ", " if section.flow_style else "\n" + first.column * " "
            changes.append((first.index, first.index, f"{name}: {said}{after}"))
        elif before[name] != value:
            start, end = nodes[name].start_mark.index, _last(nodes[name]).end_mark.index
            # A list of lines may begin below its name, anything else has to be further in.
            further = 2 if nodes[name].start_mark.column == first.column else 0
            changes.append((start, end, " " * (further or text[start - 1] == ":") + said))
    for start, end, said in sorted(changes, key=lambda change: change[0], reverse=True):
        text = text[:start] + said + text[end:]
    if _read(text) != {**whole, component: {**before, **values}}:
        raise GeoductError(
            f"{origin}: section {component!r} cannot be changed value by value as it is written; expected plain "
            "values, without anchors and blocks of text, as geoduct experiment writes them"
        )
    return text


def _read(text: str) -> Any:
    """What a YAML says, or None if it is none."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _last(node: yaml.Node) -> yaml.Node:
    """The node at whose end the text of this one ends: a list of lines ends where the next thing begins."""
    while isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        node = node.value[-1]
    return node
