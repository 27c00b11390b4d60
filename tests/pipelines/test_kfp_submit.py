"""Submitting to a server that holds every request to Kubeflow's published API and replays a run's life."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from components.errors import GeoductError
from pipelines.__main__ import main
from pipelines.arguments import PIPELINES, arguments, read_params
from pipelines.cluster import read_cluster
from pipelines.compiling import compile_pipeline
from pipelines.submitting import TOKEN, TRIES, Server, submit
from tests.conftest import ROOT
from tests.pipelines.kfp_server import LOST, LOST_AFTER, PAGE, Kubeflow, served, tasks
from tests.pipelines.locks import REFERENCES, write_lock

PENDING, RUNNING, SUCCEEDED = ("PENDING", tasks()), ("RUNNING", tasks(search="RUNNING")), ("SUCCEEDED", tasks())
WELL = [
    PENDING,
    RUNNING,
    ("RUNNING", tasks(search="SUCCEEDED", acquire=["RUNNING", "PENDING"])),
    ("SUCCEEDED", tasks(search="SUCCEEDED", acquire=["SUCCEEDED", "SUCCEEDED"])),
]

Serve = Callable[..., Kubeflow]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server with such a life, such faults and such a token."""
    with ExitStack() as stack:
        yield lambda life, **how: stack.enter_context(served(Kubeflow(list(life), **how)))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The inference pipeline, compiled."""
    folder = tmp_path_factory.mktemp("ir")
    pipeline = PIPELINES["inference"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEODUCT_IMAGES", str(write_lock(folder / "images.lock.yaml")))
        values = arguments(pipeline, read_params(ROOT / "params.yaml"), {})
        yield compile_pipeline(pipeline, values, read_cluster(), folder)


ARGUMENTS = {"root": "/geoduct/runs", "catalog": "https://stac.test", "model": "/geoduct/model"}


def send(kubeflow: Kubeflow, package: Path, given: dict[str, Any] | None = None, **how: Any) -> list[float]:
    """Submit and return for how long it would have waited each time."""
    waits: list[float] = []
    server = Server(kubeflow.address, interval=10.0, wait=waits.append, **how)
    submit(server, package, ARGUMENTS if given is None else given, "geoduct", cache=True)
    return waits


def test_a_run_is_started_and_followed_to_its_end(
    serve: Serve, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow = serve(WELL, token="secret")
    assert send(kubeflow, package, token="secret") == [10.0, 10.0, 10.0]
    assert kubeflow.refused == []
    (run,) = kubeflow.runs
    assert run.runtime_config.parameters == ARGUMENTS
    executors = run.pipeline_spec["pipeline_spec"]["deploymentSpec"]["executors"]
    assert {e["container"]["image"] for e in executors.values()} == set(REFERENCES.values())
    assert [e.display_name for e in kubeflow.experiments] == ["geoduct"]
    assert capsys.readouterr().out.splitlines() == [
        f"run: {kubeflow.address}/#/runs/details/r0",
        "search: running",
        "search: succeeded",
        "acquire: 1 pending, 1 running",
        "acquire: 2 succeeded",
        "run: succeeded",
    ]


def test_a_second_run_goes_to_the_same_experiment(serve: Serve, package: Path) -> None:
    kubeflow = serve([SUCCEEDED])
    send(kubeflow, package)
    send(kubeflow, package)
    assert len(kubeflow.runs) == 2 and len(kubeflow.experiments) == 1
    assert kubeflow.runs[0].display_name != kubeflow.runs[1].display_name


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        (("FAILED", tasks(search="SUCCEEDED", acquire="FAILED")), r"the run failed in acquire \(acquire broke\): http"),
        (("CANCELED", tasks(search="RUNNING")), "the run canceled: http"),
        (("SKIPPED", []), "the run skipped: http"),
    ],
)
def test_a_run_that_does_not_succeed_is_one_sentence(
    serve: Serve, package: Path, last: tuple[str, list[Any]], sentence: str
) -> None:
    with pytest.raises(GeoductError, match=sentence):
        send(serve([PENDING, RUNNING, last]), package)


@pytest.mark.parametrize("what", ["GET healthz", "GET experiments", "POST experiments", "POST runs", "GET runs"])
@pytest.mark.parametrize("fault", [503, LOST])
def test_a_server_that_is_briefly_away_is_waited_for(serve: Serve, package: Path, what: str, fault: int | str) -> None:
    kubeflow = serve(WELL, faults={what: [fault] * 3})
    waits = send(kubeflow, package)
    assert len(kubeflow.runs) == 1 and not kubeflow.refused
    assert [w for w in waits if w != 10.0] == [1, 2, 4]


def test_a_run_whose_answer_was_lost_is_not_made_twice(serve: Serve, package: Path) -> None:
    kubeflow = serve(WELL, faults={"POST runs": [LOST_AFTER]})
    send(kubeflow, package)
    assert len(kubeflow.runs) == 1
    assert kubeflow.asked.count("POST runs") == 1


def test_a_server_that_stays_away_is_given_up(serve: Serve, package: Path) -> None:
    kubeflow = serve(WELL, faults={"POST runs": [503] * 100})
    waits: list[float] = []
    with pytest.raises(GeoductError, match=rf"cannot be reached \({TRIES} tries; it answered 503\)"):
        submit(Server(kubeflow.address, wait=waits.append), package, ARGUMENTS, "geoduct", cache=True)
    assert kubeflow.asked.count("POST runs") == TRIES and not kubeflow.runs
    assert waits == [1, 2, 4, 8, 16, 32, 60][: TRIES - 1]


def test_a_refused_token_is_told_at_once(serve: Serve, package: Path) -> None:
    kubeflow = serve(WELL, token="secret")
    for token, sentence in ((None, f"set a token in {TOKEN}"), ("old", "has expired or is wrong")):
        kubeflow.asked.clear()
        with pytest.raises(GeoductError, match=rf"\(401\): .*{sentence}"):
            send(kubeflow, package, token=token)
        assert len(kubeflow.asked) == 1


def test_a_token_that_expires_during_the_run_leaves_the_run_on(serve: Serve, package: Path) -> None:
    kubeflow = serve(WELL, token="secret", faults={})

    def wait(_: float) -> None:
        kubeflow.token = "renewed"

    with pytest.raises(GeoductError, match=r"\(401\).*; the run goes on: http.*/r0"):
        submit(Server(kubeflow.address, token="secret", wait=wait), package, ARGUMENTS, "geoduct", cache=True)


@pytest.mark.parametrize(
    ("status", "sentence"), [(403, "does not permit this"), (404, "is no Kubeflow Pipelines"), (400, "refused")]
)
def test_a_refusal_is_told_in_the_servers_words(serve: Serve, package: Path, status: int, sentence: str) -> None:
    with pytest.raises(GeoductError, match=rf"{sentence} \({status}\): as the test wants it: {status}"):
        send(serve(WELL, faults={"GET healthz": [status]}), package)


def test_what_the_api_does_not_take_is_told(serve: Serve, package: Path) -> None:
    kubeflow = serve(WELL)
    with pytest.raises(GeoductError, match=r"refused \(400\): the pipeline has no parameters \['stranger'\]"):
        send(kubeflow, package, {**ARGUMENTS, "stranger": 1})
    with pytest.raises(GeoductError, match=r"refused \(400\): the pipeline needs \['catalog', 'model'\]"):
        send(kubeflow, package, {"root": "/geoduct"})


def test_a_host_that_nobody_answers_at_is_one_sentence(package: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(GeoductError, match=rf"{host} cannot be reached \({TRIES} tries; .*refused"):
            submit(Server(host, wait=lambda _: None), package, ARGUMENTS, "geoduct", cache=True)


@pytest.mark.parametrize(("host", "sentence"), [(None, "--host is needed"), ("kubeflow", "expected a URL")])
def test_a_host_that_is_none_is_one_sentence(
    package: Path, host: str | None, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(GeoductError, match=sentence):
        submit(Server(host), package, ARGUMENTS, "geoduct", cache=True)


@pytest.mark.parametrize(("flags", "caching"), [([], [False, True]), (["--no-cache"], [False])])
def test_the_command_submits(
    serve: Serve,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    caching: list[bool],
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("GEODUCT_IMAGES", str(write_lock(tmp_path / "images.lock.yaml")))
    monkeypatch.setenv(TOKEN, "secret")
    kubeflow = serve([SUCCEEDED], token="secret")
    inputs = ["--root", "/r", "--set", "catalog=/c", "--set", "labels=/l", "--set", "train.epochs=3"]
    main(["submit", "training", "--host", f"{kubeflow.address}/", *inputs, *flags])
    (run,) = kubeflow.runs
    assert run.runtime_config.parameters["root"] == "/r" and run.runtime_config.parameters["train_epochs"] == 3
    given = run.pipeline_spec["pipeline_spec"]["root"]["dag"]["tasks"].values()
    assert sorted({t["cachingOptions"].get("enableCache", False) for t in given}) == caching
    assert capsys.readouterr().out.endswith("run: succeeded\n")


def test_a_log_in_page_is_told(serve: Serve, package: Path) -> None:
    with pytest.raises(GeoductError, match=rf"wants us to log in \(302\): set a token in {TOKEN}"):
        send(serve(WELL, faults={"GET healthz": [302]}), package)


def test_a_server_of_something_else_is_told(serve: Serve, package: Path) -> None:
    kubeflow = serve(WELL, faults={"GET healthz": [PAGE], "GET experiments": [PAGE], "POST experiments": [PAGE]})
    with pytest.raises(GeoductError, match="is no Kubeflow Pipelines: it answers, but not as its API does"):
        send(kubeflow, package)
    assert "POST runs" not in kubeflow.asked
