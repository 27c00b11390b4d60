"""A component as a task of Kubeflow Pipelines: what goes in and out of it there, and how it runs in its container.

Large stores stay where they are: between tasks travel their location, as text, and the digest of their contents.
Kubeflow caches a task by its arguments, so the digest among them makes changed contents a new task and spares
unchanged ones. Every output lies in the pipeline's root under a name that ends with its digest: what a cached task
once answered is never overwritten. Kubeflow's own artifacts are small files: a manifest, scores, a page.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from components import artifacts, objects, storage
from components.artifacts.base import MANIFEST
from components.artifacts.source import Source
from components.artifacts.summary import SUMMARISED, numbers, page
from components.errors import GeoductError, nearest
from components.parameters import Parameter
from components.registry import COMPONENTS, load
from components.spec import Slot, Spec

IDENTIFY = "identify"
"""The task that says the digest of what lies at a location, so that later tasks can be cached by it."""
WORK = ".work"
"""Folder in the root for what is not finished; of no use once no run is on."""

_NONE = "none"
_KNOWN = "sha256:"
_PLAIN: tuple[type, ...] = (bool, int, float, str)


def kfp_type(parameter: Parameter) -> type:
    """The type of a parameter in Kubeflow: `bool`, `int`, `float`, `str` or `list`.

    What may be none is text there, for Kubeflow drops an argument that is null.
    """
    if parameter.type in _PLAIN:
        return parameter.type  # type: ignore[no-any-return]  # a Parameter's type is Any: it may be a generic alias
    return list if get_origin(parameter.type) in (list, tuple) else str


def encode(parameter: Parameter, value: Any) -> Any:
    """A checked value as Kubeflow carries it."""
    if kfp_type(parameter) is list:
        return list(value)
    if kfp_type(parameter) is not str:
        return value
    if value is None:
        return _NONE
    return json.dumps(value) if isinstance(value, list | tuple) else str(value)


def decode(parameter: Parameter, carried: Any) -> Any:
    """The checked value that `encode` was given.

    Raises:
        GeoductError: it is none of the parameter's type.
    """
    several = any(get_origin(kind) in (list, tuple) for kind in get_args(parameter.type))
    if several and isinstance(carried, str) and carried.startswith("["):
        try:
            carried = json.loads(carried)
        except ValueError:
            raise GeoductError(f"{parameter.flag} is {carried!r}; expected {parameter.expected}") from None
    return parameter.check(carried)


def task_inputs(spec: Spec, several: Sequence[str] = ()) -> dict[str, type]:
    """Names and types of what a task is given; each artifact named in `several` is a list, put in one folder."""
    ports: dict[str, type] = {"root": str}
    for slot in spec.inputs:
        ports[slot.name] = ports[f"{slot.name}_digest"] = list if slot.name in several else str
    return ports | {p.name: kfp_type(p) for p in spec.parameters}


def task_outputs(spec: Spec) -> tuple[dict[str, type], dict[str, str]]:
    """Names of what a task answers: values with their types, and Kubeflow's artifacts with theirs."""
    values: dict[str, type] = {}
    files: dict[str, str] = {}
    for slot in spec.outputs:
        values |= {f"{slot.name}_location": str, f"{slot.name}_digest": str}
        files[slot.name] = "Artifact"
        if slot.kind == "SceneList":
            values[f"{slot.name}_ids"] = list
        if slot.kind in SUMMARISED:
            files |= {f"{slot.name}_metrics": "Metrics", f"{slot.name}_page": "HTML"}
    return values, files


def execute(words: Sequence[str]) -> None:
    """`geoduct kfp …`, which Kubeflow's tasks call: a component, the executor input, the job, the files to write.

    Raises:
        GeoductError: for anything that the user can mend; nothing is answered then.
    """
    match words:
        case [name, executor_input, job, *files] if name in (*COMPONENTS, IDENTIFY):
            message = _message(executor_input)
            given = message.get("inputs", {}).get("parameterValues", {})
            if name == IDENTIFY:
                _answer(message["outputs"], {"digest": Source.open(_text(given, "location")).digest}, {})
            else:
                _answer(message["outputs"], *_run(load(name).spec, given, job, _paths(files)))
        case [name, *_] if name not in (*COMPONENTS, IDENTIFY):
            raise GeoductError(f"kfp: there is no component {name!r}{nearest(name, [*COMPONENTS, IDENTIFY])}")
        case _:
            raise GeoductError("usage: geoduct kfp <component> <executor input> <job> [<output>=<file> …]")


