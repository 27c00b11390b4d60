"""Google Earth Engine through its REST API: images listed and described, and their pixels computed on our own grid.

Requests go through our client, with its retries; of Google's libraries only the credentials are used, for their own
clients would bring a second way to try again and settings for the whole process. What is asked of the service is
published: `assets.get`, `assets.listAssets` and `image.computePixels` of v1.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
from odc.geo.geobox import GeoBox

from components.errors import GeoductError
from components.remote.client import Client, RemoteError

URL = "https://earthengine.googleapis.com"
"""EARTHENGINE_URL names another, such as Google's endpoint for many requests."""
SCOPE = "https://www.googleapis.com/auth/earthengine"
PUBLIC = "projects/earthengine-public/assets"
"""Where the images are that Google publishes."""

LARGEST = 48 * 2**20
"""Bytes of pixels, uncompressed, that one request may ask for (computePixels); a plane of ours has 8 MiB."""

_RESAMPLING = {"bilinear": "bilinear", "cubic": "bicubic"}
"""Our names → Earth Engine's; without a mode it takes the nearest pixel."""


def is_earth_engine(href: str) -> bool:
    """Whether an href is a band of an image of Earth Engine."""
    return urlsplit(href).scheme == "gee"


def href_of(image: str, band: str) -> str:
    """The href of a band, `gee://COPERNICUS/S2_SR_HARMONIZED/…/B2`, as items hold it."""
    return f"gee://{image}/{band}"


class EarthEngine:
    """Asks Earth Engine with the credentials of this machine; any number of threads may use one.

    Credentials are those of GOOGLE_APPLICATION_CREDENTIALS if set, else of `earthengine authenticate`, else what
    Google's libraries find by default. The project is EARTHENGINE_PROJECT or GOOGLE_CLOUD_PROJECT, else the
    credentials' own. They are looked for with the first request.
    """

    def __init__(self, client: Client, environment: Mapping[str, str]) -> None:
        self._client, self._environment = client, environment
        self._url = environment.get("EARTHENGINE_URL", URL).rstrip("/")
        self._lock = threading.Lock()
        self._credentials: Any = None
        self._project = environment.get("EARTHENGINE_PROJECT") or environment.get("GOOGLE_CLOUD_PROJECT")

    def image(self, id: str) -> dict[str, Any]:
        """What Earth Engine says of an image, as an EarthEngineAsset.

        Raises:
            RemoteError: it cannot be asked, or has no such image (status 404).
            GeoductError: there are no credentials, or no project.
        """
        return self._document(f"{PUBLIC}/{quote(id)}")

    def images(self, collection: str, which: str) -> Iterator[dict[str, Any]]:
        """The images of a collection that meet the filter `which`, page by page; raises as `image` does."""
        token = None
        while True:
            asked = {"pageSize": "100", "view": "FULL", "filter": which, **({"pageToken": token} if token else {})}
            page = self._document(f"{PUBLIC}/{quote(collection)}:listAssets?{urlencode(asked)}")
            yield from page.get("assets", [])
            token = page.get("nextPageToken")
            if not token:
                return

    def read(self, href: str, grid: GeoBox, resampling: str, out: np.ndarray[Any, Any]) -> None:
        """Read a band onto `grid` into `out` (y, x): uint16 reflectance, or uint8 classes.

        What Earth Engine masks, or has not, is 0. Reflectance it has is at least 1: harmonised values may be 0 and
        valid.

        Raises:
            RemoteError: the band cannot be read.
            GeoductError: there are no credentials, or no project.
        """
        assert out.nbytes <= LARGEST
        self._authorize()  # the project may be the credentials'
        image, _, band = href.removeprefix("gee://").rpartition("/")
        body = {
            "expression": {"result": "0", "values": {"0": _pixels(image, band, resampling, out.dtype == np.uint16)}},
            "fileFormat": "NPY",
            "grid": _pixel_grid(grid),
        }
        answer = self._ask(f"projects/{self._project}/image:computePixels", json.dumps(body).encode())
        try:
            pixels = np.load(io.BytesIO(answer), allow_pickle=False)
        except (ValueError, EOFError, OSError):
            raise RemoteError("Earth Engine's answer is no NPY file") from None
        kinds = [pixels.dtype[name] for name in pixels.dtype.names or ()]
        if kinds != [out.dtype] or pixels.shape != out.shape:
            raise RemoteError(
                f"Earth Engine's answer holds {pixels.shape} of {pixels.dtype}; expected {out.shape} of one band, "
                f"{out.dtype}"
            )
        out[:] = pixels[pixels.dtype.names[0]]

    def _document(self, path: str) -> dict[str, Any]:
        try:
            found = json.loads(self._ask(path))
        except ValueError:
            raise RemoteError("Earth Engine's answer is no JSON") from None
        if not isinstance(found, dict):
            raise RemoteError("Earth Engine's answer is JSON, but no object")
        return found

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        """GET, or POST of a body. A token that is refused is renewed, once."""
        token = self._authorize()
        try:
            return self._send(path, body, token)
        except RemoteError as error:
            if error.status != HTTPStatus.UNAUTHORIZED:
                raise
        return self._send(path, body, self._authorize(refused=token))

    def _send(self, path: str, body: bytes | None, token: str) -> bytes:
        headers = {"Authorization": f"Bearer {token}", "X-Goog-User-Project": str(self._project)}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return self._client.fetch(
            f"{self._url}/v1/{path}", method="GET" if body is None else "POST", body=body, headers=headers
        )

    def _authorize(self, refused: str | None = None) -> str:
        """A token that is valid now, and not the one that was refused; finds credentials and project first."""
        with self._lock:
            if self._credentials is None:
                credentials, project = _find_credentials(self._environment)
                self._project = self._project or project
                if not self._project:
                    raise GeoductError(
                        "Earth Engine wants to know the Google Cloud project to work in; set EARTHENGINE_PROJECT"
                    )
                self._credentials = credentials
            if not self._credentials.valid or self._credentials.token == refused:
                _refresh(self._credentials)
            return str(self._credentials.token)


