"""What a signature declares, as data: a component's artifacts and parameters, and how arguments are bound to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from components.errors import GeoductError, nearest
from components.parameters import Parameter

Image = Literal["data", "learn"]
Direction = Literal["input", "output"]


@dataclass(frozen=True)
class Slot:
    """An artifact in a signature: its name, its kind, whether it is read or written, and whether it may be left out."""

    name: str
    kind: str
    direction: Direction
    optional: bool
    help: str

    @property
    def flag(self) -> str:
        """As given on the command line."""
        return "--" + self.name.replace("_", "-")


@dataclass(frozen=True)
class Spec:
    """All that a signature declares about one component."""

    name: str
    image: Image
    resumable: bool
    summary: str
    description: str
    slots: tuple[Slot, ...]
    parameters: tuple[Parameter, ...]
    ranks: str | None = None
    """The parameter that says how many ranks run on this machine; without one, the component is a single process."""

    @property
    def inputs(self) -> tuple[Slot, ...]:
        """Artifacts read, in order."""
        return tuple(s for s in self.slots if s.direction == "input")

    @property
    def outputs(self) -> tuple[Slot, ...]:
        """Artifacts written, in order."""
        return tuple(s for s in self.slots if s.direction == "output")

    def bind(self, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Split arguments into artifacts and complete, checked parameters.

        Raises:
            GeoductError: a name is unknown (the nearest is named), an artifact is missing, a value is refused.
        """
        known = {s.name for s in self.slots} | {p.name for p in self.parameters}
        for name in arguments:
            if name not in known:
                flags = [k.replace("_", "-") for k in known]
                hint = nearest(name.replace("_", "-"), flags)
                raise GeoductError(f"{self.name} has no parameter {name.replace('_', '-')!r}{hint}")
        for slot in self.slots:
            if not slot.optional and arguments.get(slot.name) is None:
                raise GeoductError(f"{self.name} needs {slot.flag}, the {slot.kind} that it {_DOES[slot.direction]}")
        given = {s.name: arguments[s.name] for s in self.slots if arguments.get(s.name) is not None}
        parameters = {p.name: p.check(arguments[p.name]) if p.name in arguments else p.default for p in self.parameters}
        return given, parameters


_DOES: dict[Direction, str] = {"input": "reads", "output": "writes"}
