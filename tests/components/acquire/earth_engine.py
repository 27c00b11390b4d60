"""Earth Engine on loopback, as far as Geoduct asks it: the published shapes of its REST API over images made up here.

It gives tokens for the key of a service account, lists and describes images, and evaluates the few functions that our
expressions are made of. What it is asked otherwise it refuses.
"""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import shapely
from rasterio.warp import transform_geom
from shapely.geometry import box, mapping, shape

EAST, NORTH = 499_980, 7_100_040
PROJECT = "made-up-project"
PUBLIC = "/v1/projects/earthengine-public/assets/"


@dataclass
class Image:
    """An image: masked arrays (y, x) a band, all of one extent; 10 m are the pixels of the first."""

    id: str
    start: str
    bands: dict[str, np.ma.MaskedArray[Any, Any]]
    properties: dict[str, Any]
    east: int = EAST
    collection: str = "COPERNICUS/S2_SR_HARMONIZED"

    def metres(self, band: str) -> float:
        return 10 * next(iter(self.bands.values())).shape[0] / self.bands[band].shape[0]

    def asset(self) -> dict[str, Any]:
        """An EarthEngineAsset. As of Google's services, numbers that are 0 are left out."""
        height, width = next(iter(self.bands.values())).shape
        bounds = box(self.east, NORTH - 10 * height, self.east + 10 * width, NORTH)
        outline = transform_geom("EPSG:32627", "EPSG:4326", mapping(bounds))
        return {
            "type": "IMAGE",
            "name": f"projects/earthengine-public/assets/{self.collection}/{self.id}",
            "id": f"{self.collection}/{self.id}",
            "updateTime": "2022-07-05T03:04:05.123456Z",
            "startTime": self.start,
            "endTime": self.start,
            "geometry": {"type": "LinearRing", "coordinates": outline["coordinates"][0]},
            "properties": self.properties,
            "bands": [
                {
                    "id": name,
                    "dataType": {"precision": "INT", "range": {"max": 65535}},
                    "grid": {
                        "crsCode": "EPSG:32627",
                        "dimensions": {"width": pixels.shape[1], "height": pixels.shape[0]},
                        "affineTransform": {
                            "scaleX": self.metres(name),
                            "translateX": self.east,
                            "scaleY": -self.metres(name),
                            "translateY": NORTH,
                        },
                    },
                    "pyramidingPolicy": "MEAN",
                }
                for name, pixels in self.bands.items()
            ],
        }


@dataclass
class Asked:
    """A request: what for (`token`, `list`, `get`, `pixels`), and of which band of which image."""

    verb: str
    path: str
    body: dict[str, Any] | None = None
    image: str = ""
    band: str = ""


Answer = tuple[int, dict[str, Any]]


@dataclass
class Service:
    """What runs: its images, what it was asked, and `refuse`, which may answer in its place."""

    images: list[Image]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    refuse: Callable[[Asked], Answer | None] = lambda asked: None
    tokens: int = 0

    def of(self, verb: str) -> list[Asked]:
        return [each for each in self.asked if each.verb == verb]

    def find(self, id: str) -> Image | None:
        return next((i for i in self.images if f"{i.collection}/{i.id}" == id), None)


def error(code: int, status: str, message: str) -> Answer:
    """An error as Google's services tell it."""
    return code, {"error": {"code": code, "message": message, "status": status}}


