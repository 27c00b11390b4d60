"""The contract: a component's signature is its only declaration.

From the signature come the command line, the parameter checks and the way a component is run; launchers, pipelines
and documentation read the same `Spec`. Running opens and validates the inputs, hands the function outputs that
stand in a staging folder beside their place, and moves each into place only once it is whole.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Generic, ParamSpec, TypeVar, get_args, get_origin

from components import artifacts
from components.parameters import Bound, Parameter
from components.parameters import File as File
from components.parameters import Ge as Ge
from components.parameters import Gt as Gt
from components.parameters import Le as Le
from components.parameters import Lt as Lt
from components.parameters import Unit as Unit
from components.run import run
from components.spec import Direction, Image, Slot, Spec

T = TypeVar("T")
P = ParamSpec("P")

Input = Annotated[T, "input"]
"""An artifact that the component reads: `composite: Input[Composite]`. The function gets it opened and validated."""
Output = Annotated[T, "output"]
"""An artifact that the component writes: `patches: Output[PatchSet]`. The function writes into its `path`."""

_SLOT = re.compile(r"^(Input|Output)\[(\w+)\](\s*\|\s*None)?$")
_ARGUMENT = re.compile(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


def _docs(text: str) -> tuple[str, str, dict[str, str]]:
    summary, _, rest = inspect.cleandoc(text).partition("\n")
    description, _, block = rest.partition("\nArgs:\n")
    block = re.split(r"^\S", block, maxsplit=1, flags=re.MULTILINE)[0]
    helps = {name: " ".join(words.split()) for name, words in _ARGUMENT.findall(block)}
    return summary, description.strip(), helps


def describe(function: Callable[..., None], image: Image, resumable: bool, ranks: str | None = None) -> Spec:
    """Read a component's signature and docstring into a Spec. Artifact classes are not imported for it."""
    name = function.__module__.rpartition(".")[2]
    scope = {**vars(typing), **vars(types), **vars(sys.modules[function.__module__])}
    summary, description, helps = _docs(function.__doc__ or "")
    slots: list[Slot] = []
    parameters: list[Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        text = str(parameter.annotation)
        if ranks and text == "Ranks":
            continue
        about = helps.get(parameter.name)
        if about is None:
            raise TypeError(f"component {name}: parameter {parameter.name!r} is not described under Args")
        if found := _SLOT.match(text):
            if found[2] not in artifacts.MODULES:
                raise TypeError(f"component {name}: {found[2]} is no artifact")
            direction: Direction = "input" if found[1] == "Input" else "output"
            slots.append(Slot(parameter.name, found[2], direction, bool(found[3]), about))
            continue
        kind = eval(text, scope)  # the component's own source, not input
        notes: tuple[Any, ...] = ()
        if get_origin(kind) is Annotated:
            kind, *rest = get_args(kind)
            notes = tuple(rest)
        if parameter.default is inspect.Parameter.empty:
            raise TypeError(f"component {name}: parameter {parameter.name!r} needs a default")
        unit = next((n.name for n in notes if isinstance(n, Unit)), None)
        bounds = tuple(n for n in notes if isinstance(n, Bound))
        file = any(isinstance(n, File) for n in notes)
        parameters.append(Parameter(parameter.name, kind, parameter.default, bounds, unit, about, file))
    return Spec(name, image, resumable, summary, description, tuple(slots), tuple(parameters), ranks)


class Component(Generic[P]):
    """A declared component: callable with paths or artifacts, exactly as the command line calls it."""

    def __init__(self, function: Callable[P, None], image: Image, resumable: bool, ranks: str | None) -> None:
        functools.update_wrapper(self, function)
        self.spec = describe(function, image, resumable, ranks)
        self._function: Callable[..., None] = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        self.run({**dict(zip((s.name for s in self.spec.slots), args, strict=False)), **kwargs})

    def settle(self) -> None:
        """Prepare this process, which is to run nothing else: before torch is imported, as libgomp reads it once.

        Threads of a network that wait for each other leave the core to those that read and write, instead of spinning.
        """
        if self.spec.image == "learn":
            os.environ.setdefault("OMP_WAIT_POLICY", "passive")

    def run(self, arguments: Mapping[str, Any]) -> None:
        """Run on this machine with arguments by name, as values or as text.

        Raises:
            GeoductError: for anything that the user can mend; no output is changed then.
        """
        run(self.spec, self._function, arguments)


def component(
    *, image: Image, resumable: bool = False, ranks: str | None = None
) -> Callable[[Callable[P, None]], Component[P]]:
    """Declare a component.

    `image` names the container image that holds what it needs. A `resumable` component finds in its outputs' paths
    what a killed run with the same parameters and inputs left there. A component that shares its work among several
    processes takes them as its parameter `ranks: Ranks`; `ranks` names the parameter that says how many of them are
    started on this machine, where they are not started from outside.
    """

    def declare(function: Callable[P, None]) -> Component[P]:
        return Component(function, image, resumable, ranks)

    return declare
