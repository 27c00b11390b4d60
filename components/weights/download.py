"""A file from Hugging Face, or from any server, part by part: what has come is kept when the network fails."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from components import storage
from components.errors import GeoductError
from components.progress import track
from components.remote.client import Client, RemoteError, shown

ENDPOINT = "https://huggingface.co"
PART = 16 * 2**20
"""Bytes of one request: what a killed download may lose."""


@dataclass(frozen=True)
class Remote:
    """A file on a server: its URL, and what is known of it before it is fetched (`size` in bytes)."""

    url: str
    revision: str | None = None
    licence: str | None = None
    sha256: str | None = None
    size: int | None = None


def find(client: Client, repository: str, file: str, revision: str) -> Remote:
    """Ask Hugging Face, or the mirror that HF_ENDPOINT names, about a file at a revision (branch, tag or commit).

    The file is then fetched from the very commit that the answer speaks of.

    Raises:
        GeoductError: the server cannot be reached or refuses, or has no such file.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or ENDPOINT
    url = f"{endpoint}/api/models/{repository}/revision/{quote(revision, safe='')}?blobs=true"
    try:
        told: dict[str, Any] = json.loads(client.fetch(url))
        commit, files = str(told["sha"]), {str(entry["rfilename"]): entry for entry in told["siblings"]}
    except RemoteError as error:
        raise GeoductError(
            f"{shown(url)} could not be read: {error}; without internet, fetch the weights on a machine that has it, "
            "or name a mirror by HF_ENDPOINT or --url"
        ) from error
    except (ValueError, KeyError, TypeError):
        raise GeoductError(f"{shown(url)} does not answer as Hugging Face does; see HF_ENDPOINT") from None
    if file not in files:
        raise GeoductError(f"{repository} has no file {file!r} at revision {revision!r} ({commit[:12]})")
    blob = files[file].get("lfs") or {}
    return Remote(
        f"{endpoint}/{repository}/resolve/{commit}/{quote(file)}",
        commit,
        _licence(told),
        blob.get("sha256"),
        blob.get("size"),
    )


def _licence(told: dict[str, Any]) -> str | None:
    named = (told.get("cardData") or {}).get("license")
    tags = (tag.removeprefix("license:") for tag in told.get("tags") or [] if tag.startswith("license:"))
    return str(named) if isinstance(named, str) else next(tags, None)


def download(client: Client, remote: Remote, file: Path) -> str:
    """Fetch a file, or the rest of it where an earlier run left a beginning; its SHA-256, in hexadecimal.

    Raises:
        GeoductError: the server fails, or what came is not what was announced; only then is the beginning dropped.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    begun = file.stat().st_size if file.exists() else 0
    size = remote.size
    try:
        with file.open("ab") as out:
            if size is None or begun < size:
                first = client.part(remote.url, begun, begun + PART - 1)
                size = first.size
                out.write(first.data)
            done = list(range(out.tell(), size, PART))
            for part in track(_parts(client, remote.url, done), total=len(done), label="weights, 16 MiB"):
                out.write(part)
    except RemoteError as error:
        if error.status == 416:  # the beginning is longer than the file: it is of another one
            storage.remove(file)
        raise GeoductError(
            f"{shown(remote.url)} could not be fetched: {error}; the same command goes on from what has come"
        ) from error
    with file.open("rb") as whole:
        found = hashlib.file_digest(whole, "sha256").hexdigest()
    announced = (remote.size or size, remote.sha256 or found)
    if (file.stat().st_size, found) != announced:
        came = file.stat().st_size
        storage.remove(file)
        raise GeoductError(
            f"{shown(remote.url)}: {came} bytes with sha256 {found[:12]}… came, but {announced[0]} with "
            f"{announced[1][:12]}… are announced; fetch it again"
        )
    return found


def _parts(client: Client, url: str, begins: list[int]) -> Iterator[bytes]:
    for begin in begins:
        yield client.part(url, begin, begin + PART - 1).data