def write_key(path: Path, url: str) -> Path:
    """The key file of a service account whose tokens come from the service."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "made-up",
        "private_key": pem.decode(),
        "client_email": "geoduct@made-up-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"{url}/token",
    }
    path.write_text(json.dumps(account))
    return path


def _matching(service: Service, collection: str, which: str) -> list[Image]:
    def day(pattern: str, default: str) -> datetime:
        found = re.search(pattern, which)
        return datetime.fromisoformat(found[1] if found else default)

    first = day(r'startTime >= "([^"]+)"', "0001-01-01T00:00:00Z")
    last = day(r'startTime < "([^"]+)"', "9999-01-01T00:00:00Z")
    outline = re.search(r'intersects\("([^"]+)"\)', which)
    area = shape(json.loads(outline[1].replace("'", '"'))) if outline else None
    return [
        i
        for i in service.images
        if i.collection == collection
        and first <= datetime.fromisoformat(i.start) < last
        and (area is None or area.intersects(shapely.Polygon(i.asset()["geometry"]["coordinates"])))
    ]


def _evaluate(node: dict[str, Any], service: Service, grid: dict[str, Any]) -> Any:
    """The value of an expression on a grid: masked arrays for images, after the nearest pixel."""
    if "constantValue" in node:
        return node["constantValue"]
    call = node["functionInvocationValue"]
    given = {k: _evaluate(v, service, grid) for k, v in call["arguments"].items()}
    match call["functionName"], given:
        case "Image.load", {"id": id}:
            return service.find(id)
        case "Image.select", {"input": Image() as image, "bandSelectors": [band]}:
            return _sample(image, band, grid)
        case "Image.resample", {"image": pixels, "mode": "bilinear" | "bicubic"}:
            return pixels
        case "Image.constant", {"value": value}:
            return value
        case "Image.max", {"image1": pixels, "image2": least}:
            return np.ma.maximum(pixels, least)
        case "Image.unmask", {"input": pixels, "value": value, "sameFootprint": False}:
            return pixels.filled(value)
        case "Image.toUint16" | "Image.toUint8", {"value": pixels}:
            return pixels.astype(call["functionName"].removeprefix("Image.to").lower())
    raise ValueError(f"{call['functionName']} with {', '.join(given)}")


def _sample(image: Image, band: str, grid: dict[str, Any]) -> np.ma.MaskedArray[Any, Any]:
    t, size, pixels = grid["affineTransform"], grid["dimensions"], image.bands[band]
    if grid["crsCode"] != "EPSG:32627" or t["shearX"] or t["shearY"]:
        raise ValueError("another grid than this service knows")
    metres = image.metres(band)
    columns = ((t["translateX"] + (np.arange(size["width"]) + 0.5) * t["scaleX"] - image.east) // metres).astype(int)
    rows = ((NORTH - t["translateY"] - (np.arange(size["height"]) + 0.5) * t["scaleY"]) // metres).astype(int)
    out = np.ma.masked_all((len(rows), len(columns)), pixels.dtype)
    r, c = ((v >= 0) & (v < n) for v, n in zip((rows, columns), pixels.shape, strict=True))
    out[np.ix_(r, c)] = pixels[np.ix_(rows[r], columns[c])]
    return out


def _band_of(node: Any) -> tuple[str, str]:
    text = json.dumps(node)
    image, band = re.search(r'"id": \{"constantValue": "([^"]+)"', text), re.search(r'"constantValue": \["(\w+)"', text)
    return image[1] if image else "", band[1] if band else ""


def serve(service: Service) -> ThreadingHTTPServer:
    """Start it on a free port of loopback; sets `service.url`."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Tests print nothing."""

        def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _tell(self, answer: Answer) -> None:
            self._answer(answer[0], json.dumps(answer[1]).encode())

        def _refused(self, asked: Asked) -> bool:
            with lock:
                service.asked.append(asked)
                answer = service.refuse(asked)
            if answer is None and asked.verb != "token":
                named = self.headers["Authorization"], self.headers["X-Goog-User-Project"]
                if named != (f"Bearer token-{service.tokens}", PROJECT):
                    answer = error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
            if answer is not None:
                self._tell(answer)
            return answer is not None

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            path, query = unquote(url.path).removeprefix(PUBLIC), parse_qs(url.query)
            if path.endswith(":listAssets"):
                if self._refused(Asked("list", self.path)):
                    return
                found = _matching(service, path.removesuffix(":listAssets"), query.get("filter", [""])[0])
                at = int(query.get("pageToken", ["0"])[0])
                page: dict[str, Any] = {"assets": [i.asset() for i in found[at : at + 1]]}  # one a page
                self._tell((200, {**page, **({"nextPageToken": str(at + 1)} if at + 1 < len(found) else {})}))
            elif not self._refused(Asked("get", self.path)):
                image = service.find(path)
                self._tell((200, image.asset()) if image else error(404, "NOT_FOUND", f"Asset '{path}' not found."))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/token":
                if b"assertion=" in body and not self._refused(Asked("token", self.path)):
                    service.tokens += 1
                    token = {"access_token": f"token-{service.tokens}", "expires_in": 3599, "token_type": "Bearer"}
                    self._tell((200, token))
                return
            asked = json.loads(body)
            if self._refused(Asked("pixels", self.path, asked, *_band_of(asked))):
                return
            if self.path != f"/v1/projects/{PROJECT}/image:computePixels" or asked["fileFormat"] != "NPY":
                return self._tell(error(404, "NOT_FOUND", "no such method"))
            expression = asked["expression"]
            pixels = _evaluate(expression["values"][expression["result"]], service, asked["grid"])
            out = io.BytesIO()
            np.save(out, pixels.view([(_band_of(asked)[1], pixels.dtype)]).reshape(pixels.shape))
            self._answer(200, out.getvalue(), "application/octet-stream")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
