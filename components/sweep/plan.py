"""What a sweep searches, as a YAML says it: the component, what it reads, what stays fixed, and the space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from components.errors import GeoductError, nearest
from components.registry import COMPONENTS, load
from components.spec import Spec

OVERRIDE = "override"
"""The parameter of a component that takes changes to its YAML, as key=value."""

Value = bool | int | float | str


class Range(BaseModel):
    """A number between `low` and `high`, whole if both are written so; on a logarithmic scale if `log`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"low {self.low} and high {self.high} span no range" + (" of logarithms" * self.log))
        return self


class Choices(BaseModel):
    """One of some values."""

    model_config = ConfigDict(extra="forbid", strict=True)
    choices: Annotated[list[Value], Field(min_length=2)]


def _tag(value: Any) -> str:
    """Which of both a value of the space is meant to be, so that what is wrong with it is said of that one."""
    return "choices" if isinstance(value, Choices) or (isinstance(value, dict) and "choices" in value) else "range"


Span = Annotated[Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_tag)]


class Plan(BaseModel):
    """A sweep. `space` and `parameters` name the component's parameters, or with dots keys of its YAML."""

    model_config = ConfigDict(extra="forbid", strict=True)
    component: str
    inputs: dict[str, str]
    parameters: dict[str, Any] = {}
    space: Annotated[dict[str, Span], Field(min_length=1)]
    metric: str = "val_macro_f1"
    direction: Literal["maximize", "minimize"] = "maximize"
    trials: Annotated[int, Field(ge=1)] = 20
    unpruned: Annotated[int, Field(ge=0)] = 5
    warmup: Annotated[int, Field(ge=0)] = 2
    seed: Annotated[int, Field(ge=0)] = 0


def read(path: Path) -> Plan:
    """Read a sweep's YAML.

    Raises:
        GeoductError: it cannot be read, or a field is wrong; the field is named.
    """
    try:
        plan = Plan.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise GeoductError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        # Of the space, pydantic puts the tag of a value, which is no part of the YAML, behind its name.
        where = ".".join(str(part) for i, part in enumerate(first["loc"]) if (first["loc"][0], i) != ("space", 2))
        hint = nearest(str(first["loc"][-1]), Plan.model_fields) if first["type"] == "extra_forbidden" else ""
        said = first["msg"].removeprefix("Value error, ")
        raise GeoductError(f"{path}: {where or 'the whole'}: {said}{hint}") from None
    if plan.component not in COMPONENTS:
        raise GeoductError(f"{path}: there is no component {plan.component!r}{nearest(plan.component, COMPONENTS)}")
    spec = load(plan.component).spec
    if [slot.kind for slot in spec.outputs] != ["Model"]:
        raise GeoductError(f"{path}: the component {plan.component} writes no Model; expected train or finetune")
    if both := plan.space.keys() & plan.parameters.keys():
        raise GeoductError(f"{path}: {min(both)!r} is both fixed (parameters) and searched (space); expected one")
    try:
        spec.bind({**arguments(plan, spec, example(plan)), **{slot.name: "model" for slot in spec.outputs}})
    except GeoductError as error:
        raise GeoductError(f"{path}: {error}") from None
    return plan


def arguments(plan: Plan, spec: Spec, chosen: Mapping[str, Value]) -> dict[str, Any]:
    """Arguments of one trial by name, without its output; what the component does not know itself goes into its YAML.

    Raises:
        GeoductError: a name is none of the component's, which takes no changes to a YAML.
    """
    known = {p.name for p in spec.parameters}
    given: dict[str, Any] = {**plan.inputs}
    changes: list[str] = []
    for name, value in {**plan.parameters, **chosen}.items():
        if name in known or "." not in name or OVERRIDE not in known:
            given[name] = value
        else:
            changes.append(f"{name}={yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}")
    if changes:
        given[OVERRIDE] = [*given.get(OVERRIDE, []), *changes]
    return given


def example(plan: Plan) -> dict[str, Value]:
    """Some point of the space."""
    return {name: values.low if isinstance(values, Range) else values.choices[0] for name, values in plan.space.items()}
