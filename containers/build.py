"""Builds the images, pushes them to a registry and writes the lock that names their bytes: `make images`.

One image at a time: Docker builds it from the recipe, its configuration is stamped with the time of the commit (so that
the same sources on the same base have the same digest wherever the engine itself cannot do that), it is pushed, and the
digest that the registry gives it goes into `containers/images.lock.yaml`, beside a list of its contents in
`containers/sbom/`. With nothing changed every step finds its work done.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components import __version__
from components.errors import GeoductError
from components.launch.images import Image, write_entry

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
IMAGES = ("data", "learn")
SOURCES = (
    "components",
    "pipelines",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    ".dockerignore",
    "containers/Dockerfile",
    "containers/stage.sh",
    "containers/build.lock",
    "containers/data.lock",
    "containers/learn.lock",
)
"""What an image is made from, beside its base."""
OFFICIAL = ("python:3.11-slim-bookworm", "python:3.11-bookworm")
"""Base and tools images where a registry has them; the same as the recipe's defaults."""
MADE = ("geoduct/base:bookworm", "geoduct/base:bookworm-tools")
"""Base and tools images that `base.sh` makes where no registry has any."""


@dataclass(frozen=True)
class Base:
    """What the images are built upon: the names of base and tools, and the digest of the base."""

    name: str
    tools: str
    digest: str


class Docker:
    """A Docker client that can build with BuildKit, and the engine it speaks to.

    Raises:
        GeoductError: no engine answers, or no client here can build.
    """

    def __init__(self) -> None:
        self.client = _client()
        told = subprocess.run(
            [self.client, "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True
        )
        if told.returncode:
            raise GeoductError(
                f"no Docker engine answers ({_last(told.stderr)}): start it "
                "(tests/services/docker.sh start does on Debian)"
            )

    def __call__(self, *words: str, data: bytes | None = None) -> str:
        """Run a command of the client and return what it printed; GeoductError with its last words if it fails."""
        done = subprocess.run([self.client, *words], input=data, capture_output=True)
        if done.returncode:
            raise GeoductError(f"docker {words[0]} failed: {_last(done.stderr.decode(errors='replace'))}")
        return done.stdout.decode().strip()

    def inspect(self, image: str) -> dict[str, Any]:
        """What the engine knows about an image that it has."""
        return dict(json.loads(self("image", "inspect", image))[0])

    def has(self, image: str) -> bool:
        """Whether the engine has an image of that name."""
        return subprocess.run([self.client, "image", "inspect", image], capture_output=True).returncode == 0

    def can_pull(self, image: str) -> bool:
        """Fetch an image if a registry that can be reached has it."""
        print(f"pulling {image}", flush=True)
        return subprocess.run([self.client, "pull", "--quiet", image], capture_output=True).returncode == 0

    def build(self, *words: str) -> None:
        """`docker build` of the recipe, its log shown as it comes."""
        command = [
            self.client,
            "build",
            "--file",
            str(HERE / "Dockerfile"),
            *_secrets(),
            *_proxies(),
            *words,
            str(ROOT),
        ]
        if subprocess.run(command, env={**os.environ, "DOCKER_BUILDKIT": "1"}).returncode:
            raise GeoductError("the image could not be built: the log above ends with the reason")


def _client() -> str:
    """A client that builds with BuildKit: before version 23 by itself, later with the plugin buildx."""
    candidates = [c for c in (shutil.which("docker"), "/usr/bin/docker") if c and Path(c).exists()]
    if not candidates:
        raise GeoductError("there is no docker on PATH: install it (tests/services/docker.sh start does on Debian)")
    for client in candidates:
        told = subprocess.run([client, "--version"], capture_output=True, text=True).stdout
        found = re.search(r"version (\d+)", told)
        plugin = subprocess.run([client, "buildx", "version"], capture_output=True).returncode == 0
        if plugin or (found and int(found.group(1)) < 23):
            return client
    raise GeoductError(f"{candidates[0]} cannot build with BuildKit: install its plugin buildx")


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _secrets() -> list[str]:
    """A site's certificates and its tools' settings, for the time of the build only."""
    files = {
        "ca": os.environ.get("SSL_CERT_FILE"),
        "pip": os.environ.get("GEODUCT_BUILD_PIP_CONFIG"),
        "uv": os.environ.get("GEODUCT_BUILD_UV_CONFIG"),
    }
    for file in filter(None, files.values()):
        if not Path(file).is_file():
            raise GeoductError(f"{file}, which the environment names for the build, does not exist")
    return [word for name, file in files.items() if file for word in ("--secret", f"id={name},src={file}")]


def _proxies() -> list[str]:
    """Proxies as build arguments: those that Docker knows leave no trace in the image."""
    names = [
        n for n in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy") if n in os.environ
    ]
    return [word for name in names for word in ("--build-arg", name)]


def find_base(docker: Docker) -> Base:
    """The base: what `BASE_IMAGE` (and `TOOLS_IMAGE`) name, else Python's own, else one made here from Debian.

    Raises:
        GeoductError: none can be had.
    """
    if named := os.environ.get("BASE_IMAGE"):
        names = (named, os.environ.get("TOOLS_IMAGE") or named)
        for name in names:
            if not docker.has(name) and not docker.can_pull(name):
                raise GeoductError(f"the base image {name} is neither here nor to be had from its registry")
    elif all(map(docker.has, OFFICIAL)):
        names = OFFICIAL
    elif all(map(docker.has, MADE)):
        names = MADE
    elif all(map(docker.can_pull, OFFICIAL)):
        names = OFFICIAL
    else:
        names = MADE
        print(f"no registry has {OFFICIAL[0]}: making a base image from Debian", flush=True)
        made = subprocess.run([str(HERE / "base.sh"), MADE[0]], stderr=subprocess.PIPE, text=True)
        if made.returncode:
            raise GeoductError(_last(made.stderr).removeprefix("base.sh: "))
    about = docker.inspect(names[0])
    # An image that no registry has given a digest is known by its only layer.
    digest = (about["RepoDigests"] or about["RootFS"]["Layers"])[0].rpartition("@")[2]
    return Base(names[0], names[1], digest)


def revision() -> tuple[str, int]:
    """The last commit that changed what the images are made from, `-dirty` if that changed since, and its time (s UTC).

    A commit that changes something else, such as a test, leaves the images and their digests as they are.

    Raises:
        GeoductError: the sources are no git repository.
    """
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "log", "-1", "--format=%H %ct", "--", *SOURCES], capture_output=True, text=True)
    if commit.returncode or not commit.stdout:
        raise GeoductError(f"{ROOT} is no git repository, so the images would not say what they were made from")
    name, seconds = commit.stdout.split()
    changed = subprocess.run([*git, "status", "--porcelain", "--", *SOURCES], capture_output=True, text=True).stdout
    return name + ("-dirty" if changed else ""), int(seconds)


