"""Who lets us read what: public files, S3, the Planetary Computer, the Copernicus Data Space, told by an href's host.

Each signs an href for a while and signs it anew when that is over, so a run may last longer than any signature.
Credentials come from where each service's own tools look for them, stay in memory, and are in no message.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from components.errors import GeoductError
from components.remote.client import Client, Public, RemoteError, Signed

EARLY = 60.0
"""Seconds before its end at which a signature is given up: the request has to arrive as well."""

PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
"""Gives a token for an Azure container to everybody; PC_SDK_SAS_URL names another, as for Microsoft's own client."""
AZURE = ".blob.core.windows.net"

CDSE_TOKEN = "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token"
CDSE_FILES = "download.dataspace.copernicus.eu"
CDSE_S3 = "https://eodata.dataspace.copernicus.eu"
"""Where the bucket `eodata` is, unless AWS_ENDPOINT_URL says otherwise."""


class _Signer(Protocol):
    """Signs the hrefs that it covers."""

    def covers(self, href: str) -> bool: ...
    def sign(self, href: str) -> Signed: ...
    def renew(self, href: str, refused: Signed) -> bool: ...


class _Tokens:
    """Tokens by what they are for, each kept until shortly before its end. A second thread waits for the first."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def get(self, name: str, ask: Callable[[], tuple[str, float]]) -> str:
        """The token of that name; `ask` fetches a new one with the time of its end, in seconds since 1970."""
        with self._lock:
            token, end = self._kept.get(name, ("", 0.0))
            if time.time() > end - EARLY:
                token, end = ask()
                self._kept[name] = token, end
            return token

    def forget(self, name: str, refused: str) -> bool:
        """Drop a token that was refused, unless another thread has renewed it meanwhile."""
        with self._lock:
            if self._kept.get(name, ("", 0.0))[0] == refused:
                del self._kept[name]
            return True


class PlanetaryComputer:
    """Azure blobs of the Planetary Computer: a shared access signature for each container, for about an hour."""

    def __init__(self, client: Client, environment: Mapping[str, str], host: str = AZURE) -> None:
        self._client, self._host = client, host
        self._url = environment.get("PC_SDK_SAS_URL", PLANETARY_COMPUTER).rstrip("/")
        key = environment.get("PC_SDK_SUBSCRIPTION_KEY")
        self._headers = {"Ocp-Apim-Subscription-Key": key} if key else {}
        self._tokens = _Tokens()

    def covers(self, href: str) -> bool:
        """An Azure blob that does not come signed already."""
        url = urlsplit(href)
        return url.netloc.endswith(self._host) and "sig=" not in url.query

    def _container(self, href: str) -> str:
        url = urlsplit(href)
        return f"{url.netloc.split('.')[0]}/{url.path.lstrip('/').split('/')[0]}"

    def _token(self, href: str) -> str:
        container = self._container(href)
        return self._tokens.get(container, lambda: self._ask(container))

    def _ask(self, container: str) -> tuple[str, float]:
        try:
            answer = json.loads(self._client.fetch(f"{self._url}/{container}", headers=self._headers))
            return str(answer["token"]), datetime.fromisoformat(answer["msft:expiry"]).timestamp()
        except RemoteError as error:
            raise RemoteError(f"the Planetary Computer gives no token for {container}: {error}", error.status) from None
        except (ValueError, KeyError, TypeError):
            raise RemoteError(f"the Planetary Computer's token for {container} cannot be read") from None

    def sign(self, href: str) -> Signed:
        """The href with the container's token."""
        return Signed(f"{href}{'&' if urlsplit(href).query else '?'}{self._token(href)}")

    def renew(self, href: str, refused: Signed) -> bool:
        """Drop the container's token."""
        return self._tokens.forget(self._container(href), refused.url[len(href) + 1 :])


