"""The command line: `geoduct <component> …`, built from the components' signatures."""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path
from typing import NoReturn

from components import __version__
from components.errors import GeoductError, nearest
from components.flags import parse
from components.ranks import speaks
from components.registry import COMPONENTS, load

TOOLS = {
    "verify": "Re-read an artifact and compare every byte with its manifest.",
    "experiment": "Say which experiment is active, or write params.yaml for another one.",
    "sweep": "Search parameters of train or finetune with several workers (geoduct sweep --help).",
    "scaling": "Measure how training gets faster with more ranks (geoduct scaling --help).",
    "hpc": "On a supercomputer: the environment of a site, a check before the first job (geoduct hpc --help).",
    "weights": "Fetch or convert the weights of a foundation model (geoduct weights --help).",
}

HELP = (["-h"], ["--help"])
"""Words after a tool that ask what it does."""


def _overview() -> str:
    lines = ["usage: geoduct <component> [--flags]   (geoduct <component> --help explains one)", "", "components:"]
    lines += [f"  {name:<11}{load(name).spec.summary}" for name in COMPONENTS]
    lines += ["", "tools:", *(f"  {name:<11}{text}" for name, text in TOOLS.items())]
    return "\n".join(lines)


def _verify(arguments: list[str]) -> None:
    from components import artifacts, objects
    from components.artifacts.base import MANIFEST, Artifact

    usage = "usage: geoduct verify <path of an artifact>"
    if arguments in HELP:
        print(f"{usage}\n\n{TOOLS['verify']}")
        return
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise GeoductError(usage)
    path = arguments[0]
    if objects.is_object(path):
        path = str(objects.fetch(path, None, MANIFEST, anew=True))
    kind = str(Artifact(path).manifest["kind"])
    if kind not in artifacts.MODULES:
        raise GeoductError(f"{arguments[0]} is a {kind!r}, which this version of Geoduct does not know")
    artifact = getattr(artifacts, kind).open(path)
    artifact.verify()
    print(f"{arguments[0]}: {kind}, {len(artifact.manifest['files'])} files, {artifact.digest}: as written")


def _experiment(arguments: list[str]) -> None:
    from pipelines.experiments import activate, active, known

    usage = f"usage: geoduct experiment [<name>]; known: {', '.join(known(Path.cwd()))}"
    if arguments in HELP:
        print(f"{usage}\n\n{TOOLS['experiment']}")
    elif not arguments:
        print(active(Path.cwd()))
    elif len(arguments) == 1 and not arguments[0].startswith("-"):
        print(activate(Path.cwd(), arguments[0]))
    else:
        raise GeoductError(usage)


def _run(name: str, words: list[str]) -> int:
    from components.launch import chosen, launch, preview

    component = load(name)
    arguments = parse(component.spec, words)
    dry, launcher = arguments.pop("dry_run", False), chosen()
    if dry:
        print(preview(launcher, component.spec, arguments))
        return 0
    if launcher != "host":
        return launch(launcher, component.spec, arguments)
    component.settle()
    component.run(arguments)
    return 0


def dispatch(arguments: list[str]) -> int:
    """Run one command and return its exit code.

    Raises:
        GeoductError: for anything that the user can mend.
    """
    match arguments:
        case [] | ["-h"] | ["--help"] | ["help"]:
            print(_overview())
        case ["--version"]:
            print(__version__)
        case ["verify", *rest]:
            _verify(rest)
        case ["experiment", *rest]:
            _experiment(rest)
        case ["kfp", *rest]:
            from components.kubeflow import execute

            execute(rest)
        case ["sweep", *rest]:
            from components.sweep.command import main as sweep

            sweep(rest)
        case ["scaling", *rest]:
            from components.scaling.command import main as scaling

            scaling(rest)
        case ["hpc", *rest]:
            from components.hpc.command import main as hpc

            return hpc(rest)
        case ["weights", *rest]:
            from components.weights.command import main as weights

            return weights(rest)
        case [name, *rest] if name in COMPONENTS:
            return _run(name, rest)
        case [name, *_]:
            raise GeoductError(f"there is no component {name!r}{nearest(name, [*COMPONENTS, *TOOLS])}")
    return 0


def _terminate(number: int, frame: object) -> NoReturn:
    """Leave as after an error, so that no half artifact stays, and say so with the usual exit code."""
    if speaks():
        print("geoduct: ended by SIGTERM", file=sys.stderr, flush=True)
    sys.exit(128 + number)


def main() -> None:
    """Entry point of the `geoduct` command: exit code 0, 2 for bad input, 130 when interrupted, 143 when terminated.

    A run that was asked to stop ends with 75 once it has a checkpoint, one that lost a rank with 1, one whose output
    nobody reads any more with 141. Of several ranks only rank 0 speaks.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        try:
            sys.exit(dispatch(sys.argv[1:]))
        finally:
            sys.stdout.flush()
    except GeoductError as error:
        if speaks():
            print(f"geoduct: {error}", file=sys.stderr)
        sys.exit(error.code)
    except KeyboardInterrupt:
        if speaks():
            print("geoduct: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        output = select.poll()
        output.register(sys.stdout.fileno(), 0)
        if not output.poll(0):  # another pipe than our output, which its reader may close, as `head` does
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        sys.exit(128 + signal.SIGPIPE)


if __name__ == "__main__":
    main()
