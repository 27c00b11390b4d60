"""Running a pipeline on this machine: Kubeflow's own local runner, each task in a real container of the Docker engine.

The runner works in a process of its own (`pipelines.worker`), because it keeps global state, starts further containers
after an interrupt, and leaves those that run behind. From here it is watched, and whatever ends us, it ends too and its
containers are removed. Nor is its word taken for success: it reports a container that it lost sight of as succeeded, so
every output is looked for.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import objects, storage
from components.artifacts.base import MANIFEST
from components.artifacts.source import Source
from components.errors import GeoductError
from components.kubeflow import WORK
from components.launch.docker import LABEL, connect, fetch, remove_orphans, settings
from components.launch.plan import Mount, merge, passed_environment
from components.registry import load
from pipelines.compiling import images
from pipelines.graph import Pipeline

if TYPE_CHECKING:
    from docker import DockerClient

RECORDS = ".kubeflow"
"""Folder in the root where the local runner keeps what tasks answered, and its cache."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SAID = re.compile(r"^\s*geoduct: (.+)$")


def run_locally(pipeline: Pipeline, values: Mapping[str, Any], root: str, *, cache: bool) -> dict[str, Any]:
    """Run to the end and return the pipeline's outputs; Kubeflow's artifacts among them as the paths of their files.

    Args:
        pipeline: what to run
        values: all its parameters and inputs, but the root
        root: folder or `s3://` URL for all that is made
        cache: whether tasks are spared whose image, parameters and inputs' contents are those of an earlier run here

    Raises:
        GeoductError: no engine, no image, the root cannot be used, or a task failed.
    """
    client = connect()
    remove_orphans(client)
    for image in images().values():
        fetch(client, image)
    if objects.is_object(root):
        records = objects.cache() / "pipelines" / hashlib.sha256(root.encode()).hexdigest()[:16]
        work = records / WORK
    else:
        root = str(Path(root).absolute())
        records, work = Path(root) / RECORDS, Path(root) / WORK
    storage.folder(records)
    with _alone(records, root):
        _forget_removed(records / "cache")
        request = {
            "pipeline": pipeline.name,
            "values": {**values, "root": root},
            "records": str(records),
            "cache": cache,
            "container": _container(client, pipeline, {**values, "root": root}, records),
        }
        try:
            began = int(time.time())
            answer, said = _work(request, records / "answer.json")
        finally:
            _remove_containers(client)
            storage.remove(work)
        if "error" in answer:
            error = " ".join(_COLOUR.sub("", answer["error"]).split())
            raise GeoductError(f"pipeline {pipeline.name} failed: {_reason(client, error, said, began)}")
    outputs: dict[str, Any] = answer["outputs"]
    for name in pipeline.outputs:
        for path in _paths(outputs.get(name)):
            if not _exists(path):
                raise GeoductError(f"pipeline {pipeline.name} left no {name}: {path} does not exist")
    return outputs


def _exists(location: str) -> bool:
    return objects.manifest(location, MANIFEST) is not None if objects.is_object(location) else Path(location).exists()


def _paths(found: Any) -> list[str]:
    if isinstance(found, list):
        return [str(one) for one in found]
    return [str(found)]


@contextmanager
def _alone(records: Path, root: str) -> Iterator[None]:
    """Hold the root for one run at a time; the lock falls with the process that holds it."""
    with (records / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise GeoductError(f"another run is on in {root}; wait for it, or choose another --root") from None
        yield


def _container(client: DockerClient, pipeline: Pipeline, values: Mapping[str, Any], records: Path) -> dict[str, Any]:
    """Arguments for the engine that are the same for every task: the root to write in, the inputs to read."""
    files, environment = passed_environment()
    mounts = [*files, Mount(records, True)]
    for name in (n for n in ("root", *pipeline.inputs) if Source(values[n]).is_path):
        place = Path(values[name])
        mounts.append(Mount(place.parent if place.is_file() else place, name == "root"))
    for component in pipeline.components:
        for parameter in (p for p in load(component).spec.parameters if p.file):
            named = Path(str(values[f"{component}_{parameter.name}"]))
            if named.is_file():
                mounts.append(Mount(named, False))
    # A cache of this root's own: what is unfinished in it goes when the run ends.
    return settings(client, merge(mounts), {**environment, "GEODUCT_CACHE": str(records)}, gpus=True)


def _forget_removed(cache: Path) -> None:
    """Drop what the cache says of outputs that somebody has removed since; the runner looks only at its own files."""
    for entry in cache.glob("*.json"):
        values = json.loads(entry.read_text())
        places = (v for name, v in values.items() if name.endswith("_location"))
        if not all(map(_exists, places)):
            entry.unlink()


def _work(request: Mapping[str, Any], answer: Path) -> tuple[dict[str, Any], list[str]]:
    """Let the worker do it, passing on what it prints; returns its answer and what components said last."""
    storage.remove(answer)
    worker = subprocess.Popen(
        [sys.executable, "-m", "pipelines.worker", str(answer)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # an interrupt is for us to handle: the runner would go on with the next task
    )
    said: list[str] = []
    assert worker.stdin is not None and worker.stdout is not None
    try:
        with worker.stdin as stdin:
            json.dump(request, stdin)
        for line in worker.stdout:
            plain = _COLOUR.sub("", line)
            print(plain, end="", flush=True)
            if found := _SAID.match(plain):
                said.append(found[1].strip())
        worker.wait()
    finally:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        worker.stdout.close()
    if not answer.exists():
        raise GeoductError(f"Kubeflow's local runner ended with exit code {worker.returncode} and no answer")
    found_answer: dict[str, Any] = json.loads(answer.read_text())
    return found_answer, said


def _mine() -> dict[str, str | list[str] | bool]:
    """Filter of the engine's client for the containers of this run."""
    return {"label": f"{LABEL}={socket.gethostname()}-{os.getpid()}"}


def _remove_containers(client: DockerClient) -> None:
    """Remove what is left of this run's containers, also one that the engine was just about to start."""
    from docker.errors import APIError

    while left := client.containers.list(all=True, filters=_mine(), ignore_removed=True):
        for container in left:
            with suppress(APIError):  # it is being removed, as containers of the runner are when they end
                container.remove(force=True)


def _reason(client: DockerClient, error: str, said: Sequence[str], since: int) -> str:
    """Why a run failed: the engine knows of memory, the component of all else; failing both, the runner's words."""
    task = re.search(r"Inner task failed: '([^']+)'", error)
    where = f"{task[1]}: " if task else ""
    happened = client.events(decode=True, since=since, until=int(time.time()) + 1, filters={**_mine(), "event": "oom"})
    if any(happened):
        limit = os.environ.get("GEODUCT_MEMORY")
        return f"{where}out of memory in its container" + (f", which GEODUCT_MEMORY limits to {limit}" if limit else "")
    return where + (said[-1] if said else "see its log above" if task else error)