def _find_credentials(environment: Mapping[str, str]) -> tuple[Any, str | None]:
    """Credentials, and the project that they belong to where they say so."""
    try:
        import google.auth
        from ee import oauth
        from google.auth.exceptions import GoogleAuthError
        from google.oauth2.credentials import Credentials
    except ImportError:
        raise GeoductError("Earth Engine needs earthengine-api; install it with: pip install 'geoduct[gee]'") from None
    key = environment.get("GOOGLE_APPLICATION_CREDENTIALS")
    try:
        if key:
            load = google.auth.load_credentials_from_file
            credentials, project = load(key, scopes=[SCOPE])  # type: ignore[no-untyped-call]  # google-auth has no types here
            return credentials, project
        stored = _stored_login(oauth)
        if stored.get("refresh_token"):
            login = Credentials(None, **stored)  # type: ignore[no-untyped-call]  # google-auth has no types here
            return login, stored.get("quota_project_id")
        credentials, project = google.auth.default(scopes=[SCOPE])
        return credentials, project or getattr(credentials, "quota_project_id", None)
    except (GoogleAuthError, OSError, ValueError):
        # The reasons that Google's library gives may quote the file.
        if key:
            raise GeoductError(
                f"GOOGLE_APPLICATION_CREDENTIALS is {key}, which is no file with credentials of Google that can be "
                "read; expected the key file of a service account"
            ) from None
        raise GeoductError(
            "Earth Engine wants credentials; set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account, "
            "or log in with: earthengine authenticate"
        ) from None


def _stored_login(oauth: Any) -> dict[str, Any]:
    """What `earthengine authenticate` has stored; nothing where nobody has logged in."""
    try:
        return dict(oauth.get_credentials_arguments())
    except FileNotFoundError:
        return {}


def _refresh(credentials: Any) -> None:
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.auth.transport.requests import Request

    try:
        credentials.refresh(Request())
    except TransportError:
        raise RemoteError("Google's server for tokens cannot be reached") from None
    except GoogleAuthError:
        # Its words may quote the answer of the server.
        raise RemoteError(
            "Google refuses the credentials for Earth Engine; renew the service account's key, or log in again with: "
            "earthengine authenticate",
            HTTPStatus.UNAUTHORIZED,
        ) from None


def _call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"functionInvocationValue": {"functionName": name, "arguments": arguments}}


def _constant(value: Any) -> dict[str, Any]:
    return {"constantValue": value}


def _pixels(image: str, band: str, resampling: str, reflectance: bool) -> dict[str, Any]:
    """The expression for a band without its mask: 0 where it is masked or not at all."""
    found = _call("Image.select", input=_call("Image.load", id=_constant(image)), bandSelectors=_constant([band]))
    if mode := _RESAMPLING.get(resampling):
        found = _call("Image.resample", image=found, mode=_constant(mode))
    if reflectance:
        found = _call("Image.max", image1=found, image2=_call("Image.constant", value=_constant(1)))
    nothing = _call("Image.constant", value=_constant(0))
    found = _call("Image.unmask", input=found, value=nothing, sameFootprint=_constant(False))
    return _call("Image.toUint16" if reflectance else "Image.toUint8", value=found)


def _pixel_grid(grid: GeoBox) -> dict[str, Any]:
    """A grid as computePixels takes it."""
    t = grid.transform
    names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    assert grid.crs is not None
    epsg = grid.crs.epsg
    crs = {"crsWkt": grid.crs.to_wkt()} if epsg is None else {"crsCode": f"EPSG:{epsg}"}
    return {
        "dimensions": {"width": grid.width, "height": grid.height},
        "affineTransform": dict(zip(names, (t.a, t.b, t.c, t.d, t.e, t.f), strict=True)),
        **crs,
    }