def _message(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
        _ = found["outputs"]["outputFile"]
    except (ValueError, KeyError, TypeError):
        raise GeoductError(
            f"kfp: {text[:60]!r} is no executor input of Kubeflow, which names outputs.outputFile"
        ) from None
    return dict(found)


def _paths(words: Sequence[str]) -> dict[str, Path]:
    split = [word.partition("=") for word in words]
    if wrong := next((word for word, pair in zip(words, split, strict=True) if not pair[2]), None):
        raise GeoductError(f"kfp: {wrong!r} names no file; expected <output>=<file>")
    return {name: Path(path) for name, _, path in split}


def _text(given: Mapping[str, Any], name: str) -> str:
    if not isinstance(found := given.get(name), str) or not found:
        raise GeoductError(f"kfp: {name} is {found!r}; expected text")
    return found


def _run(
    spec: Spec, given: Mapping[str, Any], job: str, files: Mapping[str, Path]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the component, put its outputs in their places and say where; `files` get manifests, scores and pages."""
    root = _text(given, "root").rstrip("/")
    if objects.is_object(root):
        scratch = objects.cache()
    elif Source(root).is_path:
        scratch = Path(root)
    else:
        raise GeoductError(f"kfp: root is {root!r}; expected a folder or an s3:// URL")
    work = scratch / WORK / f"{job}-{spec.name}-{_key(given)}"
    done = False
    try:
        arguments: dict[str, Any] = {p.name: decode(p, given.get(p.name, p.default)) for p in spec.parameters}
        for slot in spec.inputs:
            if given.get(slot.name):
                arguments[slot.name] = _input(slot, given[slot.name], given.get(f"{slot.name}_digest"), work)
        component = load(spec.name)
        component.settle()
        component.run({**arguments, **{slot.name: work / slot.name for slot in spec.outputs}})
        values, written = _outputs(spec, root, work, files)
        done = True
    finally:
        if done or not spec.resumable:
            storage.remove(work)
    return values, written


def _key(given: Mapping[str, Any]) -> str:
    """Tells apart the tasks of one component in one job; the same when Kubeflow tries a task again."""
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:12]


def _input(slot: Slot, location: Any, digest: Any, work: Path) -> str:
    """Where an input lies, once its contents are known to be those meant."""
    if isinstance(location, list):
        folder = work / f"{slot.name}-given"
        storage.remove(folder)
        for number, one in enumerate(location):
            found = _input(slot, one, digest[number] if digest else None, work)
            # Links, for the component is to find them side by side, not to have them twice.
            shutil.copytree(found, folder / f"{number:04}", copy_function=os.link)
        return str(folder)
    found = str(location)
    if objects.is_object(found) and str(digest).startswith(_KNOWN):
        found = str(objects.fetch(found, None, MANIFEST))  # not every reader of a Source reads object storage
    artifact = getattr(artifacts, slot.kind).open(found)
    if digest and artifact.digest != digest:
        raise GeoductError(
            f"{slot.flag} {location} no longer holds what this run was to read ({artifact.digest}, not {digest}); "
            "run the pipeline anew without Kubeflow's cache"
        )
    return found


def _outputs(
    spec: Spec, root: str, work: Path, files: Mapping[str, Path]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    values: dict[str, Any] = {}
    written: dict[str, dict[str, Any]] = {}
    for slot in spec.outputs:
        kind = getattr(artifacts, slot.kind)
        artifact = kind.open(work / slot.name)
        place = f"{root}/{slot.name}-{artifact.digest.rpartition(':')[2][:12]}"
        print(f"{slot.name}: {place}")
        manifest = {"kind": slot.kind, "location": place, "digest": artifact.digest}
        values |= {f"{slot.name}_location": place, f"{slot.name}_digest": artifact.digest}
        written[slot.name] = manifest
        _write(files[slot.name], json.dumps(manifest, indent=1) + "\n")
        if slot.kind == "SceneList":
            values[f"{slot.name}_ids"] = [item.id for item in artifact.items]
        if slot.kind in SUMMARISED:
            written |= {f"{slot.name}_metrics": (scores := numbers(artifact)), f"{slot.name}_page": {}}
            _write(files[f"{slot.name}_metrics"], json.dumps(scores, indent=1) + "\n")
            _write(files[f"{slot.name}_page"], page(artifact))
        _settle(artifact.path, place)
    return values, written


def _settle(made: Path, place: str) -> None:
    """Move an artifact to the place that its contents name; what is there already is the same."""
    if objects.is_object(place):
        if objects.manifest(place, MANIFEST) is None:
            objects.put(made, place, MANIFEST)
        return
    try:
        made.rename(place)
    except OSError:
        if not Path(place).exists():
            raise


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _answer(outputs: Mapping[str, Any], values: Mapping[str, Any], written: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the executor output, from which Kubeflow takes values, artifacts and their metadata."""
    declared = outputs.get("artifacts", {})
    answered = {
        name: {"artifacts": [{**declared[name]["artifacts"][0], "metadata": dict(metadata)}]}
        for name, metadata in written.items()
        if name in declared
    }
    text = json.dumps({"parameterValues": values, "artifacts": answered})
    _write(Path(outputs["outputFile"]), text)
