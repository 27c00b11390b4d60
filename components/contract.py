"""The contract: a component's signature is its only declaration.

From the signature come the command line, the parameter checks and the way a component is run; launchers, pipelines
and documentation read the same `Spec`. Running opens and validates the inputs, hands the function outputs that
stand in a staging folder beside their place, and moves each into place only once it is whole.
"""

from __future__ import annotations

import errno
import functools
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, ParamSpec, TypeVar, get_args, get_origin

from components import __version__, artifacts
from components.errors import GeoductError, nearest

T = TypeVar("T")
P = ParamSpec("P")

Input = Annotated[T, "input"]
"""An artifact that the component reads: `composite: Input[Composite]`. The function gets it opened and validated."""
Output = Annotated[T, "output"]
"""An artifact that the component writes: `patches: Output[PatchSet]`. The function writes into its `path`."""

Image = Literal["data", "learn"]
Direction = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class Ge:
    """The parameter is at least `value`."""

    value: float


@dataclass(frozen=True, slots=True)
class Gt:
    """The parameter is more than `value`."""

    value: float


@dataclass(frozen=True, slots=True)
class Le:
    """The parameter is at most `value`."""

    value: float


@dataclass(frozen=True, slots=True)
class Lt:
    """The parameter is less than `value`."""

    value: float


@dataclass(frozen=True, slots=True)
class Unit:
    """The parameter's unit, shown in the help."""

    name: str


