"""A server on loopback that speaks Kubeflow Pipelines' API as far as submitting needs it, and replays a run's life.

Every request is held to the published models of the API (kfp_server_api): a field that the model does not have, or a
value that it refuses, is answered with 400, and so is a pipeline that Kubeflow's schema does not take.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as api
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

API = "/apis/v2beta1/"
LOST = "connection lost"
LOST_AFTER = "connection lost after the work was done"
"""Instead of an answer: the server hangs up before or after it has done what was asked."""

PAGE = "a web page"
"""Instead of an answer: what a server that is no Kubeflow Pipelines says to everything."""

Fault = int | str


def model(kind: str, body: Any) -> Any:
    """A JSON body as a model of the API.

    Raises:
        ValueError: the model refuses a value, or does not have a field.
    """
    client = api.ApiClient()
    found = client.deserialize(SimpleNamespace(data=json.dumps(body)), kind)
    if (known := client.sanitize_for_serialization(found)) != body:
        strangers = sorted(set(body) - set(known))
        raise ValueError(f"{kind} has no {strangers or 'such value'}")
    return found


def tasks(**states: str | Sequence[str]) -> list[Any]:
    """Task details of a run: by the task's name its state, or the states of its copies in a loop."""
    made = [api.V2beta1PipelineTaskDetail(task_id="0", display_name="root", state="RUNNING")]
    for name, found in states.items():
        for copy, state in enumerate([found] if isinstance(found, str) else found):
            error = api.GoogleRpcStatus(code=2, message=f"{name} broke") if state == "FAILED" else None
            made.append(
                api.V2beta1PipelineTaskDetail(
                    task_id=f"{name}-{copy}",
                    display_name=f"{name}-{copy + 1}" if copy else name,
                    state=state,
                    error=error,
                )
            )
            made.append(api.V2beta1PipelineTaskDetail(task_id=f"{name}-d", display_name=f"{name}-driver", state=state))
    return made


@dataclass
class Kubeflow:
    """What the server does: who may ask, how it fails, and through which states the run goes, one a question."""

    life: list[tuple[str, list[Any]]]
    token: str | None = None
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """By method and path (`GET runs`), what to answer instead, once each."""
    runs: list[Any] = field(default_factory=list)
    experiments: list[Any] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        """The model to answer with.

        Raises:
            ValueError: the request is not what the API takes.
            LookupError: there is no such thing.
        """
        match [method, *path.split("/")]:
            case ["GET", "healthz"]:
                return api.V2beta1GetHealthzResponse(multi_user=False)
            case ["GET", "experiments"]:
                return api.V2beta1ListExperimentsResponse(experiments=self._filtered(self.experiments, query))
            case ["POST", "experiments"]:
                experiment = model("V2beta1Experiment", body)
                experiment.experiment_id = f"e{len(self.experiments)}"
                self.experiments.append(experiment)
                return experiment
            case ["GET", "runs"]:
                return api.V2beta1ListRunsResponse(runs=self._filtered(self.runs, query))
            case ["POST", "runs"]:
                return self._create(model("V2beta1Run", body))
            case ["GET", "runs", name]:
                run = next(r for r in self.runs if r.run_id == name)
                state, details = self.life.pop(0) if len(self.life) > 1 else self.life[0]
                run.state, run.run_details = state, api.V2beta1RunDetails(task_details=details)
                return run
        raise LookupError(path)

    def _create(self, run: Any) -> Any:
        if run.experiment_id not in [e.experiment_id for e in self.experiments]:
            raise ValueError(f"no experiment {run.experiment_id}")
        spec = json_format.ParseDict(run.pipeline_spec["pipeline_spec"], pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(run.pipeline_spec["platform_spec"], pipeline_spec_pb2.PlatformSpec())
        declared = spec.root.input_definitions.parameters
        if strangers := set(run.runtime_config.parameters) - set(declared):
            raise ValueError(f"the pipeline has no parameters {sorted(strangers)}")
        if missing := [n for n, p in declared.items() if not p.HasField("default_value")]:
            missing = sorted(set(missing) - set(run.runtime_config.parameters))
            if missing:
                raise ValueError(f"the pipeline needs {missing}")
        run.run_id = f"r{len(self.runs)}"
        self.runs.append(run)
        return run

    def _filtered(self, found: list[Any], query: dict[str, str]) -> list[Any]:
        wanted = json.loads(query.get("filter", "{}"))
        for predicate in wanted.get("predicates", []):
            parsed = model(
                "V2beta1Predicate", {k.replace("stringValue", "string_value"): v for k, v in predicate.items()}
            )
            assert parsed.operation in ("EQUALS", 1)
            found = [one for one in found if getattr(one, parsed.key) == parsed.string_value]
        return found


def _handler(kubeflow: Kubeflow) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            address = urlsplit(self.path)
            path = address.path.removeprefix(API)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            what = f"{self.command} {path.split('/')[0]}"
            kubeflow.asked.append(what)
            fault = kubeflow.faults[what].pop(0) if kubeflow.faults.get(what) else None
            if fault == LOST:
                return self._hang_up()
            if fault == PAGE:
                return self._send(200, "<!doctype html>")
            if isinstance(fault, int):
                return self._send(fault, {"message": f"as the test wants it: {fault}"})
            if kubeflow.token and self.headers.get("Authorization") != f"Bearer {kubeflow.token}":
                return self._send(401, {"message": "Unauthorized"})
            try:
                query = {name: values[0] for name, values in parse_qs(address.query).items()}
                answer = kubeflow.answer(self.command, path, query, json.loads(body) if body else None)
            except LookupError as error:
                return self._send(404, {"message": f"no {error}"})
            except (ValueError, json_format.ParseError) as error:
                kubeflow.refused.append(str(error))
                return self._send(400, {"message": str(error)})
            if fault == LOST_AFTER:
                return self._hang_up()
            return self._send(200, api.ApiClient().sanitize_for_serialization(answer))

        do_GET = do_POST = _serve

        def _send(self, status: int, body: Any) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _hang_up(self) -> None:
            self.close_connection = True

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing: tests look at `asked`."""

    return Handler


@contextmanager
def served(kubeflow: Kubeflow) -> Iterator[Kubeflow]:
    """Serve on a free port of loopback until the block ends."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(kubeflow)) as server:
        kubeflow.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield kubeflow
        finally:
            server.shutdown()
            thread.join()
