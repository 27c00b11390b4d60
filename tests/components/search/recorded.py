"""A client that answers a search as a service did when it was recorded, and reaches no network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.remote.client import Client, Part, RemoteError


def exchange_of(shared_data: Path, name: str) -> dict[str, Any]:
    """A recorded search: the `request` as it was made, and the `response`."""
    found: dict[str, Any] = json.loads((shared_data / "stac_recorded" / "extracted" / f"{name}.json").read_text())
    return found


class Recorded(Client):
    """Answers that one search; of files it keeps what was `wanted` and has none, and all else is an error."""

    def __init__(self, exchange: dict[str, Any]) -> None:
        super().__init__(retries=0)
        self.exchange = exchange
        self.asked: dict[str, Any] = {}
        self.wanted: set[str] = set()

    def fetch(
        self, url: str, *, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        assert (method, url) == ("POST", self.exchange["request"]["uri"])
        self.asked = json.loads(body or b"")
        answer = self.exchange["response"]
        return json.dumps({**answer, "links": [x for x in answer["links"] if x["rel"] != "next"]}).encode()

    def part(self, href: str, first: int, last: int) -> Part:
        self.wanted.add(href)
        raise RemoteError("no pixels were recorded")
