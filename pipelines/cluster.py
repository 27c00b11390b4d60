"""What tasks get on a Kubernetes cluster: resources, retries, caching, volumes and secrets, from one validated YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from kfp import kubernetes
from kfp.dsl import PipelineTask
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.errors import GeoductError, nearest
from components.kubeflow import IDENTIFY
from components.registry import COMPONENTS
from pipelines.sections import read_yaml

FILE = Path(__file__).with_name("cluster.yaml")

_Cpu = Annotated[str, Field(pattern=r"^\d+(\.\d+)?m?$")]
_Memory = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti|K|M|G|T)?$")]
_Duration = Annotated[str, Field(pattern=r"^\d+s$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Backoff(_Strict):
    """How long to wait before a task is tried again: `first`, then `factor` times as long, at most `longest`."""

    first: _Duration = "30s"
    factor: Annotated[float, Field(ge=1)] = 2.0
    longest: _Duration = "600s"


class Volume(_Strict):
    """A persistent volume claim, where tasks see it, and as whom they run so that they may write there.

    Without a `user` tasks run as the image's.
    """

    claim: str
    path: Annotated[str, Field(pattern="^/")]
    user: Annotated[int, Field(ge=1)] | None = None
    group: Annotated[int, Field(ge=1)] | None = None


class Secret(_Strict):
    """A Kubernetes secret; `variables` says which of its keys becomes which environment variable."""

    name: str
    variables: dict[str, str]


class Resources(_Strict):
    """What one task gets. `gpu` is the resource's name in Kubernetes, `nodes` labels that its node must have."""

    cpu: _Cpu | None = None
    memory: _Memory | None = None
    gpus: Annotated[int, Field(ge=0)] = 0
    gpu: str = "nvidia.com/gpu"
    shared_memory: _Memory | None = None
    nodes: dict[str, str] = {}
    retries: Annotated[int, Field(ge=0)] = 0
    cache: bool = True


class Cluster(_Strict):
    """All of the file. `branches` bounds how many branches of a loop are in work at a time."""

    branches: Annotated[int, Field(ge=1)] = 4
    backoff: Backoff = Backoff()
    volume: Volume | None = None
    secret: Secret | None = None
    defaults: Resources = Resources()
    tasks: dict[str, Resources] = {}

    def of(self, task: str) -> Resources:
        """The defaults, with what is set for that task laid over."""
        if task not in self.tasks:
            return self.defaults
        return self.defaults.model_copy(update=self.tasks[task].model_dump(exclude_unset=True))

    def equip(self, task: PipelineTask, name: str, cacheable: bool) -> None:
        """Ask for all of this in a task that runs the component `name`."""
        given = self.of(name)
        task.set_caching_options(cacheable and given.cache)
        if given.cpu:
            task.set_cpu_limit(given.cpu)
        if given.memory:
            task.set_memory_limit(given.memory)
        if given.gpus:
            task.set_accelerator_type(given.gpu).set_accelerator_limit(given.gpus)
        if given.retries:
            wait = self.backoff
            task.set_retry(given.retries, wait.first, wait.factor, wait.longest)
        if given.shared_memory:
            # A container has 64 MB of /dev/shm; workers that hand batches to torch need more.
            kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", "Memory", given.shared_memory)
        for label, value in given.nodes.items():
            kubernetes.add_node_selector(task, label, value)
        if self.volume:
            kubernetes.mount_pvc(task, self.volume.claim, self.volume.path)
            if self.volume.user:
                kubernetes.set_security_context(task, self.volume.user, self.volume.group, run_as_non_root=True)
        if self.secret:
            kubernetes.use_secret_as_env(task, self.secret.name, self.secret.variables)


def read_cluster(path: Path = FILE) -> Cluster:
    """Read and check a cluster file.

    Raises:
        GeoductError: it cannot be read, or a field is unknown (the nearest is named) or of the wrong form.
    """
    found = read_yaml(path)
    try:
        cluster = Cluster.model_validate(found)
    except ValidationError as error:
        raise GeoductError(f"{path}: {_sentence(error)}") from None
    names = [*COMPONENTS, IDENTIFY]
    if stranger := next((name for name in cluster.tasks if name not in names), None):
        raise GeoductError(f"{path}: tasks: there is no component {stranger!r}{nearest(stranger, names)}")
    return cluster


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{place} is unknown{nearest(str(first['loc'][-1]), _fields(first['loc']))}"
    return f"{place or 'the file'} is {first['input']!r}; {first['msg'][0].lower()}{first['msg'][1:]}"


def _fields(place: tuple[int | str, ...]) -> list[str]:
    """Names that are known where an unknown one was found."""
    inner: dict[Any, type[BaseModel]] = {
        "backoff": Backoff,
        "volume": Volume,
        "secret": Secret,
        "defaults": Resources,
        "tasks": Resources,
    }
    return list((inner[place[0]] if len(place) > 1 else Cluster).model_fields)
