"""Running a component on this machine: open the inputs, stage the outputs, call the function, seal and publish.

An artifact on object storage is worked on as a local copy; see `components.objects`.

Of several ranks each opens the inputs, but rank 0 alone stages, seals and publishes; the others write, if at all, into
the folders that it has staged.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from components import __version__, artifacts, objects, ranks, storage
from components.artifacts.base import MANIFEST, Artifact, is_artifact
from components.errors import GeoductError, Halted, one
from components.progress import say
from components.spec import Spec

ELSEWHERE = frozenset({"workers", "scheduler"})
"""Parameters, in any component, that say who does the work and not what comes of it."""


def run(spec: Spec, function: Callable[..., None], arguments: Mapping[str, Any]) -> None:
    """Check, open, run, seal and publish.

    Raises:
        GeoductError: for anything that the user can mend; no output is changed then.
    """
    given, parameters = spec.bind(arguments)
    with ranks.together(*_ranks(spec, arguments, parameters)) as crew:
        _run(spec, function, given, parameters, crew)


def _ranks(
    spec: Spec, arguments: Mapping[str, Any], parameters: Mapping[str, Any]
) -> tuple[ranks.Place, int, list[str]]:
    """Our place in the run, how many ranks are to be on this machine, and the command that becomes one more."""
    place, start = ranks.here(), parameters[spec.ranks] if spec.ranks else 1
    if place.size > 1 and spec.ranks is None:
        raise GeoductError(f"{spec.name} runs as one process, but {place.size} were started; expected one (srun -n 1)")
    if place.size > 1 and start not in (1, place.size):
        raise GeoductError(
            f"--{spec.ranks} is {start}, but {place.size} ranks were started; expected 1 or {place.size}"
        )
    if start == 1 or place.size > 1:
        return place, start, []
    from components.launch.plan import command_line

    return place, start, [sys.executable, "-m", "components", *command_line(spec, arguments)[1:]]


def _run(
    spec: Spec, function: Callable[..., None], given: Mapping[str, Any], parameters: dict[str, Any], crew: ranks.Ranks
) -> None:
    places = {s.name: _location(given[s.name]) for s in spec.slots if s.name in given}
    _refuse_overlap(spec, places)
    opened = {s.name: getattr(artifacts, s.kind).open(places[s.name]) for s in spec.inputs if s.name in places}
    targets = {s.name: places[s.name] for s in spec.outputs if s.name in places}
    provenance: dict[str, Any] = {
        "component": spec.name,
        "parameters": parameters,
        "inputs": {name: {"kind": a.kind, "digest": a.digest} for name, a in opened.items()},
        "version": __version__,
        "image": os.environ.get("GEODUCT_IMAGE"),
    }
    key = _key(spec, provenance)
    if spec.ranks:
        provenance["ranks"] = crew.size
    with _staged(targets, spec.resumable, key, crew) as staged:
        handles: dict[str, Any] = {
            s.name: getattr(artifacts, s.kind)(staged[s.name]) for s in spec.outputs if s.name in staged
        }
        absent = {s.name: None for s in spec.slots if s.name not in given}
        together = {"ranks": crew} if spec.ranks else {}
        with _plain_errors(opened, targets), crew.blaming():
            function(**{**absent, **opened, **handles, **parameters, **together})
        if crew.rank == 0:
            with _plain_errors(opened, targets):
                for name, artifact in handles.items():
                    artifact.seal(provenance)
                    type(artifact).open(staged[name])
    if crew.rank == 0:
        for name, artifact in handles.items():
            look = f"; look at {targets[name].rstrip('/')}/{artifact.look}" if artifact.look else ""
            say(f"{spec.name}: {targets[name]} is {one(artifact.kind)}{look}")


def _location(value: Any) -> str:
    return str(getattr(value, "location", None) or getattr(value, "path", None) or value)


def _refuse_overlap(spec: Spec, places: Mapping[str, str]) -> None:
    """Refuse an output that overlaps another artifact of the same run, or would replace what is of another kind."""
    resolved = {name: Path(place).resolve() for name, place in places.items()}
    for out in (s for s in spec.outputs if s.name in places):
        path = resolved[out.name]
        if re.match(r"^\w+://", places[out.name]) and not objects.is_object(places[out.name]):
            raise GeoductError(f"{out.flag} is {places[out.name]!r}; expected a path on this machine or an s3:// URL")
        for name, other in resolved.items():
            if name != out.name and (path == other or path in other.parents or other in path.parents):
                raise GeoductError(
                    f"{out.flag} {places[out.name]} overlaps with --{name.replace('_', '-')} {places[name]}"
                )
        if objects.is_object(places[out.name]):
            objects.refuse_foreign(places[out.name], out.flag, MANIFEST)
            manifest = objects.manifest(places[out.name], MANIFEST)
        elif is_artifact(path):
            manifest = Artifact(path).manifest
        elif path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise GeoductError(
                f"{places[out.name]} exists and is no Geoduct artifact; remove it or choose another {out.flag}"
            )
        else:
            manifest = None
        if manifest is not None and manifest.get("kind") != out.kind:
            raise GeoductError(
                f"{places[out.name]} is {one(str(manifest.get('kind')))}, and {out.flag} writes {one(out.kind)}; "
                f"remove it or choose another {out.flag}"
            )


def _key(spec: Spec, provenance: Mapping[str, Any]) -> str:
    """What a resumed run must share with the one that was killed; it may run elsewhere, or in a newer image.

    A file that a parameter names counts by its absolute path, by which further ranks and containers are told of it.
    """
    shared = {name: value for name, value in provenance.items() if name != "image"}
    shared["parameters"] = {name: value for name, value in shared["parameters"].items() if name not in ELSEWHERE}
    for name in (p.name for p in spec.parameters if p.file):
        if Path(str(shared["parameters"][name])).is_file():
            shared["parameters"][name] = str(Path(shared["parameters"][name]).resolve())
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:12]


@contextmanager
def _staged(targets: Mapping[str, str], resume: bool, key: str, crew: ranks.Ranks) -> Iterator[dict[str, Path]]:
    """Give each output a staging folder beside its place, or in the cache for one on object storage; on success move
    or upload all into place.

    After bad input nothing is left. A resumable run that was interrupted or halted, or that the machine failed, keeps
    its staging folder for the next run with the same key; so does one that had taken a folder over, whatever ends it:
    a node without a GPU must not cost what others have computed.
    """
    crew.meet(key)
    if crew.rank:
        yield {name: Path(path) for name, path in crew.share(None).items()}
        return
    staged: dict[str, Path] = {}
    taken = False
    locks = ExitStack()
    try:
        for name, target in targets.items():
            beside = objects.staging_place(target) if objects.is_object(target) else Path(target)
            locks.enter_context(storage.writing(beside))
            staged[name] = storage.stage(beside, key if resume else storage.FRESH)
            taken = taken or staged[name].exists()
        crew.share({name: str(path) for name, path in staged.items()})
        yield staged
        for name, target in targets.items():
            if objects.is_object(target):
                objects.put(staged[name], target, MANIFEST)
                storage.remove(staged[name].parent)
            else:
                storage.publish(staged[name], Path(target))
    except BaseException as error:
        refused = isinstance(error, GeoductError) and not isinstance(error, Halted)
        if not resume or (refused and not taken and not isinstance(error.__cause__, OSError)):
            for path in staged.values():
                storage.remove(path)
        raise
    finally:
        locks.close()


@contextmanager
def _plain_errors(opened: Mapping[str, Any], targets: Mapping[str, str]) -> Iterator[None]:
    """Turn what the machine or a damaged input did to us into one sentence; let real defects through."""
    try:
        yield
    except GeoductError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = ", ".join(targets.values())
            raise GeoductError(f"the disk is full: {where} could not be written") from error
        for artifact in opened.values():
            if hasattr(artifact, "verify"):
                artifact.verify()
        raise
