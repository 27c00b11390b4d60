"""The ledger of a run: which shards are written, each with its checksum, so that the next run goes on from there.

It lies in the artifact's folder as long as the artifact is unfinished. A line is added when its shard is whole, and
names what the shard was made of. So a shard without a line, or with other bytes than its line says, was cut off by a
kill and is read again; and a line about other scenes, another grid or another place in the cube matches nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

LEDGER = "ledger.jsonl"


@dataclass(frozen=True)
class Entry:
    """A shard that was written: of which array, of which content, where (its step first). Without a file all its pixels
    are nodata."""

    array: str
    content: str
    place: tuple[int, ...]
    file: str | None
    sha256: str | None


class Ledger:
    """The shards that are whole in `folder`. Opening it removes files of the `arrays` that are not."""

    def __init__(self, folder: Path, arrays: tuple[str, ...]) -> None:
        self._folder, self._file = folder, folder / LEDGER
        self._entries = {_key(entry): entry for entry in self._read()}
        kept = {entry.file for entry in self._entries.values()}
        for array in arrays:
            for file in (folder / array / "c").rglob("*"):
                if file.is_file() and file.relative_to(folder).as_posix() not in kept:
                    file.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        self._write()

    def _write(self) -> None:
        self._file.write_text("".join(_line(entry) for entry in self._entries.values()))

    def _read(self) -> list[Entry]:
        if not self._file.is_file():
            return []
        lines = self._file.read_text().split("\n")[:-1]  # what follows the last line's end was cut off
        entries = [Entry(**{**json.loads(line), "place": tuple(json.loads(line)["place"])}) for line in lines]
        return [e for e in entries if e.file is None or _sha256(self._folder / e.file) == e.sha256]

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, array: str, content: str, place: tuple[int, ...]) -> Entry | None:
        """What is known of the shard of `array` at `place`, if it was made of `content`."""
        return self._entries.get((array, content, place))

    def sums(self, content: str, step: int) -> dict[str, str]:
        """SHA-256 of the files of a step that were made of `content`, by their path in the folder."""
        entries = (e for e in self._entries.values() if e.content == content and e.place[0] == step)
        return {entry.file: entry.sha256 for entry in entries if entry.file and entry.sha256}

    def forget(self, step: int) -> None:
        """The shards of a step are gone, whatever they were made of."""
        self._entries = {key: entry for key, entry in self._entries.items() if entry.place[0] != step}
        self._write()

    def add(self, array: str, content: str, place: tuple[int, ...], file: Path | None, sha256: str) -> None:
        """A shard was written to `file`, whose bytes have this checksum, or needs none."""
        name = None if file is None else file.relative_to(self._folder).as_posix()
        entry = Entry(array, content, place, name, None if file is None else sha256)
        with self._file.open("a") as out:
            out.write(_line(entry))
        self._entries[_key(entry)] = entry

    def remove(self) -> None:
        """The artifact is whole."""
        self._file.unlink()


def _key(entry: Entry) -> tuple[str, str, tuple[int, ...]]:
    return entry.array, entry.content, entry.place


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry)) + "\n"


def _sha256(file: Path) -> str | None:
    if not file.is_file():
        return None
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
