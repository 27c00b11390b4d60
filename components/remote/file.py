"""Remote files as Python and its libraries read files: each read is a request for that range."""

from __future__ import annotations

import io
from abc import abstractmethod

from components.remote.client import Client


class RangeFile(io.RawIOBase):
    """A read-only file of `size` bytes whose bytes come from elsewhere, range by range."""

    def __init__(self, size: int) -> None:
        self._size, self._at = size, 0

    @abstractmethod
    def _range(self, start: int, end: int) -> bytes:
        """Bytes `start` to `end`, the latter not included; within the file."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        return self._at

    def read(self, count: int = -1) -> bytes:
        end = self._size if count < 0 else min(self._at + count, self._size)
        data = self._range(self._at, end) if end > self._at else b""
        self._at += len(data)
        return data


class RemoteFile(RangeFile):
    """A file over HTTP(S) or on S3. It asks for its size when it is opened.

    Raises:
        RemoteError: it cannot be read, then or later.
    """

    def __init__(self, client: Client, href: str) -> None:
        super().__init__(client.part(href, 0, 0).size)
        self._client, self._href = client, href

    def _range(self, start: int, end: int) -> bytes:
        return self._client.part(self._href, start, end - 1).data
