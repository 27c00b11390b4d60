"""Starting a pipeline on a cluster through Kubeflow's client, and following the run to its end.

A server that is briefly away is waited for; a token that it refuses is not. If the connection is lost while a run is
being created, the run is looked for before another is made.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import kfp
import kfp_server_api
import urllib3
from kfp.client import KF_PIPELINES_SA_TOKEN_PATH
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials
from kfp_server_api import ApiException, V2beta1Run

from components.errors import GeoductError
from components.kubeflow import IDENTIFY
from components.registry import COMPONENTS

T = TypeVar("T")

TOKEN = "GEODUCT_KFP_TOKEN"
"""Environment variable with the token for the server; a token on the command line would be seen by everyone."""
TRIES = 8
"""How often a server that does not answer is asked before it is given up."""

_PENDING = ("PENDING", "RUNNING", "PAUSED", "CANCELING", "RUNTIME_STATE_UNSPECIFIED")


@dataclass(frozen=True)
class Server:
    """Where Kubeflow Pipelines is asked, and how patiently; `wait` is given seconds."""

    host: str | None
    namespace: str | None = None
    token: str | None = None
    interval: float = 10.0
    wait: Callable[[float], None] = time.sleep

    @property
    def name(self) -> str:
        """As told to people."""
        return self.host or "the Kubeflow Pipelines of this cluster"


class _Client(kfp.Client):  # type: ignore[misc]  # kfp publishes no types
    """Kubeflow's client, but that it asks once: waiting is our business, and where a redirect leads is not the API."""

    def _load_config(self, *given: Any) -> kfp_server_api.Configuration:
        config = super()._load_config(*given)
        config.retries = False
        return config

    def get_kfp_healthz(self, sleep_duration: int = 0) -> kfp_server_api.V2beta1GetHealthzResponse:
        return self._healthz_api.healthz_service_get_healthz()


def submit(server: Server, package: Path, arguments: Mapping[str, Any], experiment: str, *, cache: bool) -> None:
    """Start a compiled pipeline, print the run's address and what becomes of its tasks, and return when it succeeded.

    Raises:
        GeoductError: the server cannot be reached or refuses, or the run does not succeed.
    """
    client = _connect(server)
    with contextlib.redirect_stdout(io.StringIO()):  # the client prints links of its own
        filed = _ask(server, lambda: client.create_experiment(experiment, namespace=server.namespace))
        if not filed.experiment_id:
            raise GeoductError(f"{server.name} is no Kubeflow Pipelines: it answers, but not as its API does")
        run = _create(server, client, filed.experiment_id, package, arguments, cache)
    address = f"{server.host or ''}/#/runs/details/{run.run_id}"
    print(f"run: {address}", flush=True)
    _follow(server, client, run.run_id, address)


def _connect(server: Server) -> _Client:
    if not server.host and "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise GeoductError("--host is needed: this is no pod of a cluster that has Kubeflow Pipelines")
    if server.host and not re.match(r"^https?://[^/\s]+", server.host):
        raise GeoductError(f"--host is {server.host!r}; expected a URL, such as https://kubeflow.example.org/pipeline")
    own = None
    if not server.token and Path(KF_PIPELINES_SA_TOKEN_PATH).is_file():
        own = ServiceAccountTokenVolumeCredentials()
    return _ask(
        server,
        lambda: _Client(
            host=server.host, existing_token=server.token, credentials=own, namespace=server.namespace or ""
        ),
    )


def _create(
    server: Server, client: _Client, experiment: str, package: Path, arguments: Mapping[str, Any], cache: bool
) -> V2beta1Run:
    name = f"{package.stem}-{uuid.uuid4().hex[:8]}"
    tried = False

    def create() -> V2beta1Run:
        nonlocal tried
        if tried and (found := _named(client, experiment, name)):
            return found
        tried = True
        # None leaves caching to the tasks; True would have those cached that must not be.
        return client.run_pipeline(
            experiment, name, str(package), params=dict(arguments), enable_caching=None if cache else False
        )

    return _ask(server, create)


