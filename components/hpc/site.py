"""Profiles of sites: `hpc/sites/<site>.yaml`, all that differs between one cluster and another.

A profile is read and checked whole, so that a misspelt key is named before a job is submitted. Values may hold
variables of the environment, which are filled in where they are used: a profile can be checked off the site.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.errors import GeoductError, nearest
from components.registry import COMPONENTS

DEFAULT = "default"
"""The entry under `resources` that the others are built upon."""

_TIME = r"^(\d+-)?\d{1,2}:\d{2}:\d{2}$"
_MEMORY = r"^\d+[KMGT]$"
_VARIABLE = re.compile(r"\$(\w+)")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_T = TypeVar("_T", bound=_Model)


class Resources(_Model):
    """What a component asks of SLURM: `tasks`, `gpus` and `memory` on each node, `cpus` for each task."""

    partition: str
    nodes: Annotated[int, Field(ge=1)]
    tasks: Annotated[int, Field(ge=1)]
    cpus: Annotated[int, Field(ge=1)]
    gpus: Annotated[int, Field(ge=0)]
    memory: Annotated[str, Field(pattern=_MEMORY)] | None
    time: Annotated[str, Field(pattern=_TIME)]


class _Profile(_Model):
    systems: list[str]
    account: str | None
    group: str | None
    modules: list[str]
    project: str
    scratch: str
    sif: str | None
    binds: list[str]
    interface: str | None
    host_suffix: str
    internet: bool
    warning: Annotated[int, Field(ge=0)]
    successors: Annotated[int, Field(ge=0)]
    patience: Annotated[int, Field(ge=1)]
    resources: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Site:
    """One site. The keys are explained in `hpc/sites/jureca.yaml`; `path()` fills in the environment's variables."""

    name: str
    file: Path
    profile: _Profile
    resources: Mapping[str, Resources]

    def of(self, component: str) -> Resources:
        """What a component asks for: its own entry, or the default."""
        return self.resources.get(component, self.resources[DEFAULT])

    def path(self, key: str, value: str) -> Path:
        """A folder of the profile with its variables filled in.

        Raises:
            GeoductError: a variable is not set.
        """

        def fill(found: re.Match[str]) -> str:
            if not os.environ.get(found[1]):
                raise GeoductError(
                    f"{self.file}: {key} is {value}, but {found[0]} is not set{_HINTS.get(found[1], '')}"
                )
            return os.environ[found[1]]

        return Path(_VARIABLE.sub(fill, value))


_HINTS = dict.fromkeys(("PROJECT", "SCRATCH"), ": choose the project first (jutil env activate -p <project>)")


def scripts() -> Path:
    """The folder of the batch scripts: `$GEODUCT_HPC`, else that of the project we stand in, else of the one installed.

    Raises:
        GeoductError: it is not there.
    """
    places = [Path.cwd() / "hpc", Path(__file__).parents[2] / "hpc"]
    if named := os.environ.get("GEODUCT_HPC"):
        places = [Path(named)]
    for place in places:
        if (place / "stage.sbatch").is_file():
            return place.absolute()
    raise GeoductError(
        f"there are no batch scripts in {places[0]}: stand in the project, or set GEODUCT_HPC to its hpc/"
    )


def find(name: str | None = None) -> Site:
    """Read the profile of a site: the one named, else of `$GEODUCT_SITE`, else of the machine that `$SYSTEMNAME` tells.

    Raises:
        GeoductError: no site is named, there is no such profile, or it is wrong.
    """
    folder = scripts() / "sites"
    known = {file.stem: file for file in sorted(folder.glob("*.yaml"))}
    name = name or os.environ.get("GEODUCT_SITE")
    if name:
        if name not in known:
            raise GeoductError(f"there is no site {name!r} in {folder}{nearest(name, known)}")
        return read(known[name])
    if system := os.environ.get("SYSTEMNAME"):
        for file in known.values():
            site = read(file)
            if system in site.profile.systems:
                return site
    raise GeoductError(f"which site is this? Set GEODUCT_SITE, or give --site; known: {', '.join(known)}")


def read(file: Path) -> Site:
    """Read and check one profile.

    Raises:
        GeoductError: it cannot be read, a key is unknown (the nearest is named) or missing, a value is wrong.
    """
    try:
        found = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise GeoductError(f"{file} cannot be read as YAML ({error})") from None
    if not isinstance(found, dict):
        raise GeoductError(f"{file} is no profile of a site: expected keys such as account, resources")
    profile = _checked(_Profile, found, f"{file}")
    if DEFAULT not in profile.resources:
        raise GeoductError(f"{file}: resources.{DEFAULT} is missing")
    resources: dict[str, Resources] = {}
    for name, entry in profile.resources.items():
        known = (DEFAULT, *COMPONENTS)
        if name not in known:
            raise GeoductError(f"{file}: resources.{name} is no component{nearest(name, known)}")
        whole = {**profile.resources[DEFAULT], **entry}
        resources[name] = _checked(Resources, whole, f"{file}: resources.{name}")
    return Site(file.stem, file, profile, resources)


def _checked(model: type[_T], found: Mapping[str, Any], where: str) -> _T:
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise GeoductError(
                f"{where}: {key} is unknown{nearest(str(first['loc'][-1]), model.model_fields)}"
            ) from None
        if first["type"] == "missing":
            raise GeoductError(f"{where}: {key} is missing") from None
        note = _NOTES.get(str(first["loc"][-1]), first["msg"].lower())
        raise GeoductError(f"{where}: {key} is {first['input']!r}; expected {note}") from None


_NOTES = {
    "time": 'a walltime in quotes, such as "02:00:00" or "1-00:00:00"',
    "memory": "an amount for each node, such as 64G, or null",
}
