"""`geoduct hpc env | check | container`: the command line of the tools for supercomputers."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from components.errors import GeoductError, nearest
from components.registry import COMPONENTS, load

USAGE = """usage: geoduct hpc <tool>

  env [COMPONENT] [--site SITE] [--account ACCOUNT]    shell commands that make sbatch ready for this site and what the
                                                       component (default: train) asks for: eval "$(geoduct hpc env)"
  check [COMPONENT] [--site SITE] [--account ACCOUNT] [--data PATH …]
                                                       see whether this account can run jobs here, and what to mend
  container COMPONENT --flag value …                   the `apptainer exec …` of a component, for batch scripts;
                                                       also of the tools sweep and scaling"""


def main(words: list[str]) -> int:
    """Run one tool and return the exit code: 0, or 1 if `check` found something to mend.

    Raises:
        GeoductError: the words are wrong, or the site's profile is.
    """
    tools: dict[str, Callable[[list[str]], int]] = {"env": _env, "check": _check, "container": _container}
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if words[0] not in tools:
        raise GeoductError(f"geoduct hpc has no tool {words[0]!r}{nearest(words[0], tools)}")
    return tools[words[0]](words[1:])


def _options(words: list[str], known: dict[str, int | None]) -> tuple[list[str], dict[str, list[str]]]:
    """Split words into those without a flag and those of each flag; `known` says how many a flag takes, None = any."""
    plain: list[str] = []
    given: dict[str, list[str]] = {}
    flag = ""
    for word in words:
        if word.startswith("--"):
            flag = word[2:]
            if flag not in known:
                raise GeoductError(f"geoduct hpc does not know {word!r}{nearest(word, ['--' + k for k in known])}")
            given[flag] = []
        elif flag and (known[flag] is None or len(given[flag]) < (known[flag] or 0)):
            given[flag].append(word)
        else:
            plain.append(word)
    for name, values in given.items():
        if not values:
            raise GeoductError(f"geoduct hpc: --{name} needs a value")
    return plain, given


def _component(plain: list[str]) -> str:
    name = plain[0] if plain else "train"
    if len(plain) > 1 or name not in COMPONENTS:
        raise GeoductError(f"there is no component {' '.join(plain)!r}{nearest(name, COMPONENTS)}")
    return name


def _env(words: list[str]) -> int:
    from components.hpc import environment, site

    plain, given = _options(words, {"site": 1, "account": 1})
    component = _component(plain)
    print(environment.exports(site.find(*given.get("site", [])), component, *given.get("account", [])))
    return 0


def _check(words: list[str]) -> int:
    from components.hpc import site
    from components.hpc.check import examine, table

    plain, given = _options(words, {"site": 1, "account": 1, "data": None})
    component = _component(plain)
    findings = examine(
        site.find(*given.get("site", [])), component, next(iter(given.get("account", [])), None), given.get("data", [])
    )
    print(table(findings))
    return int(any(f.status == "mend" for f in findings))


def _container(words: list[str]) -> int:
    from components import storage
    from components.flags import parse
    from components.hpc.contained import TOOLS, tool_plan
    from components.launch import apptainer
    from components.launch.plan import make_plan

    name, folder = words[0] if words else "", Path("/")
    if name in TOOLS:
        plan, folder = tool_plan(name, words[1:])
    elif name in COMPONENTS:
        spec = load(name).spec
        plan = make_plan(spec, parse(spec, words[1:]))
    else:
        raise GeoductError(f"there is no component {name!r}{nearest(name, [*COMPONENTS, *TOOLS])}")
    apptainer.check(plan)
    for mount in (m for m in plan.mounts if m.writable):
        storage.folder(mount.path)  # bound into the container, hence there before it starts
    for name, value in apptainer.environment(plan).items():
        print(f"export {name}={shlex.quote(value)}")
    print(f"container=({shlex.join(apptainer.command(plan, folder=folder))})")
    return 0
