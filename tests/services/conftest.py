"""Real services for the tests: each fixture starts one on demand, and stops it at the end if it started it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from tests.services.cluster import User, give_images, interpreter, user_of_cluster

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def unavailable(service: str, why: str) -> NoReturn:
    """Skip, naming the service; in CI, where every service must run, fail."""
    text = f"{service} is not to be had here: {why}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


@contextmanager
def service(name: str) -> Iterator[None]:
    """Have a service of this folder running."""
    script = str(HERE / f"{name}.sh")
    running = subprocess.run([script, "status"], capture_output=True).returncode == 0
    if not running:
        started = subprocess.run([script, "start"], capture_output=True, text=True)
        if started.returncode:
            unavailable(name, (started.stderr.strip().splitlines() or ["it said nothing"])[-1])
    try:
        yield
    finally:
        if not running:
            subprocess.run([script, "stop"], check=True)


@pytest.fixture(scope="session")
def apptainer() -> Iterator[None]:
    """Apptainer, for root and for ordinary users."""
    with service("apptainer"):
        yield


@pytest.fixture(scope="session")
def slurm(apptainer: None) -> Iterator[None]:
    """A SLURM cluster of two nodes, with Apptainer."""
    with service("slurm"):
        yield


@pytest.fixture
def user(slurm: None) -> Iterator[User]:
    """The ordinary user of the cluster, in a fresh project; their jobs end with the test."""
    python = interpreter()
    if python is None:
        unavailable("slurm", "no Python of this version that every user may run")
    with user_of_cluster(python) as found:
        yield found
        if jobs := found.jobs():
            subprocess.run(["scancel", *jobs], check=True)
            while found.jobs():
                pass  # until they are gone: the next test counts what it leaves


@pytest.fixture(scope="session")
def s3() -> Iterator[dict[str, str]]:
    """An S3 server; the variables of the user who owns its bucket `geoduct` (see s3.sh for the others)."""
    with service("s3"):
        yield {
            "AWS_ACCESS_KEY_ID": "geoduct",
            "AWS_SECRET_ACCESS_KEY": "geoduct-secret",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{os.environ.get('GEODUCT_S3_PORT', '17480')}",
            "AWS_REGION": "default",
        }


@pytest.fixture(scope="session")
def docker() -> Iterator[None]:
    """A Docker engine on the default socket."""
    with service("docker"):
        yield


@pytest.fixture(scope="session")
def registry() -> Iterator[None]:
    """An OCI registry on 127.0.0.1:5000."""
    with service("registry"):
        yield


def made(module: str) -> None:
    """Run a tool of `containers/` to its end."""
    done = subprocess.run([sys.executable, "-m", module], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(done.stderr[-2000:])


@pytest.fixture(scope="session")
def images(docker: None, registry: None) -> Path:
    """The lock of images, built from these sources; with `GEODUCT_IMAGES` set, that one as it is."""
    if named := os.environ.get("GEODUCT_IMAGES"):
        return Path(named)
    made("containers.build")
    return ROOT / "containers" / "images.lock.yaml"


@pytest.fixture(scope="session")
def sifs(images: Path, apptainer: None) -> Path:
    """The folder of the Apptainer images of that lock; with `GEODUCT_SIF` set, that one as it is."""
    if named := os.environ.get("GEODUCT_SIF"):
        return Path(named)
    made("containers.sif")
    return images.parent / "sif"


@pytest.fixture
def user_images(user: User, images: Path, sifs: Path) -> User:
    """The cluster's user with the lock and the Apptainer images in the project."""
    give_images(user, images, sifs)
    return user


@pytest.fixture
def slurm_state(slurm: None) -> Path:
    """Where the cluster keeps its configuration, logs and process ids."""
    return Path(os.environ.get("GEODUCT_SERVICES", "/var/tmp/geoduct-services")) / "slurm"


@pytest.fixture(scope="session")
def stac() -> Iterator[str]:
    """A STAC API without any collection, unless it was running before; its URL."""
    with service("stac"):
        yield f"http://127.0.0.1:{os.environ.get('GEODUCT_STAC_PORT', '17482')}"
