"""One HTTP client for catalogs and pixels: pooled connections, bounded concurrency, and retries where they help.

What may pass is asked for again: 429 and 5xx, connections refused or cut, answers that stall, trickle or end early.
What will not pass is told at once: 403, 404 and every other refusal. GDAL's own retries leave out short and stalled
reads, and it keeps what it got of them in its cache; so pixels are read through this client as well.
"""

from __future__ import annotations

import random
import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NoReturn, Protocol, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter

from components import __version__

CONNECTIONS = 16
"""At most so many requests at a time to one server; more threads wait for their turn."""

SLOWEST = 1024.0
"""Bytes a second. An answer that comes more slowly, beyond the time it may take to begin, counts as stalled."""

BACKOFF = 0.2
"""Seconds. Wait n, counted from 0, is about this times 2 to the n; what a server asks for by Retry-After goes first."""
LONGEST_WAIT = 60.0
"""Seconds between two tries, at most, whatever a server asks for."""

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that another try may better."""

EXPIRED = frozenset({400, 401, 403})
"""Answers that an expired signature may get: S3 says 400 of an expired session, others 401 or 403."""

HINTS = {
    "NoSuchBucket": "there is no such bucket",
    "NoSuchKey": "there is no such object",
    "InvalidAccessKeyId": "the server does not know the access key; see AWS_ACCESS_KEY_ID or the profile",
    "SignatureDoesNotMatch": "the secret key is not the access key's; see AWS_SECRET_ACCESS_KEY or the profile",
    "ExpiredToken": "the session of the AWS credentials has expired; get new ones",
    "RequestTimeTooSkewed": "this machine's clock differs from the server's; set it right",
    "AuthenticationFailed": "the signature is not valid now; if it is new, this machine's clock may be wrong",
    "AccessDenied": "the credentials in use, or none, do not allow it",
}
"""What object stores say, by the codes of S3 and Azure, and how to mend it."""

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@|\?\S*")
_CAUSE = re.compile(r"Max retries exceeded .*\(Caused by \w+\(.*?\): (.+?)[\"']?\)\)$")
"""What lies behind urllib3's account of a failed connection."""
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})

T = TypeVar("T")


def shown(text: str) -> str:
    """A place or a message without the credentials that URLs in it may hold: user, password, query."""
    return _CREDENTIALS.sub("", text)


class RemoteError(OSError):
    """A request that failed for good. Its words say why, without URL or credentials.

    `status` is that of the answer, None where none came. It is an OSError because the surroundings failed and not the
    user's input: what a resumable component has done so far is kept.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class _Passing(Exception):
    """A failure that another try may better. `wait` is how many seconds the server asks for, if it does."""

    def __init__(self, reason: str, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(reason)
        self.status, self.wait = status, wait


@dataclass(frozen=True)
class Signed:
    """Where a file can be fetched now, and with which headers. Either may hold a signature that expires."""

    url: str
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS)


class Access(Protocol):
    """How a file's href becomes something that can be fetched. Any number of threads may ask."""

    def sign(self, href: str) -> Signed:
        """What to fetch now; asked before every request, so what stays valid is kept."""

    def renew(self, href: str, refused: Signed) -> bool:
        """Forget a signature that was refused; False where there is none, so that asking again is of no use."""


class Public:
    """Files that everybody may fetch, by the URLs that they have."""

    def sign(self, href: str) -> Signed:
        return Signed(href)

    def renew(self, href: str, refused: Signed) -> bool:
        return False


@dataclass(frozen=True)
class Part:
    """Bytes of a remote file, and the size in bytes of the whole."""

    data: bytes
    size: int


