"""Parameters of components: the types a signature may use, their bounds and units, and how a value is checked."""

from __future__ import annotations

import operator
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from components.errors import GeoductError


@dataclass(frozen=True)
class Bound:
    """A limit on the parameter; the kind says which."""

    value: float


class Ge(Bound):
    """The parameter is at least `value`."""


class Gt(Bound):
    """The parameter is more than `value`."""


class Le(Bound):
    """The parameter is at most `value`."""


class Lt(Bound):
    """The parameter is less than `value`."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The parameter's unit, shown in the help."""

    name: str


@dataclass(frozen=True, slots=True)
class File:
    """The text may be the path of a file, which a container has to be shown."""


BOUNDS: dict[type[Bound], tuple[str, Callable[[Any, Any], bool]]] = {
    Ge: ("at least", operator.ge),
    Gt: ("more than", operator.gt),
    Le: ("at most", operator.le),
    Lt: ("less than", operator.lt),
}


@dataclass(frozen=True)
class Parameter:
    """A parameter in a signature, with its type, bounds, unit and default."""

    name: str
    type: Any
    default: Any
    bounds: tuple[Bound, ...]
    unit: str | None
    help: str
    file: bool = False

    @property
    def flag(self) -> str:
        """As given on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def expected(self) -> str:
        """The type and bounds in words, e.g. `an integer, at least 16 (pixels)`."""
        limits = "".join(f", {BOUNDS[type(b)][0]} {b.value:g}" for b in self.bounds)
        return _in_words(self.type) + limits + (f" ({self.unit})" if self.unit else "")

    def check(self, found: Any) -> Any:
        """Convert a value (text from a command line, or a Python value) to the declared type.

        Raises:
            GeoductError: it cannot be read as that type, or lies outside the bounds.
        """
        try:
            value = _convert(found, self.type)
        except (ValueError, TypeError, StopIteration):
            shown = " ".join(map(str, found)) if isinstance(found, list | tuple) else found
            raise GeoductError(f"{self.flag} is {str(shown)!r}; expected {self.expected}") from None
        for item in value if isinstance(value, tuple) else [value]:
            for bound in self.bounds if item is not None else ():
                if not BOUNDS[type(bound)][1](item, bound.value):
                    raise GeoductError(f"{self.flag} is {item}; expected {self.expected}")
        return value


def _in_words(kind: Any) -> str:
    if kind in (int, float, str, bool):
        return {int: "an integer", float: "a number", str: "text", bool: "true or false"}[kind]
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if get_origin(kind) is tuple:
        if arguments[-1] is Ellipsis:
            return f"one or more of: {_in_words(arguments[0])}"
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
        return next(a for a in arguments if str(a) == str(found))
    if get_origin(kind) is tuple:
        items = list(found) if isinstance(found, list | tuple) else [found]
        kinds = arguments[:1] * len(items) if arguments[-1] is Ellipsis else arguments
        return tuple(_convert(i, a) for i, a in zip(items, kinds, strict=True))
    if found is None or str(found[0] if isinstance(found, list) and len(found) == 1 else found).lower() in (
        "none",
        "null",
    ):
        return None
    (inner,) = (a for a in arguments if a is not type(None))
    return _convert(found, inner)


def _no() -> typing.NoReturn:
    raise ValueError
