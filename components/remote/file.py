"""A remote file as Python and its libraries read files: each read is a request for that range."""

from __future__ import annotations

import io

from components.remote.client import Client


class RemoteFile(io.RawIOBase):
    """A file over HTTP(S) or on S3, read-only. It asks for its size when it is opened.

    Raises:
        RemoteError: it cannot be read, then or later.
    """

    def __init__(self, client: Client, href: str) -> None:
        self._client, self._href, self._at = client, href, 0
        self._size = client.part(href, 0, 0).size

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
        if end <= self._at:
            return b""
        data = self._client.part(self._href, self._at, end - 1).data
        self._at = end
        return data
