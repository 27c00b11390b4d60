"""The flags of a component's command line, built from its signature."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter
from typing import Any, NoReturn, get_args, get_origin

from components.errors import GeoductError, nearest
from components.parameters import Parameter
from components.spec import Spec


class Parser(ArgumentParser):
    """An argument parser whose complaints are one sentence, after the words that the command begins with."""

    def error(self, message: str) -> NoReturn:
        raise GeoductError(f"{self.prog.removeprefix('geoduct ').removeprefix('python -m ')}: {message}")


def _default(parameter: Parameter) -> str:
    value = parameter.default
    if value is None:
        return "none"
    return (" ".join(map(str, value)) if isinstance(value, tuple) else str(value)) or "nothing"


def _parser_of(spec: Spec) -> ArgumentParser:
    """The argument parser of one component."""
    parser = Parser(
        prog=f"geoduct {spec.name}",
        description=f"{spec.summary}\n\n{spec.description}".strip(),
        formatter_class=RawDescriptionHelpFormatter,
        argument_default=SUPPRESS,
        allow_abbrev=False,
    )
    groups = {"input": parser.add_argument_group("reads"), "output": parser.add_argument_group("writes")}
    for slot in spec.slots:
        note = " (may be left out)" if slot.optional else ""
        groups[slot.direction].add_argument(
            slot.flag, dest=slot.name, metavar=slot.kind, help=(slot.help + note).replace("%", "%%")
        )
    settings = parser.add_argument_group("parameters")
    for p in spec.parameters:
        text = f"{p.help} [{p.expected}; default: {_default(p)}]".replace("%", "%%")
        flags = [p.flag] + ([f"--{p.name}"] if "_" in p.name else [])  # dvc unpacks params.yaml with underscores
        if p.type is bool:
            settings.add_argument(*flags, dest=p.name, nargs="?", const="true", metavar="BOOL", help=text)
            off = ["--no-" + flag[2:] for flag in flags]
            settings.add_argument(*off, dest=p.name, action="store_const", const="false", help=SUPPRESS)
        else:
            types = (p.type, *get_args(p.type))
            several = any(get_origin(t) is tuple for t in types)
            settings.add_argument(*flags, dest=p.name, nargs="+" if several else None, metavar="VALUE", help=text)
    parser.add_argument("--dry-run", action="store_true", help="print what would be run, and run nothing")
    return parser


def parse(spec: Spec, arguments: list[str]) -> dict[str, Any]:
    """Arguments by name, as text; `Spec.bind` checks them.

    Raises:
        GeoductError: a flag is unknown (the nearest is named) or lacks its value.
    """
    parser = _parser_of(spec)
    found, unknown = parser.parse_known_args(arguments)
    if unknown:
        flags = [s.flag for s in spec.slots] + [p.flag for p in spec.parameters]
        raise GeoductError(f"{spec.name} does not know {unknown[0]!r}{nearest(unknown[0], flags)}")
    return vars(found)
