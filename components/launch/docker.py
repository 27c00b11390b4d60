"""The launcher `docker`: the component in a container of a Docker engine, as this user."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from components.errors import GeoductError
from components.launch.images import Image
from components.launch.plan import Mount, Plan

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

LABEL = "org.geoduct.launcher"
"""Label of our containers: host and process id of the launcher that waits for it."""

GRACE = 20
"""Seconds that a component has to clean up after a signal, before it is killed."""


def command(plan: Plan) -> list[str]:
    """The same as `docker run` on the command line; variables are named, their values come from the environment."""
    words = ["docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp:exec,mode=1777", "--network", "host"]
    words += ["--pid", "host", "--uts", "host", "--ipc", "host", "--security-opt", "no-new-privileges"]
    words += ["--user", _user(), *(w for g in os.getgroups() for w in ("--group-add", str(g)))]
    for name in ("HOME=/tmp", *plan.environment):
        words += ["--env", name]
    for mount in plan.mounts:
        words += ["--volume", f"{mount.path}:{mount.path}:{'rw' if mount.writable else 'ro'}"]
    return [*words, "--workdir", "/", plan.image.reference, *plan.command]


def run(plan: Plan) -> int:
    """Run a plan and return the component's exit code; no container is left, whatever ends us.

    Raises:
        GeoductError: no engine answers, the image cannot be had, or the container ran out of memory.
    """
    client = connect()
    remove_orphans(client)
    fetch(client, plan.image)
    watched = sys.stdout.isatty() and sys.stderr.isatty()
    with _plain_errors(plan):
        container = client.containers.create(
            plan.image.reference,
            list(plan.command),
            tty=watched,
            **settings(client, plan.mounts, plan.environment, gpus=plan.image_name == "learn"),
        )
    try:
        return _follow(container, plan, watched)
    finally:
        container.remove(force=True)


def settings(
    client: DockerClient, mounts: Sequence[Mount], environment: Mapping[str, str], *, gpus: bool
) -> dict[str, Any]:
    """How every container of ours is made, as arguments of the engine's client: as this user, and seeing only `mounts`.

    Raises:
        GeoductError: `GEODUCT_MEMORY` is no amount of memory.
    """
    from docker.types import Mount as Bind

    return {
        "environment": {"HOME": "/tmp", **environment},
        "user": _user(),
        "group_add": [str(g) for g in os.getgroups()],
        "mounts": [Bind(str(m.path), str(m.path), type="bind", read_only=not m.writable) for m in mounts],
        "working_dir": "/",
        "read_only": True,
        "tmpfs": {"/tmp": "exec,mode=1777"},
        "labels": {LABEL: f"{socket.gethostname()}-{os.getpid()}"},
        "security_opt": ["no-new-privileges"],
        # As outside: services on loopback are reached, the host and process in a staging folder's name mean
        # something, and torch's shared memory is not cut down to 64 MB.
        "network_mode": "host",
        "pid_mode": "host",
        "uts_mode": "host",
        "ipc_mode": "host",
        "mem_limit": _memory(),
        "device_requests": _gpus(client) if gpus else [],
    }


def _follow(container: Container, plan: Plan, watched: bool) -> int:
    """Start, stream the log, pass signals, and say how it ended."""

    def forward(number: int, _: object) -> None:
        container.kill(signal=number)

    with _plain_errors(plan):
        output = _output(container, watched)  # attached to before the start, so that no line is missed
        before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            container.start()
            for written, told in output:
                _print(written, told)
            code = int(container.wait(timeout=GRACE)["StatusCode"])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        container.reload()
    if container.attrs["State"]["OOMKilled"]:
        limit = os.environ.get("GEODUCT_MEMORY")
        raise GeoductError(
            f"{plan.component} ran out of memory in its container"
            + (f", which GEODUCT_MEMORY limits to {limit}" if limit else "")
        )
    if code == 128 + signal.SIGKILL:
        raise GeoductError(f"{plan.component} was killed in its container: the machine ran out of memory, or by hand")
    return code


def _output(container: Container, watched: bool) -> Iterator[tuple[bytes | None, bytes | None]]:
    """What the container writes to stdout and to stderr, as it comes; a terminal has one stream for both."""
    if watched:
        return ((part, None) for part in container.attach(stream=True, logs=True))
    return iter(container.attach(stream=True, logs=True, demux=True))


def _print(*parts: bytes | None) -> None:
    for part, where in zip(parts, (sys.stdout, sys.stderr), strict=True):
        if part:
            where.buffer.write(part)
            where.flush()


def connect() -> DockerClient:
    """A client of the engine.

    Raises:
        GeoductError: none answers, this user may not speak to it, or its Python client is not installed.
    """
    try:
        import docker
        from docker.errors import DockerException
    except ModuleNotFoundError:
        raise GeoductError(
            "the launcher docker needs the engine's Python client; install it with: pip install 'geoduct[launch]'"
        ) from None

    try:
        return docker.from_env()
    except DockerException as error:
        _no_engine(error)


def _no_engine(error: BaseException) -> NoReturn:
    where = os.environ.get("DOCKER_HOST") or "/var/run/docker.sock"
    text = repr(error)
    if "PermissionError" in text:
        raise GeoductError(f"no permission on the Docker engine's {where}: join the group docker") from None
    raise GeoductError(f"no Docker engine answers at {where}: start it, or choose another GEODUCT_LAUNCHER") from None


def fetch(client: DockerClient, image: Image) -> None:
    """Have the image that the lock names, byte for byte.

    Raises:
        GeoductError: it is not here, and its registry does not give it.
    """
    from docker.errors import APIError, ImageNotFound

    try:
        client.images.get(image.reference)
        return
    except ImageNotFound:
        print(f"geoduct: pulling {image.reference}", file=sys.stderr, flush=True)
    try:
        client.images.pull(image.reference)
    except APIError as error:
        raise GeoductError(
            f"the image {image.reference} of the lock is neither here nor to be had from its registry "
            f"({error.explanation or error}): make the images (make images)"
        ) from None


def _memory() -> int | None:
    """The container's limit in bytes, from `GEODUCT_MEMORY`."""
    from docker.errors import DockerException
    from docker.utils import parse_bytes

    limit = os.environ.get("GEODUCT_MEMORY")
    try:
        return int(parse_bytes(limit)) if limit else None
    except DockerException:
        raise GeoductError(f"GEODUCT_MEMORY is {limit!r}; expected a number of bytes, or with k, m or g") from None


def _gpus(client: DockerClient) -> list[Any]:
    if "nvidia" not in client.info().get("Runtimes", {}):
        return []
    from docker.types import DeviceRequest

    return [DeviceRequest(count=-1, capabilities=[["gpu"]])]


def remove_orphans(client: DockerClient) -> None:
    """Remove the containers whose launcher was killed before it could."""
    from docker.errors import APIError

    # Others come and go while we look.
    for container in client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True):
        host, _, pid = container.labels[LABEL].rpartition("-")
        if host == socket.gethostname() and not Path(f"/proc/{pid}").exists():
            with suppress(APIError):  # another launcher is removing it
                container.remove(force=True)


@contextmanager
def _plain_errors(plan: Plan) -> Iterator[None]:
    """What the engine refuses, in one sentence."""
    from docker.errors import APIError
    from requests.exceptions import ConnectionError

    try:
        yield
    except APIError as error:
        raise GeoductError(f"the Docker engine refused to run {plan.component}: {error.explanation or error}") from None
    except ConnectionError as error:
        raise GeoductError(f"the Docker engine went away while {plan.component} ran ({error})") from None


def _user() -> str:
    return f"{os.getuid()}:{os.getgid()}"