class Cdse:
    """Files of the Copernicus Data Space over HTTPS: an OAuth2 token for CDSE_USERNAME and CDSE_PASSWORD."""

    def __init__(
        self, client: Client, environment: Mapping[str, str], host: str = CDSE_FILES, url: str = CDSE_TOKEN
    ) -> None:
        self._client, self._host, self._url = client, host, url
        self._user, self._password = environment.get("CDSE_USERNAME"), environment.get("CDSE_PASSWORD")
        self._tokens = _Tokens()

    def covers(self, href: str) -> bool:
        """A file that the Data Space hands out for a token."""
        return urlsplit(href).netloc == self._host

    def _ask(self) -> tuple[str, float]:
        if not self._user or not self._password:
            raise GeoductError(
                f"{self._host} wants an account of the Copernicus Data Space; set CDSE_USERNAME and CDSE_PASSWORD"
            )
        form = {"client_id": "cdse-public", "grant_type": "password"}
        body = urlencode({**form, "username": self._user, "password": self._password}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            answer = json.loads(self._client.fetch(self._url, method="POST", body=body, headers=headers))
            return str(answer["access_token"]), time.time() + float(answer["expires_in"])
        except RemoteError as error:
            hint = "; see CDSE_USERNAME and CDSE_PASSWORD" if error.status in (400, 401) else ""
            raise RemoteError(f"the Copernicus Data Space gives no token: {error}{hint}", error.status) from None
        except (ValueError, KeyError, TypeError):
            raise RemoteError("the Copernicus Data Space's token cannot be read") from None

    def sign(self, href: str) -> Signed:
        """The href, with the token in a header."""
        return Signed(href, {"Authorization": f"Bearer {self._tokens.get('', self._ask)}"})

    def renew(self, href: str, refused: Signed) -> bool:
        """Drop the token."""
        return self._tokens.forget("", refused.headers["Authorization"].removeprefix("Bearer "))


class S3:
    """Objects in any S3: URLs signed for an hour with the credentials, endpoint and region that AWS's own tools use.

    Without credentials, or with AWS_NO_SIGN_REQUEST as GDAL has it, the URLs are not signed: public buckets. With
    AWS_REQUEST_PAYER=requester, as GDAL has it too, we agree to pay for what a bucket makes its readers pay for.
    """

    SECONDS = 3600

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._payer = environment.get("AWS_REQUEST_PAYER")
        self._clients: dict[bool, Any] = {}
        self._lock = threading.Lock()

    def covers(self, href: str) -> bool:
        """An `s3://` href."""
        return urlsplit(href).scheme.lower() == "s3"

    def _client(self, of_cdse: bool) -> Any:
        with self._lock:
            if of_cdse not in self._clients:
                self._clients[of_cdse] = self._connect(of_cdse)
            return self._clients[of_cdse]

    def _connect(self, of_cdse: bool) -> Any:
        import botocore.session
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        try:
            session = botocore.session.get_session()
            public = self._environment.get("AWS_NO_SIGN_REQUEST", "").lower() in ("yes", "true", "1")
            signed = not public and session.get_credentials() is not None
            if of_cdse and not signed:
                raise GeoductError(
                    "s3://eodata wants keys of the Copernicus Data Space; set AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
                )
            named = {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} & self._environment.keys()
            return session.create_client(
                "s3",
                region_name=session.get_config_variable("region") or "us-east-1",
                endpoint_url=CDSE_S3 if of_cdse and not named else None,
                config=Config(signature_version="s3v4" if signed else UNSIGNED, s3={"addressing_style": "auto"}),
            )
        except BotoCoreError as error:
            raise GeoductError(f"the AWS configuration cannot be used: {error}") from None

    def sign(self, href: str) -> Signed:
        """A URL that fetches the object."""
        from botocore.exceptions import BotoCoreError

        url = urlsplit(href)
        asked, headers = {"Bucket": url.netloc, "Key": url.path.lstrip("/")}, {}
        if self._payer:
            asked["RequestPayer"] = self._payer
            headers["x-amz-request-payer"] = self._payer  # it is part of what is signed
        client = self._client(url.netloc == "eodata")
        try:
            return Signed(client.generate_presigned_url("get_object", Params=asked, ExpiresIn=self.SECONDS), headers)
        except BotoCoreError as error:
            raise RemoteError(f"its URL cannot be signed: {' '.join(str(error).split())}") from None

    def renew(self, href: str, refused: Signed) -> bool:
        """Signed anew for every request, and botocore renews what expires: asking again would be the same."""
        return False


class HostAccess:
    """Signs each href as its host wants it; what no signer covers is public."""

    def __init__(self, signers: tuple[_Signer, ...]) -> None:
        self._signers = signers
        self._public = Public()

    def _of(self, href: str) -> _Signer | Public:
        return next((signer for signer in self._signers if signer.covers(href)), self._public)

    def sign(self, href: str) -> Signed:
        return self._of(href).sign(href)

    def renew(self, href: str, refused: Signed) -> bool:
        return self._of(href).renew(href, refused)


def connect(retries: int, timeout: float) -> Client:
    """A client that reads whatever this machine's credentials allow."""
    plain = Client(retries, timeout)
    signers = (PlanetaryComputer(plain, os.environ), Cdse(plain, os.environ), S3(os.environ))
    return Client(retries, timeout, HostAccess(signers))
