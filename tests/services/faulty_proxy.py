"""A reverse proxy that spoils answers by a script: what a bad network does, the same every time.

Whether a request is spoilt depends on what it asks for and how often that was asked before, never on the clock or on
the order in which threads arrive. So a test that passes once passes always.
"""

from __future__ import annotations

import hashlib
import http.client
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

_PER_CONNECTION = ("connection", "keep-alive", "transfer-encoding", "content-length", "te", "trailer", "upgrade")
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: closing sends RST instead of FIN


@dataclass(frozen=True)
class Fault:
    """One way to fail.

    `status` answers with that status (and `Retry-After: retry_after` seconds); `reset` cuts the connection before an
    answer; `truncated` sends the right header and half the body, then closes; `too-long` announces twice the body that
    comes, then closes; `stalled` sends header and first byte and then nothing until the client gives up; `latency`
    answers rightly, but `seconds` late.
    """

    kind: Literal["status", "reset", "truncated", "too-long", "stalled", "latency"]
    status: int = 503
    retry_after: int | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        return str(self.status) if self.kind == "status" else self.kind


WAYS = {
    "429": Fault("status", 429),
    "503": Fault("status", 503),
    "reset": Fault("reset"),
    "truncated": Fault("truncated"),
    "too-long": Fault("too-long"),
    "stalled": Fault("stalled"),
    "latency": Fault("latency", seconds=0.02),
}
"""Every way to fail, by name; what is only late is so by little."""


@dataclass(frozen=True)
class Asked:
    """A request: its method, path with query, range, and how many times the very same was asked before."""

    method: str
    path: str
    range: str
    before: int


Script = Callable[[Asked], Fault | None]
"""Says of each request how it fails; None lets it pass."""


def always(fault: Fault, part: str = "") -> Script:
    """Spoil each request whose path holds `part`."""
    return lambda asked: fault if part in asked.path else None


def first(count: int, fault: Fault, part: str = "") -> Script:
    """Spoil each different request whose path holds `part` the first `count` times that it comes."""
    return lambda asked: fault if part in asked.path and asked.before < count else None


def share(of: float, faults: Sequence[Fault], seed: int = 0, in_a_row: int = 3) -> Script:
    """Spoil that share of requests, one of `faults` each; the same request at most `in_a_row` times in succession."""

    def script(asked: Asked) -> Fault | None:
        text = f"{seed} {asked.method} {asked.path} {asked.range} {asked.before}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        spoilt = number / 2**64 < of and asked.before % (in_a_row + 1) < in_a_row
        return faults[number % len(faults)] if spoilt else None

    return script


class FaultyProxy:
    """Stands before the server at `upstream` while entered. `spoilt` counts faults by kind, `passed` the rest."""

    def __init__(self, upstream: str, script: Script) -> None:
        self.script = script
        self.spoilt: Counter[str] = Counter()
        self.passed = 0
        self.log: list[tuple[Asked, str | None]] = []
        self._seen: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner, self._server.upstream = self, urlsplit(upstream).netloc
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def judge(self, method: str, path: str, wanted: str) -> Fault | None:
        """Count a request and say how it fails."""
        path = path.partition("?X-Amz-")[0]  # a signature that changes every second makes no other request of it
        with self._lock:
            key = method, path, wanted
            asked = Asked(method, path, wanted, self._seen[key])
            self._seen[key] += 1
            fault = self.script(asked)
            self.log.append((asked, str(fault) if fault else None))  # whoever sees a fault counted finds it here
            if fault:
                self.spoilt[str(fault)] += 1
            else:
                self.passed += 1
            return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # an idle connection that is kept alive must not hold up the end
    block_on_close = False
    owner: FaultyProxy
    upstream: str

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        fault = self.server.owner.judge(self.command, self.path, self.headers.get("Range", ""))
        if fault and fault.kind == "latency":
            time.sleep(fault.seconds)
        elif fault and fault.kind == "status":
            words = b"<html>spoilt on purpose</html>"
            headers = [("Content-Type", "text/html")]
            if fault.retry_after is not None:
                headers.append(("Retry-After", str(fault.retry_after)))
            self._answer(fault.status, headers, words, len(words))
            return
        elif fault and fault.kind == "reset":
            self._reset()
            return
        status, headers, content = self._forward(body)
        if fault is None or fault.kind == "latency":
            self._answer(status, headers, content, len(content))
            return
        said = 2 * len(content) if fault.kind == "too-long" else len(content)
        part = {"truncated": len(content) // 2, "too-long": len(content), "stalled": 1}[fault.kind]
        self._answer(status, headers, content[:part], max(said, part + 1))
        self.close_connection = True
        if fault.kind == "stalled":
            self._wait_for_the_client_to_leave()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _PER_CONNECTION}
        if body or self.command in ("PUT", "POST"):
            headers["Content-Length"] = str(len(body))
        self._upstream.request(
            self.command, self.path, body or None, headers
        )  # with the client's Host, which links and signatures name
        answer = self._upstream.getresponse()
        content = answer.read()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _PER_CONNECTION]
        if self.command == "HEAD" and (length := answer.getheader("Content-Length")):
            kept.append(("Content-Length", length))
        return answer.status, kept, content

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, length: int) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD" and status not in (204, 304):
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.connection.close()

    def _wait_for_the_client_to_leave(self) -> None:
        select.select([self.connection], [], [], 120)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: `log` says it."""
