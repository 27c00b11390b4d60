"""Finding the maps to be published, and refusing those that cannot stand in one collection."""

from __future__ import annotations

import os
from pathlib import Path

from components.artifacts.base import Artifact, is_artifact
from components.artifacts.map import Map
from components.errors import GeoductError


def gather(folder: Path) -> list[Map]:
    """The maps in `folder`, at any depth, in order of their items' ids; hidden folders are passed over.

    Raises:
        GeoductError: it is no folder, there is no map in it, one is damaged, two have the same id, or their classes
            differ.
    """
    if not folder.is_dir():
        raise GeoductError(f"{folder} is no folder; expected one in which maps lie")
    maps: dict[str, Map] = {}
    for path in _artifacts(folder):
        if Artifact(path).manifest["kind"] != Map.kind:
            continue
        found = Map.open(path)
        id = str(found.item["id"])
        if id in maps:
            raise GeoductError(
                f"{maps[id].path} and {path} are both {id!r}: the same model made them of the same composite; "
                "expected each map once"
            )
        maps[id] = found
    if not maps:
        raise GeoductError(f"{folder} holds no Map; expected what predict wrote, at any depth")
    first, *others = [maps[id] for id in sorted(maps)]
    for other in others:
        if other.nomenclature != first.nomenclature:
            raise GeoductError(
                f"{first.path} has the classes of {first.nomenclature.name!r} and {other.path} other ones, "
                f"{other.nomenclature.name!r}; expected the same in all, publish them apart"
            )
    return [first, *others]


def _artifacts(folder: Path) -> list[Path]:
    """Folders with a manifest, not looking inside them or into hidden folders."""
    found = []
    for name, folders, _ in os.walk(folder):
        if is_artifact(Path(name)):
            found.append(Path(name))
            folders.clear()
        folders[:] = sorted(f for f in folders if not f.startswith("."))
    return found
