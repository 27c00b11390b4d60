"""Signed access, against servers with the published shapes of the services' answers; what was tried live is nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from components.errors import GeoductError
from components.remote.access import S3, Cdse, HostAccess, PlanetaryComputer
from components.remote.client import Client, RemoteError
from tests.services.range_server import Answer, RangeServer

CONTENT = bytes(range(256))


class Azure:
    """Both ends of the Planetary Computer: hands out tokens, and serves blobs for the last one only."""

    def __init__(self, minutes: float = 45) -> None:
        self.minutes = minutes
        self.given = 0

    def __call__(self, path: str, query: str, headers: dict[str, str]) -> Answer | None:
        if path.startswith("/token/"):
            assert path == "/token/127/container"  # account and container, as the blob's URL has them
            self.given += 1
            end = datetime.now(UTC) + timedelta(minutes=self.minutes)
            shape = {"msft:expiry": f"{end:%Y-%m-%dT%H:%M:%SZ}", "token": f"se=soon&sp=rl&sig=secret{self.given}"}
            return Answer(200, shape)
        if parse_qs(query).get("sig") == [f"secret{self.given}"]:
            return None
        return Answer(403, "<Error><Code>AuthenticationFailed</Code><Message>secret</Message></Error>")


def azure_client(server: RangeServer) -> Client:
    plain = Client(retries=0)
    address = server.url.removeprefix("http://")
    return Client(0, access=HostAccess((PlanetaryComputer(plain, {"PC_SDK_SAS_URL": f"{server.url}/token"}, address),)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "container").mkdir()
    (tmp_path / "container" / "b.tif").write_bytes(CONTENT)
    return tmp_path


def test_a_token_serves_until_it_is_refused_and_is_renewed_then(folder: Path) -> None:
    azure = Azure()
    with RangeServer(folder, azure) as server:
        client = azure_client(server)
        href = f"{server.url}/container/b.tif"
        assert [client.part(href, n, n + 1).data for n in range(3)] == [CONTENT[n : n + 2] for n in range(3)]
        assert azure.given == 1
        azure.given += 1  # the server forgets the token before its time
        assert client.part(href, 8, 9).data == CONTENT[8:10]
        assert azure.given == 3


def test_a_token_near_its_end_is_not_used(folder: Path) -> None:
    azure = Azure(minutes=0.5)
    with RangeServer(folder, azure) as server:
        client = azure_client(server)
        for n in range(3):
            client.part(f"{server.url}/container/b.tif", n, n)
    assert azure.given == 3


def test_a_refusal_that_a_new_token_does_not_mend_is_told_once_and_hides_the_token(folder: Path) -> None:
    class Skewed(Azure):
        def __call__(self, path: str, query: str, headers: dict[str, str]) -> Answer | None:
            return super().__call__(path, "", headers)

    skewed = Skewed()
    with RangeServer(folder, skewed) as server, pytest.raises(RemoteError) as caught:
        azure_client(server).part(f"{server.url}/container/b.tif", 0, 9)
    assert skewed.given == 2
    assert "HTTP 403 Forbidden (AuthenticationFailed: the signature is not valid now; if it is new" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_href_that_is_signed_already_is_left_alone(folder: Path) -> None:
    azure = Azure()
    azure.given = 7
    with RangeServer(folder, azure) as server:
        client = azure_client(server)
        assert client.part(f"{server.url}/container/b.tif?sig=secret7", 0, 3).data == CONTENT[:4]
    assert azure.given == 7


class Identity:
    """Both ends of the Copernicus Data Space: an OAuth2 password grant, and files for its bearer."""

    def __init__(self) -> None:
        self.given = 0

    def __call__(self, path: str, query: str, headers: dict[str, str]) -> Answer | None:
        if headers.get("authorization") == f"Bearer secret{self.given}":
            return None
        return Answer(401, {"detail": "Expired signature!"})

    def token(self, body: str) -> Answer:
        form = {name: value for name, (value,) in parse_qs(body).items()}
        expected = {"client_id": "cdse-public", "grant_type": "password", "username": "me", "password": "secret"}
        if form != expected:
            return Answer(401, {"error": "invalid_grant", "error_description": "Invalid user credentials"})
        self.given += 1
        return Answer(200, {"access_token": f"secret{self.given}", "expires_in": 600, "token_type": "Bearer"})


def cdse_client(server: RangeServer, **environment: str) -> Client:
    address = server.url.removeprefix("http://")
    return Client(0, access=HostAccess((Cdse(Client(0), environment, address, f"{server.url}/token"),)))


ACCOUNT = {"CDSE_USERNAME": "me", "CDSE_PASSWORD": "secret"}


def test_a_file_of_the_data_space_is_fetched_with_a_bearer_token(folder: Path) -> None:
    identity = Identity()
    with RangeServer(folder, identity, post=identity.token) as server:
        client = cdse_client(server, **ACCOUNT)
        href = f"{server.url}/container/b.tif"
        assert [client.part(href, n, n).data for n in (0, 1)] == [CONTENT[:1], CONTENT[1:2]]
        identity.given += 1
        assert client.part(href, 2, 2).data == CONTENT[2:3]
    assert identity.given == 3


def test_an_account_that_is_missing_or_wrong_is_told_without_its_password(folder: Path) -> None:
    identity = Identity()
    with RangeServer(folder, identity, post=identity.token) as server:
        href = f"{server.url}/container/b.tif"
        with pytest.raises(GeoductError, match=r"set CDSE_USERNAME and CDSE_PASSWORD$"):
            cdse_client(server).part(href, 0, 9)
        with pytest.raises(RemoteError, match=r"gives no token: HTTP 401 .*; see CDSE_USERNAME and") as caught:
            cdse_client(server, CDSE_USERNAME="me", CDSE_PASSWORD="wrong-secret").part(href, 0, 9)
    assert "secret" not in str(caught.value)


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("no_aws")
def test_s3_urls_are_signed_only_with_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    public = S3({}).sign("s3://bucket/a/b c.tif").url
    assert public == "https://bucket.s3.amazonaws.com/a/b%20c.tif"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    signed = S3({}).sign("s3://bucket/b.tif").url
    assert "X-Amz-Credential=key" in signed
    assert "secret" not in signed
    assert S3({"AWS_NO_SIGN_REQUEST": "YES"}).sign("s3://bucket/b.tif").url.endswith("/b.tif")


@pytest.mark.usefixtures("no_aws")
def test_who_agrees_to_pay_says_so_and_signs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    found = S3({"AWS_REQUEST_PAYER": "requester"}).sign("s3://bucket/b.tif")
    assert found.headers == {"x-amz-request-payer": "requester"}
    assert "SignedHeaders=host%3Bx-amz-request-payer" in found.url
    assert S3({}).sign("s3://bucket/b.tif").headers == {}


@pytest.mark.usefixtures("no_aws")
def test_a_name_that_no_bucket_can_have_is_told() -> None:
    with pytest.raises(RemoteError, match=r"^its URL cannot be signed: .*Invalid bucket name"):
        S3({}).sign("s3://no bucket/b.tif")


@pytest.mark.usefixtures("no_aws")
def test_the_bucket_of_the_data_space_is_found_and_wants_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        GeoductError, match="s3://eodata wants keys of the Copernicus Data Space; set AWS_ACCESS_KEY_ID"
    ):
        S3({}).sign("s3://eodata/Sentinel-2/x.jp2")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert S3({}).sign("s3://eodata/Sentinel-2/x.jp2").url.split("?")[0] in (
        "https://eodata.dataspace.copernicus.eu/eodata/Sentinel-2/x.jp2",
        "https://eodata.eodata.dataspace.copernicus.eu/Sentinel-2/x.jp2",
    )