class Client:
    """Fetches documents and parts of files; any number of threads may use one.

    A request is tried once and at most `retries` times more; `timeout` (seconds) is how long to wait for a connection
    and between two pieces of an answer. `access` signs the hrefs of files.
    """

    def __init__(self, retries: int = 8, timeout: float = 30.0, access: Access | None = None) -> None:
        self.retries, self.timeout, self._access = retries, timeout, access or Public()
        self._session = requests.Session()  # knows proxies, certificate bundles and .netrc as every tool does
        self._session.headers["User-Agent"] = f"geoduct/{__version__}"
        adapter = HTTPAdapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS, pool_block=True)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def fetch(
        self, url: str, *, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] = _NO_HEADERS
    ) -> bytes:
        """The body of the answer.

        Raises:
            RemoteError: there is none, or it is a refusal.
        """

        def ask(signed: Signed) -> bytes:
            with self._ask(method, signed.url, {**headers, **signed.headers}, body) as answer:
                return self._body(answer)

        return self._patiently(lambda: self._signed(url, ask))

    def part(self, href: str, first: int, last: int) -> Part:
        """Bytes `first` to `last` of a file, both included, or up to its end.

        Raises:
            RemoteError: the file cannot be read, or its server serves no parts of files.
        """
        return self._patiently(lambda: self._signed(href, lambda signed: self._part(signed, first, last)))

    def _signed(self, href: str, ask: Callable[[Signed], T]) -> T:
        signed = self._access.sign(href)
        try:
            return ask(signed)
        except RemoteError as error:
            # A signature may have expired since; a new one is no further try, and is asked for once.
            if error.status not in EXPIRED or not self._access.renew(href, signed):
                raise
        return ask(self._access.sign(href))

    def _part(self, signed: Signed, first: int, last: int) -> Part:
        # Compressed on the way, the bytes would not be those of the range.
        headers = {**signed.headers, "Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
        with self._ask("GET", signed.url, headers, None) as answer:
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
            if answer.status_code != HTTPStatus.PARTIAL_CONTENT or not found or int(found[1]) != first:
                raise RemoteError("the server does not serve byte ranges, which reading a window needs")
            size = int(found[3])
            data = self._body(answer)
            if len(data) != min(last + 1, size) - first:
                raise _Passing(f"{len(data)} bytes came instead of {min(last + 1, size) - first}")
            return Part(data, size)

    def _patiently(self, once: Callable[[], T]) -> T:
        for tries in range(1, self.retries + 2):
            try:
                return once()
            except _Passing as error:
                if tries > self.retries:
                    times = "" if tries == 1 else f" ({tries} tries)"
                    raise RemoteError(f"{error}{times}", error.status) from None
                # The random part keeps many workers from coming back all at once.
                wait = BACKOFF * 2 ** (tries - 1) * random.uniform(0.5, 1.5) if error.wait is None else error.wait
                time.sleep(min(wait, LONGEST_WAIT))
        raise AssertionError("the last try returns or raises")

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> requests.Response:
        """The answer's head; its body is still to be read."""
        try:
            answer = self._session.request(
                method, url, headers=dict(headers), data=body, stream=True, timeout=self.timeout
            )
        except requests.RequestException as error:
            _give_up_or_pass(error, self.timeout)
        if answer.ok:
            return answer
        with answer:
            reason = f"HTTP {answer.status_code} {answer.reason or _phrase(answer.status_code)}"
            if answer.status_code in TRANSIENT:
                raise _Passing(reason, answer.status_code, urllib3.Retry().get_retry_after(answer.raw))
            raise RemoteError(reason + _said(answer), answer.status_code)

    def _body(self, answer: requests.Response) -> bytes:
        """All of an answer's body, or a failure that may pass: it stalls, it trickles, it ends before its length."""
        parts: list[bytes] = []
        received, begun = 0, time.monotonic()
        try:
            while part := answer.raw.read1(2**16, decode_content=True):
                parts.append(part)
                received += len(part)
                if time.monotonic() - begun > self.timeout + received / SLOWEST:
                    raise _Passing(f"only {received} bytes came in {time.monotonic() - begun:.0f} s")
        except urllib3.exceptions.ReadTimeoutError:
            raise _Passing(f"the answer stalled for {self.timeout:g} s after {received} bytes") from None
        except urllib3.exceptions.HTTPError as error:
            short = next((c for c in _causes(error) if isinstance(c, urllib3.exceptions.IncompleteRead)), None)
            if short is not None:
                raise _Passing(f"the answer ended {short.expected} bytes before the length it announced") from None
            raise _Passing(f"the connection was lost after {received} bytes: {_reason(error)}") from None
        return b"".join(parts)


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""


def _said(answer: requests.Response) -> str:
    """What the server says of a refusal: an object store's code, a STAC API's description, Google's message."""
    try:
        text = answer.raw.read(4096, decode_content=True).decode(errors="replace")
    except (urllib3.exceptions.HTTPError, OSError):
        return ""
    found = re.search(r"<Code>(\w+)</Code>", text) or re.search(
        r'"(?:description|detail|message)": ?"([^"]{1,200})"', text
    )
    if not found:
        return ""
    return f" ({found[1]}: {HINTS[found[1]]})" if found[1] in HINTS else f" ({shown(found[1])})"


def _give_up_or_pass(error: requests.RequestException, timeout: float) -> NoReturn:
    """Say in words why there was no answer, and whether another try may help."""
    if isinstance(error, requests.exceptions.SSLError):
        raise RemoteError(f"the server's certificate is not accepted: {_reason(error)}") from None
    if isinstance(error, requests.Timeout):
        raise _Passing(f"no answer within {timeout:g} s") from None
    if isinstance(error, requests.ConnectionError):
        causes = _causes(error)
        if any(isinstance(c, socket.gaierror) and c.errno != socket.EAI_AGAIN for c in causes):
            raise RemoteError("there is no server of that name") from None
        raise _Passing(f"no connection: {_reason(error)}") from None
    raise RemoteError(_reason(error)) from None


def _causes(error: Any) -> list[BaseException]:
    """An error and all that led to it, as requests and urllib3 nest and chain them."""
    found: list[BaseException] = []
    left = [error]
    while left:
        error = left.pop()
        if isinstance(error, BaseException) and error not in found:
            found.append(error)
            left += [*error.args, getattr(error, "reason", None), error.__cause__, error.__context__]
    return found


def _reason(error: Exception) -> str:
    system = next((c.strerror for c in _causes(error) if isinstance(c, OSError) and c.errno and c.strerror), None)
    text = system or next(iter(str(error).strip().splitlines()), type(error).__name__)
    cause = _CAUSE.search(text)
    return shown(cause[1] if cause else text).strip().rstrip(".")
