"""Running a component on this machine: open the inputs, stage the outputs, call the function, seal and publish."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components import __version__, artifacts, storage
from components.artifacts.base import is_artifact
from components.errors import GeoductError
from components.spec import Spec


def run(spec: Spec, function: Callable[..., None], arguments: Mapping[str, Any]) -> None:
    """Check, open, run, seal and publish.

    Raises:
        GeoductError: for anything that the user can mend; no output is changed then.
    """
    given, parameters = spec.bind(arguments)
    places = {s.name: _location(given[s.name]) for s in spec.slots if s.name in given}
    _refuse_overlap(spec, places)
    opened = {s.name: getattr(artifacts, s.kind).open(places[s.name]) for s in spec.inputs if s.name in places}
    targets = {s.name: Path(places[s.name]) for s in spec.outputs if s.name in places}
    provenance = {
        "component": spec.name,
        "parameters": parameters,
        "inputs": {name: {"kind": a.kind, "digest": a.digest} for name, a in opened.items()},
        "version": __version__,
        "image": os.environ.get("GEODUCT_IMAGE"),
    }
    with _staged(targets, _key(provenance) if spec.resumable else None) as staged:
        handles: dict[str, Any] = {
            s.name: getattr(artifacts, s.kind)(staged[s.name]) for s in spec.outputs if s.name in staged
        }
        absent = {s.name: None for s in spec.slots if s.name not in given}
        with _plain_errors(opened, targets):
            function(**{**absent, **opened, **handles, **parameters})
            for name, artifact in handles.items():
                artifact.seal(provenance)
                type(artifact).open(staged[name])


def _location(value: Any) -> str:
    return str(getattr(value, "location", None) or getattr(value, "path", None) or value)


def _refuse_overlap(spec: Spec, places: Mapping[str, str]) -> None:
    """Refuse an output that overlaps another artifact of the same run, or that would replace foreign data."""
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


def _key(provenance: Mapping[str, Any]) -> str:
    """What a resumed run must share with the one that was killed; it may run elsewhere, or in a newer image."""
    shared = {name: value for name, value in provenance.items() if name != "image"}
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:12]


@contextmanager
def _staged(targets: Mapping[str, Path], key: str | None) -> Iterator[dict[str, Path]]:
    """Give each output a staging folder beside its place; on success move all into place.

    After bad input nothing is left. A resumable run that is interrupted, or that the machine failed, keeps its
    staging folder for the next run with the same key.
    """
    staged: dict[str, Path] = {}
    try:
        for name, target in targets.items():
            staged[name] = storage.stage(target, key or storage.FRESH)
        yield staged
        for name, target in targets.items():
            storage.publish(staged[name], target)
    except BaseException as error:
        refused = isinstance(error, GeoductError) and not isinstance(error.__cause__, OSError)
        if key is None or refused:
            for path in staged.values():
                storage.remove(path)
        raise


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
            raise GeoductError(f"the disk is full: {where} could not be written") from error
        for artifact in opened.values():
            if hasattr(artifact, "verify"):
                artifact.verify()
        raise
