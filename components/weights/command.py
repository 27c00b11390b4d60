"""`geoduct weights fetch | convert`: the command line of the tools for weights.

They are declared, checked, staged and launched as components are; only their first word is given without a flag.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.errors import GeoductError, nearest

USAGE = """usage: geoduct weights <tool>   (geoduct weights <tool> --help explains one)

  fetch NAME [--to FOLDER] [--url URL] [--revision REVISION]   download the published weights of a backbone
  convert FILE --backbone NAME --to FOLDER                     take weights from a checkpoint at hand"""

HOME = Path("data") / "weights"
"""Where fetched weights go, each in a folder of its backbone's name."""


def main(words: list[str]) -> int:
    """Run one tool and return the exit code.

    Raises:
        GeoductError: for anything that the user can mend.
    """
    from components.weights.convert import convert
    from components.weights.fetch import fetch

    tools: dict[str, tuple[Callable[..., None], str]] = {"fetch": (fetch, "backbone"), "convert": (convert, "file")}
    match words:
        case [] | ["-h"] | ["--help"]:
            print(USAGE)
            return 0
        case [tool, *rest] if tool in tools:
            return _run(*tools[tool], rest)
    raise GeoductError(f"geoduct weights has no tool {words[0]!r}{nearest(words[0], tools)}")


def _run(function: Callable[..., None], first: str, words: list[str]) -> int:
    from components.contract import describe
    from components.flags import parse
    from components.launch import chosen, launch, preview
    from components.run import run

    spec = replace(describe(function, "learn", resumable=True), name=f"weights {function.__name__}")
    plain = words[:1] if words and not words[0].startswith("-") else []
    arguments: dict[str, Any] = parse(spec, words[len(plain) :])
    if plain:
        arguments[first] = plain[0]
    if not arguments.get(first):
        raise GeoductError(f"usage: geoduct {spec.name} {first.upper()} …; geoduct {spec.name} --help explains it")
    if function.__name__ == "fetch":
        arguments.setdefault("to", str(HOME / arguments[first]))
    dry, launcher = arguments.pop("dry_run", False), chosen()
    if launcher == "slurm":
        launcher = "apptainer"  # here, in the same container: compute nodes have no internet
    if dry:
        print(preview(launcher, spec, arguments))
    elif launcher != "host":
        return launch(launcher, spec, arguments)
    else:
        run(spec, function, arguments)
        print(arguments["to"])
    return 0
