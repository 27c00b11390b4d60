"""The client against a server that fails in every way a network can, by a script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.remote import client as module
from components.remote.client import Client, RemoteError
from tests.services.faulty_proxy import Fault, FaultyProxy, always, first
from tests.services.range_server import RangeServer

CONTENT = bytes(range(256)) * 400

PASSING = [
    Fault("status", 408),
    Fault("status", 429),
    Fault("status", 429, retry_after=1),
    Fault("status", 500),
    Fault("status", 502),
    Fault("status", 503),
    Fault("status", 504),
    Fault("reset"),
    Fault("truncated"),
    Fault("too-long"),
    Fault("stalled"),
]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have waited; it does not."""
    waited: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waited.append)
    return waited


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RangeServer]:
    (tmp_path / "file.bin").write_bytes(CONTENT)
    with RangeServer(tmp_path) as running:
        yield running


def hasty(fault: Fault, retries: int = 3) -> Client:
    """A client that does not wait for an answer that stalls; other answers may take as long as this machine likes."""
    return Client(retries, timeout=0.3 if fault.kind == "stalled" else 30.0)


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_what_passes_is_asked_for_again(server: RangeServer, waits: list[float], fault: Fault) -> None:
    with FaultyProxy(server.url, first(2, fault)) as proxy:
        client = hasty(fault, retries=8)
        part = client.part(f"{proxy.url}/file.bin", 1000, 59_999)
        whole = client.fetch(f"{proxy.url}/file.bin")
    assert (part.data, part.size, whole) == (CONTENT[1000:60_000], len(CONTENT), CONTENT)
    assert proxy.spoilt[str(fault)] == 4
    assert len(waits) == len(proxy.log) - 2  # before each try but the first of both


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_what_does_not_pass_ends_after_the_retries(server: RangeServer, waits: list[float], fault: Fault) -> None:
    with FaultyProxy(server.url, always(fault)) as proxy, pytest.raises(RemoteError, match=r"\(4 tries\)$"):
        hasty(fault).part(f"{proxy.url}/file.bin", 0, 999)
    assert proxy.spoilt[str(fault)] == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
def test_a_refusal_is_told_at_once(server: RangeServer, waits: list[float], status: int) -> None:
    with (
        FaultyProxy(server.url, always(Fault("status", status))) as proxy,
        pytest.raises(RemoteError, match=f"^HTTP {status} ") as caught,
    ):
        Client().part(f"{proxy.url}/file.bin", 0, 999)
    assert caught.value.status == status
    assert len(proxy.log) == 1
    assert not waits


def test_waits_grow_vary_and_follow_what_the_server_asks_for(server: RangeServer, waits: list[float]) -> None:
    for seconds in (None, 7, 3600):
        with FaultyProxy(server.url, always(Fault("status", 503, seconds))) as proxy, pytest.raises(RemoteError):
            Client(retries=4).fetch(f"{proxy.url}/file.bin")
    grown, asked, capped = waits[:4], waits[4:8], waits[8:]
    for n, wait in enumerate(grown):
        assert module.BACKOFF * 2**n * 0.5 <= wait <= module.BACKOFF * 2**n * 1.5
    assert asked == [7] * 4
    assert capped == [module.LONGEST_WAIT] * 4


def test_an_answer_that_trickles_is_lost(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10**6, 200))  # each look at the clock is 200 s later: less than the slowest that is borne
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    with pytest.raises(RemoteError, match=r"^only \d+ bytes came in \d+ s$"):
        Client(retries=0).fetch(f"{server.url}/file.bin")


def test_connections_are_used_again(server: RangeServer) -> None:
    client = Client()
    for n in range(20):
        client.part(f"{server.url}/file.bin", n, n + 9)
    assert {request.connection for request in server.requests} == {1}


def test_no_credential_is_told(server: RangeServer, waits: list[float]) -> None:
    address = server.url.removeprefix("http://")
    for url in (
        f"http://user:secret@{address}/nothing?sig=secret",
        "http://user:secret@127.0.0.1:9/nothing?sig=secret",
        "http://user:secret@no-such-host.invalid/nothing?sig=secret",
        "gopher://user:secret@127.0.0.1/nothing?sig=secret",
    ):
        with pytest.raises(RemoteError) as caught:
            Client(retries=3).part(url, 0, 9)
        assert "secret" not in str(caught.value)


def test_a_server_without_ranges_is_refused(tmp_path: Path) -> None:
    def whole(path: str, query: str, headers: dict[str, str]) -> None:
        headers.pop("range", None)

    (tmp_path / "file.bin").write_bytes(CONTENT)
    with RangeServer(tmp_path, whole) as server, pytest.raises(RemoteError, match="does not serve byte ranges"):
        Client().part(f"{server.url}/file.bin", 10, 19)
