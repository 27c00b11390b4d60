"""An HTTP server over a folder that answers byte ranges as object stores do, and counts what it sent.

Connections are kept alive, as a real server keeps them, so that pooling can be seen. With a `gate` it serves only what
the gate lets through: signed URLs that expire, or a client that must show a token.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

_RANGE = re.compile(r"bytes=(\d+)-(\d*)$")


@dataclass(frozen=True)
class Request:
    """One request as it was answered: `sent` counts the bytes of the body."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    status: int
    sent: int
    connection: int

    @property
    def range(self) -> str | None:
        """The range asked for, `bytes=0-99`, or None for the whole."""
        return self.headers.get("range")


@dataclass(frozen=True)
class Answer:
    """What a gate says instead of the file: a status, a body (JSON unless it is text), and more headers."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


Post = Callable[[str], Answer]
"""Given the body of a POST, its answer."""

Gate = Callable[[str, str, dict[str, str]], Answer | None]
"""Given path, query and headers (names in lower case), an answer of its own, or None to serve the file."""


class RangeServer:
    """Serves `folder` on loopback while entered; `requests` holds what was asked, in the order of the answers."""

    def __init__(self, folder: Path, gate: Gate | None = None, post: Post | None = None) -> None:
        self.requests: list[Request] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner, self._server.folder, self._server.gate = self, folder.resolve(), gate
        self._server.post = post
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

    @property
    def most_connections(self) -> int:
        """How many connections were open at the same time, at most."""
        return self._server.open_most

    def sent(self, suffix: str = "") -> int:
        """Bytes of bodies sent for paths that end in `suffix`."""
        return sum(r.sent for r in self.requests if r.path.endswith(suffix))


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # an idle connection that is kept alive must not hold up the end
    block_on_close = False
    owner: RangeServer
    folder: Path
    gate: Gate | None
    post: Post | None
    connections = 0
    lock = threading.Lock()
    open_now = 0
    open_most = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1
            self.number = self.server.connections
            self.server.open_now += 1
            self.server.open_most = max(self.server.open_most, self.server.open_now)

    def finish(self) -> None:
        with self.server.lock:
            self.server.open_now -= 1
        super().finish()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = unquote(parts.path)
        if self.server.gate and (answer := self.server.gate(path, parts.query, headers)):
            self._say(answer)
            return
        file = (self.server.folder / path.lstrip("/")).resolve()
        if not file.is_relative_to(self.server.folder) or not file.is_file():
            self._send(404, b"no such file", {})
            return
        self._send_part(file, headers.get("range"))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self._say(self.server.post(body) if self.server.post else Answer(405, "only GET"))

    def _say(self, answer: Answer) -> None:
        body = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        self._send(answer.status, body.encode(), {"Content-Type": "application/json", **answer.headers})

    def _send_part(self, file: Path, wanted: str | None) -> None:
        size = file.stat().st_size
        kind = {"Accept-Ranges": "bytes", "ETag": f'"{file.stat().st_mtime_ns:x}-{size:x}"'}
        found = _RANGE.match(wanted or "")
        if not found:
            self._send(200, file.read_bytes(), kind)
            return
        first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
        if first >= size:
            self._send(416, b"", {"Content-Range": f"bytes */{size}"})
            return
        with file.open("rb") as data:
            data.seek(first)
            self._send(206, data.read(last + 1 - first), {**kind, "Content-Range": f"bytes {first}-{last}/{size}"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        parts = urlsplit(self.path)
        head = self.command == "HEAD"
        asked = {name.lower(): value for name, value in self.headers.items()}
        self.server.owner.requests.append(
            Request(
                self.command, unquote(parts.path), parts.query, asked, status, 0 if head else len(body), self.number
            )
        )
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not head:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: `requests` says it."""
