"""What a run in a container may see: exactly what the component's signature declares, under the paths it has outside.

Inputs are bound read-only. Of an output its parent folder is bound, for the result is staged beside its place and moved
there by one rename. Of the environment only credentials of archives and stores, and proxies, pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components import objects
from components.artifacts.source import Source
from components.errors import GeoductError
from components.launch.images import Image, locked
from components.parameters import Parameter
from components.spec import Slot, Spec

_PASSED = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REQUEST_PAYER",
    "AWS_NO_SIGN_REQUEST",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "CDSE_USERNAME",
    "CDSE_PASSWORD",
    "PC_SDK_SUBSCRIPTION_KEY",
    "PC_SDK_SAS_URL",
    "EARTHENGINE_PROJECT",
    "EARTHENGINE_URL",
    "GOOGLE_CLOUD_PROJECT",
    "HF_ENDPOINT",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)
_PASSED_FILES = {
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
    "AWS_CONFIG_FILE": "~/.aws/config",
    "AWS_CA_BUNDLE": None,
    "GOOGLE_APPLICATION_CREDENTIALS": None,
    "SSL_CERT_FILE": None,  # a proxy's certificates; what requests, GDAL and OpenSSL read has a name each
    "REQUESTS_CA_BUNDLE": None,
    "CURL_CA_BUNDLE": None,
}
"""Variables that name a file, which is bound as well, and where it lies by default."""


@dataclass(frozen=True, order=True)
class Mount:
    """A path that the container sees under the same name, read-only unless `writable`."""

    path: Path
    writable: bool


@dataclass(frozen=True)
class Plan:
    """One run of a component in its image; the launchers differ only in how they carry it out."""

    component: str
    image_name: str
    image: Image
    command: tuple[str, ...]
    outputs: tuple[Path, ...]
    mounts: tuple[Mount, ...]
    environment: Mapping[str, str]


def make_plan(spec: Spec, arguments: Mapping[str, Any]) -> Plan:
    """Check the arguments and say what the run needs. Nothing is opened or made.

    Raises:
        GeoductError: an argument is refused, an input does not exist, or the lock lacks the image.
    """
    given, _ = spec.bind(arguments)
    files, variables = passed_environment()
    return Plan(
        component=spec.name,
        image_name=spec.image,
        image=(image := locked(spec.image)),
        command=tuple(command_line(spec, arguments)),
        outputs=tuple(
            _local(s, given[s.name]) for s in spec.outputs if s.name in given and not _is_object(given[s.name])
        ),
        mounts=merge([*files, *_mounts(spec, given), *_named_files(spec, arguments)]),
        environment={**variables, "GEODUCT_IMAGE": image.reference, "GEODUCT_CACHE": str(objects.cache())},
    )


def command_line(spec: Spec, arguments: Mapping[str, Any]) -> list[str]:
    """`geoduct <component> --flag value …` with every path absolute.

    Raises:
        GeoductError: an argument is refused.
    """
    given, _ = spec.bind(arguments)
    words = ["geoduct", *spec.name.split()]  # a tool's name is two words
    for slot in spec.slots:
        if slot.name in given:
            location = _location(given[slot.name])
            words += [slot.flag, str(Path(location).absolute()) if Source(location).is_path else location]
    for parameter, value in _told(spec, arguments):
        words += [parameter.flag, *map(str, value if isinstance(value, list | tuple) else [value])]
    return words


def _told(spec: Spec, arguments: Mapping[str, Any]) -> Iterator[tuple[Parameter, Any]]:
    """The parameters given, and those that name a file by default: the container stands in another folder."""
    for parameter in spec.parameters:
        value = arguments.get(parameter.name, parameter.default)
        if parameter.file and Path(str(value)).is_file():
            yield parameter, Path(str(value)).absolute()
        elif parameter.name in arguments:
            yield parameter, value


def _location(value: Any) -> str:
    return str(getattr(value, "location", None) or getattr(value, "path", None) or value)


def _is_object(value: Any) -> bool:
    return objects.is_object(_location(value))


def _local(slot: Slot, value: Any) -> Path:
    location = _location(value)
    if not Source(location).is_path:
        raise GeoductError(f"{slot.flag} is {location!r}; expected a path on this machine or an s3:// URL")
    return Path(location).absolute()


def _mounts(spec: Spec, given: Mapping[str, Any]) -> Iterable[Mount]:
    for slot in (s for s in spec.slots if s.name in given):
        if _is_object(given[slot.name]):
            yield Mount(objects.cache(), True)
        elif slot.direction == "output":
            yield Mount(_local(slot, given[slot.name]).parent, True)
        elif Source(_location(given[slot.name])).is_path:
            path = _local(slot, given[slot.name])
            if not path.exists():
                raise GeoductError(f"{given[slot.name]} does not exist; {spec.name} reads it as {slot.flag}")
            # What a catalog's links and a raster's sidecar files name lies beside it.
            yield Mount(path.parent if path.is_file() else path, False)


def _named_files(spec: Spec, arguments: Mapping[str, Any]) -> Iterable[Mount]:
    for parameter, value in _told(spec, arguments):
        if parameter.file and isinstance(value, Path):
            yield Mount(value, False)


def passed_environment() -> tuple[list[Mount], dict[str, str]]:
    """Of our environment what a container is given, and the files that it names."""
    variables = {name: os.environ[name] for name in _PASSED if name in os.environ}
    files: list[Mount] = []
    for name, default in _PASSED_FILES.items():
        named = os.environ.get(name) or default
        path = Path(named).expanduser().absolute() if named else None
        if path and path.is_file():
            variables[name] = str(path)
            files.append(Mount(path, False))
    return files, variables


def merge(mounts: Iterable[Mount]) -> tuple[Mount, ...]:
    """One mount a path, outer before inner, without those that an outer one shows already in the same way."""
    writable: dict[Path, bool] = {}
    for mount in mounts:
        writable[mount.path] = writable.get(mount.path, False) or mount.writable
    kept: dict[Path, bool] = {}
    for path in sorted(writable, key=lambda p: len(p.parts)):
        outer = next((kept[p] for p in path.parents if p in kept), None)
        if outer != writable[path]:
            kept[path] = writable[path]
    return tuple(Mount(path, kept[path]) for path in kept)