def _named(client: _Client, experiment: str, name: str) -> V2beta1Run | None:
    """The run of that name, if the server has made it already."""
    wanted = {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]}
    return next(iter(client.list_runs(experiment_id=experiment, filter=json.dumps(wanted)).runs or []), None)


def _follow(server: Server, client: _Client, run_id: str, address: str) -> None:
    shown: dict[str, str] = {}
    while True:
        try:
            run = _ask(server, lambda: client.get_run(run_id))
        except GeoductError as error:
            raise GeoductError(f"{error}; the run goes on: {address}") from None
        tasks = (run.run_details.task_details if run.run_details else None) or []
        for name, state in _states(tasks).items():
            if shown.get(name) != state:
                print(f"{name}: {state}", flush=True)
                shown[name] = state
        if run.state not in (*_PENDING, None):
            break
        server.wait(server.interval)
    if run.state != "SUCCEEDED":
        raise GeoductError(f"the run {str(run.state).lower()}{_failure(run, tasks)}: {address}")
    print("run: succeeded", flush=True)


def _component(task: Any) -> str | None:
    """Which of our tasks a task of Kubeflow is; its drivers and groups are none."""
    name = re.sub(r"-\d+$", "", task.display_name or "")
    return name if name in (*COMPONENTS, IDENTIFY) else None


def _states(tasks: list[Any]) -> dict[str, str]:
    """What the tasks of each name are at: `running`, or in a loop `2 succeeded, 1 running`."""
    found: dict[str, Counter[str]] = {}
    for task in tasks:
        if (name := _component(task)) and task.state:
            found.setdefault(name, Counter())[task.state.lower()] += 1
    return {
        name: ", ".join(f"{n} {state}" if states.total() > 1 else state for state, n in sorted(states.items()))
        for name, states in found.items()
    }


def _failure(run: V2beta1Run, tasks: list[Any]) -> str:
    """Which task failed, and in which words."""
    for task in tasks:
        if _component(task) and task.state == "FAILED":
            said = task.error.message if task.error else None
            return f" in {task.display_name}" + (f" ({said})" if said else "")
    return f" ({run.error.message})" if run.error and run.error.message else ""


def _ask(server: Server, call: Callable[[], T]) -> T:
    """Ask until there is an answer: after a while, then twice as long, a bounded number of times."""
    for attempt in range(TRIES):
        try:
            return call()
        except ApiException as error:
            if error.status not in (429, 500, 502, 503, 504):
                _refused(server, error)
            problem = f"it answered {error.status}"
        except (urllib3.exceptions.HTTPError, OSError) as error:
            problem = str(error).rpartition(": ")[2]
        if attempt + 1 < TRIES:
            server.wait(min(2.0**attempt, 60.0))
    raise GeoductError(f"{server.name} cannot be reached ({TRIES} tries; {problem})")


def _refused(server: Server, error: ApiException) -> NoReturn:
    if error.status == 401:
        has = f"the token in {TOKEN} has expired or is wrong" if server.token else f"set a token in {TOKEN}"
        raise GeoductError(f"{server.name} does not know us (401): {has}") from None
    if 300 <= error.status < 400:
        raise GeoductError(f"{server.name} wants us to log in ({error.status}): set a token in {TOKEN}") from None
    if error.status == 403:
        raise GeoductError(f"{server.name} does not permit this (403): {_words(error)}") from None
    if error.status == 404:
        raise GeoductError(f"{server.name} is no Kubeflow Pipelines (404): {_words(error)}") from None
    raise GeoductError(f"{server.name} refused ({error.status}): {_words(error)}") from None


def _words(error: ApiException) -> str:
    """What the server said, without the markup that proxies wrap around it."""
    try:
        text = str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        text = str(error.reason)
    return " ".join(text.split())[:300]
