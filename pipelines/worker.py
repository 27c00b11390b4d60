"""The process in which Kubeflow's local runner works: `python -m pipelines.worker <answer>`, the request on stdin.

The runner lets the engine remove each container as soon as it ends, and takes one that is gone before it asked for the
exit code for a success; so containers are run here in its place, and removed once that is known.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp import dsl, local
from kfp.local import docker_task_handler

from pipelines.arguments import named
from pipelines.cluster import Cluster
from pipelines.compiling import images
from pipelines.graph import graph

if TYPE_CHECKING:
    from docker import DockerClient

HERE = Cluster(branches=2)
"""No limits and no second tries: a machine that fails once does so again. The runner has at most two branches on."""


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Run the pipeline; what comes of it, or under `error` why nothing does."""
    records = Path(request["records"])
    local.init(
        local.DockerRunner(**request["container"]),
        pipeline_root=str(records / "runs"),
        # Kubeflow removes this folder when it is done: it must be one that nobody has anything in.
        workspace_root=str(records / "workspace"),
        enable_caching=request["cache"],
        cache_root=str(records / "cache"),
    )
    for folder in ("runs", "workspace"):
        (records / folder).mkdir(exist_ok=True)  # else the engine makes them, as root
    try:
        task = graph(named(request["pipeline"]), images(), HERE)(**request["values"])
    except Exception as error:  # whatever the runner raises is its way to say that a task failed
        return {"error": str(error)}
    return {"outputs": {name: _plain(value) for name, value in task.outputs.items()}}


def run_container(client: DockerClient, image: str, command: list[str], volumes: dict[str, Any], **options: Any) -> int:
    """Run one task, passing on what it prints, and return its exit code; the image is there."""
    container = client.containers.run(image=image, command=command, volumes=volumes, detach=True, **options)
    try:
        for printed in container.logs(stream=True):
            print(printed.decode(errors="replace"), end="", flush=True)
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.uri if isinstance(value, dsl.Artifact) else value


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    docker_task_handler.run_docker_container = run_container
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)  # else cached tasks are not told
    answer = work(json.load(sys.stdin))
    Path(sys.argv[1]).write_text(json.dumps(answer))