_BOUNDS: dict[type, tuple[str, Callable[[Any, Any], bool]]] = {
    Ge: ("at least", lambda found, limit: found >= limit),
    Gt: ("more than", lambda found, limit: found > limit),
    Le: ("at most", lambda found, limit: found <= limit),
    Lt: ("less than", lambda found, limit: found < limit),
}


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
class Parameter:
    """A parameter in a signature, with its type, bounds, unit and default."""

    name: str
    type: Any
    default: Any
    bounds: tuple[Ge | Gt | Le | Lt, ...]
    unit: str | None
    help: str

    @property
    def flag(self) -> str:
        """As given on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def expected(self) -> str:
        """The type and bounds in words, e.g. `an integer, at least 16 (pixels)`."""
        limits = "".join(f", {_BOUNDS[type(b)][0]} {b.value:g}" for b in self.bounds)
        return _in_words(self.type) + limits + (f" ({self.unit})" if self.unit else "")

    def check(self, found: Any) -> Any:
        """Convert a value (text from a command line, or a Python value) to the declared type.

        Raises:
            GeoductError: it cannot be read as that type, or lies outside the bounds.
        """
        try:
            value = _convert(found, self.type)
        except (ValueError, TypeError):
            shown = " ".join(map(str, found)) if isinstance(found, list | tuple) else found
            raise GeoductError(f"{self.flag} is {str(shown)!r}; expected {self.expected}") from None
        for item in value if isinstance(value, list | tuple) else [value]:
            for bound in self.bounds if item is not None else ():
                if not _BOUNDS[type(bound)][1](item, bound.value):
                    raise GeoductError(f"{self.flag} is {item}; expected {self.expected}")
        return value


def _in_words(kind: Any) -> str:
    if kind in (int, float, str, bool):
        return {int: "an integer", float: "a number", str: "text", bool: "true or false"}[kind]
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if get_origin(kind) is list:
        return f"one or more of: {_in_words(arguments[0])}"
    if get_origin(kind) is tuple:
        return f"{len(arguments)} values, each {_in_words(arguments[0])}"
    return " or ".join("none" if a is type(None) else _in_words(a) for a in arguments)


def _convert(found: Any, kind: Any) -> Any:
    if kind is bool:
        if isinstance(found, bool):
            return found
        return {"true": True, "false": False}[str(found).lower()] if str(found).lower() in ("true", "false") else _no()
    if kind is int:
        if isinstance(found, bool) or (isinstance(found, float) and not found.is_integer()):
            _no()
        return int(found)
    if kind is float:
        value = float(found)
        return value if value == value and not isinstance(found, bool) else _no()
    if kind is str:
        return str(found)
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return next((a for a in arguments if str(a) == str(found)), None) or _no()
    if get_origin(kind) in (list, tuple):
        items = list(found) if isinstance(found, list | tuple) else [found]
        if get_origin(kind) is list:
            return [_convert(i, arguments[0]) for i in items]
        return tuple(_convert(i, a) for i, a in zip(items, arguments, strict=True))
    if found is None or str(found).lower() in ("none", "null"):
        return None
    (inner,) = (a for a in arguments if a is not type(None))
    return _convert(found[0] if isinstance(found, list) and get_origin(inner) is None and found else found, inner)


def _no() -> typing.NoReturn:
    raise ValueError


@dataclass(frozen=True)
class Spec:
    """All that a signature declares about one component."""

    name: str
    image: Image
    summary: str
    description: str
    slots: tuple[Slot, ...]
    parameters: tuple[Parameter, ...]

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
_SLOT = re.compile(r"^(Input|Output)\[(\w+)\](\s*\|\s*None)?$")
_ARGUMENT = re.compile(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


def _docs(text: str) -> tuple[str, str, dict[str, str]]:
    summary, _, rest = inspect.cleandoc(text).partition("\n")
    description, _, block = rest.partition("\nArgs:\n")
    block = re.split(r"^\S", block, maxsplit=1, flags=re.MULTILINE)[0]
    helps = {name: " ".join(words.split()) for name, words in _ARGUMENT.findall(block)}
    return summary, description.strip(), helps


def describe(function: Callable[..., None], image: Image) -> Spec:
    """Read a component's signature and docstring into a Spec. Artifact classes are not imported for it."""
    name = function.__module__.rpartition(".")[2]
    scope = {**vars(typing), **vars(types), **vars(sys.modules[function.__module__])}
    summary, description, helps = _docs(function.__doc__ or "")
    slots: list[Slot] = []
    parameters: list[Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        text = str(parameter.annotation)
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
        bounds = tuple(n for n in notes if type(n) in _BOUNDS)
        parameters.append(Parameter(parameter.name, kind, parameter.default, bounds, unit, about))
    return Spec(name, image, summary, description, tuple(slots), tuple(parameters))


class Component(Generic[P]):
    """A declared component: callable with paths or artifacts, exactly as the command line calls it."""

    def __init__(self, function: Callable[P, None], image: Image) -> None:
        functools.update_wrapper(self, function)
        self.spec = describe(function, image)
        self._function: Callable[..., None] = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        self.run({**dict(zip((s.name for s in self.spec.slots), args, strict=False)), **kwargs})

    def run(self, arguments: Mapping[str, Any]) -> None:
        """Check, open, run, seal and publish.

        Raises:
            GeoductError: for anything that the user can mend; no output is changed then.
        """
        given, parameters = self.spec.bind(arguments)
        places = {s.name: _location(given[s.name]) for s in self.spec.slots if s.name in given}
        _refuse_overlap(self.spec, places)
        opened = {s.name: getattr(artifacts, s.kind).open(places[s.name]) for s in self.spec.inputs if s.name in places}
        targets = {s.name: Path(places[s.name]) for s in self.spec.outputs if s.name in places}
        with _staged(self.spec, targets) as staged, _plain_errors(opened, targets):
            handles: dict[str, Any] = {
                s.name: getattr(artifacts, s.kind)(staged[s.name]) for s in self.spec.outputs if s.name in staged
            }
            absent = {s.name: None for s in self.spec.slots if s.name not in given}
            self._function(**{**absent, **opened, **handles, **parameters})
            provenance = {
                "component": self.spec.name,
                "parameters": parameters,
                "inputs": {name: {"kind": a.kind, "digest": a.digest} for name, a in opened.items()},
                "version": __version__,
                "image": None,
            }
            for name, artifact in handles.items():
                artifact.seal(provenance)
                type(artifact).open(staged[name])


def component(*, image: Image) -> Callable[[Callable[P, None]], Component[P]]:
    """Declare a component. `image` names the container image that holds what it needs."""

    def declare(function: Callable[P, None]) -> Component[P]:
        return Component(function, image)

    return declare


def _location(value: Any) -> str:
    return str(getattr(value, "location", None) or getattr(value, "path", None) or value)


def _refuse_overlap(spec: Spec, places: Mapping[str, str]) -> None:
    """Refuse an output that overlaps another artifact of the same run, or that would replace foreign data."""
    from components.artifacts.base import is_artifact

    resolved = {name: Path(place).resolve() for name, place in places.items()}
    for out in (s for s in spec.outputs if s.name in places):
        path = resolved[out.name]
        if re.match(r"^\w+://", places[out.name]):
            raise GeoductError(f"{out.flag} is {places[out.name]!r}; expected a path on this machine")
        for name, other in resolved.items():
            if name != out.name and (path == other or path in other.parents or other in path.parents):
                raise GeoductError(
                    f"{out.flag} {places[out.name]} overlaps with --{name.replace('_', '-')} {places[name]}"
                )
        if path.exists() and not is_artifact(path) and not (path.is_dir() and not any(path.iterdir())):
            raise GeoductError(
                f"{places[out.name]} exists and is no Geoduct artifact; remove it or choose another {out.flag}"
            )


@contextmanager
def _staged(spec: Spec, targets: Mapping[str, Path]) -> Iterator[dict[str, Path]]:
    """Give each output a fresh staging folder beside its place; on success move all into place, else leave nothing."""
    from components import storage

    staged: dict[str, Path] = {}
    try:
        for name, target in targets.items():
            staged[name] = storage.stage(target)
        yield staged
        for name, target in targets.items():
            storage.publish(staged[name], target)
    finally:
        for path in staged.values():
            storage.remove(path)


@contextmanager
def _plain_errors(opened: Mapping[str, Any], targets: Mapping[str, Path]) -> Iterator[None]:
    """Turn what the machine or a damaged input did to us into one sentence; let real defects through."""
    try:
        yield
    except GeoductError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = ", ".join(str(t) for t in targets.values())
            raise GeoductError(f"the disk is full: {where} could not be written; nothing was left behind") from error
        for artifact in opened.values():
            if hasattr(artifact, "verify"):
                artifact.verify()
        raise