def build(docker: Docker, name: str, base: Base, source: tuple[str, int]) -> str:
    """Build an image and return its id."""
    created = datetime.fromtimestamp(source[1], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    arguments = {
        "BASE_IMAGE": base.name,
        "TOOLS_IMAGE": base.tools,
        "BASE_NAME": base.name,
        "BASE_DIGEST": base.digest,
        "REVISION": source[0],
        "CREATED": created,
        "VERSION": __version__,
    }
    words = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    with tempfile.TemporaryDirectory() as scratch:
        docker.build("--target", name, "--iidfile", f"{scratch}/id", *words)
        built = Path(scratch, "id").read_text()
        docker.build("--target", f"{name}-sbom", "--output", str(HERE / "sbom"), *words)
    return stamp(docker, built, created)


def stamp(docker: Docker, image: str, created: str) -> str:
    """Set all times in an image's configuration to `created`, and return the id of the result.

    Loading an archive that names layers which the engine has already reads none of them, so the archive needs to hold
    the configuration only.
    """
    about = docker.inspect(image)
    if about["Created"] == created:
        return image
    steps = docker("history", "--no-trunc", "--human=false", "--format", "{{json .}}", image).splitlines()
    history = [
        {"created": created, "created_by": step["CreatedBy"], "empty_layer": step["Size"] in ("0", "0B")}
        for step in map(json.loads, reversed(steps))
    ]
    layers = about["RootFS"]["Layers"]
    if sum(not step["empty_layer"] for step in history) != len(layers):
        raise GeoductError(f"{image} has {len(layers)} layers, and its history tells of another number")
    kept = ("Env", "Cmd", "Entrypoint", "WorkingDir", "User", "Labels", "ExposedPorts", "Volumes", "StopSignal")
    config = {
        "architecture": about["Architecture"],
        "os": about["Os"],
        "created": created,
        "config": {key: about["Config"][key] for key in kept if about["Config"].get(key)},
        "rootfs": {"type": "layers", "diff_ids": layers},
        "history": history,
    }
    manifest = [{"Config": "config.json", "RepoTags": None, "Layers": [f"{n}/layer.tar" for n in range(len(layers))]}]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for file, content in (("config.json", config), ("manifest.json", manifest)):
            text = json.dumps(content, sort_keys=True).encode()
            entry = tarfile.TarInfo(file)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
    loaded = docker("load", "--quiet", data=archive.getvalue()).rpartition("ID: ")[2]
    docker("image", "rm", image)  # its layers stay, they are those of the stamped one
    return loaded


def push(docker: Docker, image: str, repository: str) -> str:
    """Push an image and return its reference: `repository@sha256:…`.

    Raises:
        GeoductError: the registry cannot be reached or refuses.
    """
    docker("tag", image, f"{repository}:latest")
    try:
        docker("push", "--quiet", f"{repository}:latest")
    except GeoductError as error:
        raise GeoductError(
            f"{repository} could not be pushed ({error}): start the registry (tests/services/registry.sh start), "
            "name another by REGISTRY=…, or log in to it (docker login)"
        ) from None
    references = docker.inspect(image)["RepoDigests"]
    return str(next(r for r in references if r.startswith(f"{repository}@")))


def main() -> None:
    """Build, push and lock the images named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"of {', '.join(IMAGES)}; default: all")
    parser.add_argument("--registry", default="127.0.0.1:5000", help="where to push [default: %(default)s]")
    parser.add_argument("--lock", type=Path, default=HERE / "images.lock.yaml", help="[default: %(default)s]")
    given = parser.parse_args()
    unknown = set(given.images) - set(IMAGES)
    if unknown:
        raise GeoductError(f"there is no image {unknown.pop()!r}; expected {' or '.join(IMAGES)}")
    docker = Docker()
    base = find_base(docker)
    source = revision()
    for name in given.images or IMAGES:
        start = time.monotonic()
        image = build(docker, name, base, source)
        built = time.monotonic()
        reference = push(docker, image, f"{given.registry}/geoduct/{name}")
        size = int(docker.inspect(image)["Size"])
        write_entry(given.lock, name, Image(reference, source[0], f"{base.name}@{base.digest}", size))
        done = time.monotonic()
        print(
            f"{name}: {size / 1e6:.0f} MB, built in {built - start:.0f} s, pushed in {done - built:.0f} s",
            f"\n  {reference}",
        )


if __name__ == "__main__":
    try:
        main()
    except GeoductError as error:
        print(f"images: {error}", file=sys.stderr)
        sys.exit(2)
