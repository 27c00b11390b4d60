"""The images: what they promise to whoever runs them, what they must not hold, and how their builds fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.launch.images import Image, read_lock

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]
ODD_USER = ["--read-only", "--user", "54321:54321", "--cap-drop", "ALL", "--env", "HOME=/nowhere"]
READS_ALL = """
import os, sys
needles = [n.encode() for n in sys.argv[1:]]
for folder, _, names in os.walk("/"):
    if folder.startswith(("/proc", "/sys", "/dev")):
        continue
    for path in (os.path.join(folder, name) for name in names):
        if os.path.isfile(path) and not os.path.islink(path):
            content = open(path, "rb").read()
            for needle in needles:
                if needle in content:
                    print(path, needle.decode())
"""


def docker(*words: str) -> str:
    """What a docker command printed; it must succeed."""
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture(params=["data", "learn"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def image(images: Path, name: str) -> Image:
    return read_lock(images)[name]


def tool(module: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A tool of `containers/`, with these variables over our own."""
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence with which a tool gave up."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_labels_user_and_no_entrypoint(image: Image, name: str) -> None:
    about = json.loads(docker("image", "inspect", image.reference))[0]
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in about["Config"]["Labels"].items()}
    assert labels["title"] == f"geoduct {name}"
    assert labels["revision"] == image.revision
    assert f"{labels['base.name']}@{labels['base.digest']}" == image.base
    assert about["Created"] == labels["created"]
    assert not about["Config"]["Entrypoint"]
    assert about["Config"]["User"] not in ("", "0", "root", "0:0")
    assert image.reference in about["RepoDigests"]
    assert about["Size"] == image.bytes


def test_size_of_data(images: Path) -> None:
    assert read_lock(images)["data"].bytes < 650e6


def test_what_was_left_out_is_not_missed(images: Path) -> None:
    probe = (
        "from numpy import *; from scipy import *; import distributed, pandas, pyarrow.dataset, pytz, zoneinfo;"
        "print(zoneinfo.ZoneInfo('Europe/Rome'), pytz.timezone('Europe/Rome'), pandas.Timestamp.now('Asia/Tokyo').tz)"
    )
    told = docker("run", "--rm", *ODD_USER, read_lock(images)["data"].reference, "python", "-c", probe)
    assert told.split() == ["Europe/Rome", "Europe/Rome", "Asia/Tokyo"]


def test_read_only_root_any_user_any_home(image: Image) -> None:
    said = docker("run", "--rm", *ODD_USER, image.reference, "geoduct", "--help")
    assert "usage: geoduct" in said


def test_component_runs_as_a_user_that_the_image_does_not_know(images: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    bind = ["--volume", f"{tmp_path}:{tmp_path}", "--tmpfs", "/tmp"]
    command = ["geoduct", "simulate", "--archive", str(tmp_path / "archive"), "--size", "256"]
    docker("run", "--rm", *ODD_USER, *bind, read_lock(images)["data"].reference, *command)
    assert (tmp_path / "archive" / "catalog.json").stat().st_uid == 54321


def test_learn_finds_its_packages_consistent_and_bytecode_compiled(images: Path) -> None:
    probe = (
        "import torch, torchvision, lightning, timm, sklearn, matplotlib.pyplot as p;"
        "import segmentation_models_pytorch as smp;"
        "smp.Unet('resnet18', encoder_weights=None, in_channels=3).eval()(torch.zeros(1, 3, 32, 32));"
        "p.figure(); print(torch.__cached__.endswith('.pyc'), torch.version.cuda is not None)"
    )
    command = [*ODD_USER, "--tmpfs", "/tmp", read_lock(images)["learn"].reference]
    assert docker("run", "--rm", *command, "python", "-c", probe).split() == ["True", "True"]


def test_learn_builds_a_foundation_model_with_no_network_and_no_compiler(images: Path) -> None:
    probe = (
        "import terratorch, optuna, onnxscript, onnxruntime, tensorboard, peft, os, torch;"
        "from terratorch.cli_tools import build_lightning_cli;"
        "from terratorch.registry import BACKBONE_REGISTRY as known;"
        "known.build('prithvi_eo_v2_tiny_tl', pretrained=False)(torch.zeros(1, 6, 224, 224));"
        "print(os.path.isfile(terratorch.__cached__))"
    )
    command = [*ODD_USER, "--tmpfs", "/tmp", "--network", "none", read_lock(images)["learn"].reference]
    told = subprocess.run(
        ["docker", "run", "--rm", *command, "python", "-c", probe], check=True, capture_output=True, text=True
    )
    assert told.stdout == "True\n"
    assert "riton" not in told.stderr


def test_nothing_of_this_machine_is_in_the_image(images: Path) -> None:
    reference = read_lock(images)["data"].reference
    needles = [str(ROOT), os.uname().nodename * (len(os.uname().nodename) > 4)]
    if bundle := os.environ.get("SSL_CERT_FILE"):
        debian = "".join(p.read_text() for p in Path("/usr/share/ca-certificates/mozilla").glob("*.crt"))
        blocks = Path(bundle).read_text().split("-----BEGIN CERTIFICATE-----\n")[1:]
        needles += [line for line in (block.splitlines()[3] for block in blocks) if debian and line not in debian]
    needles = [n for n in needles if n]
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", reference)
    assert not [needle for needle in (*needles, "http://", "https://") if needle in history]
    found = docker("run", "--rm", "--user", "0", "--network", "none", reference, "python", "-c", READS_ALL, *needles)
    assert found == ""


def test_only_finished_trees_are_layers(image: Image) -> None:
    base = image.base.rpartition("@")[0]
    steps = docker("history", "--no-trunc", "--format", "{{.Size}}\t{{.CreatedBy}}", image.reference).splitlines()
    beneath = docker("history", "--no-trunc", "--format", "{{.Size}}", base).splitlines()
    ours = [step.partition("\t") for step in steps[: len(steps) - len(beneath)]]
    assert all(by.startswith("COPY /layers/") for size, _, by in ours if size != "0B")


def test_tests_caches_and_tools_are_left_out(images: Path) -> None:
    reference = read_lock(images)["data"].reference
    paths = docker("run", "--rm", "--user", "0", reference, "find", "/", "-xdev", "-type", "d").splitlines()
    assert "/opt/geoduct/bin" in paths
    assert not {"/opt/build", "/layers", "/source", "/wheel"}.intersection(paths)
    assert not [p for p in paths if p.endswith("/.cache")]
    assert not [p for p in paths if p.startswith("/opt") and p.endswith(("/pip", "/numpy/tests", "/pandas/tests"))]
    closed = docker("run", "--rm", "--user", "0", reference, "find", "/opt/geoduct", "-not", "-perm", "-004")
    assert closed == ""


def test_the_lock_names_what_the_registry_has(image: Image, name: str) -> None:
    import requests

    where, _, digest = image.reference.partition("@")
    registry, _, repository = where.partition("/")
    accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    answer = requests.get(f"http://{registry}/v2/{repository}/manifests/latest", headers=accept, timeout=30)
    assert answer.headers["Docker-Content-Digest"] == digest


def test_the_same_sources_keep_the_digest(images: Path, tmp_path: Path) -> None:
    again = tmp_path / "images.lock.yaml"
    done = tool("containers.build", "data", "--lock", str(again))
    assert done.returncode == 0, done.stderr
    assert read_lock(again)["data"] == read_lock(images)["data"]


def test_contents_are_listed(images: Path, name: str) -> None:
    listed = json.loads((images.parent / "sbom" / f"{name}.cdx.json").read_text())
    purls = {component.get("purl", "").partition("@")[0] for component in listed["components"]}
    assert {"pkg:pypi/rasterio", "pkg:deb/debian/libc6"} <= purls
    assert ("pkg:pypi/torch" in purls) == (name == "learn")


def test_an_apptainer_image_says_which_image_it_was_made_from(sifs: Path, image: Image, name: str) -> None:
    told = subprocess.run(
        ["apptainer", "inspect", "--json", "--labels", str(sifs / f"{name}.sif")],
        check=True,
        capture_output=True,
        text=True,
    )
    labels = json.loads(told.stdout)["data"]["attributes"]["labels"]
    assert labels["org.label-schema.usage.singularity.deffile.from"] == image.reference


def test_a_current_apptainer_image_is_not_made_again(sifs: Path) -> None:
    before = {sif: sif.stat().st_mtime_ns for sif in sifs.glob("*.sif")}
    assert before
    assert tool("containers.sif").returncode == 0
    assert {sif: sif.stat().st_mtime_ns for sif in sifs.glob("*.sif")} == before


def test_no_apptainer_image_is_left_when_its_registry_is_away(images: Path, apptainer: None, tmp_path: Path) -> None:
    lock = tmp_path / "images.lock.yaml"
    lock.write_text(images.read_text().replace("127.0.0.1:5000", "127.0.0.1:1"))
    said = refused(tool("containers.sif", "data", GEODUCT_IMAGES=str(lock), GEODUCT_SIF=str(tmp_path / "sif")))
    assert f"{tmp_path}/sif/data.sif could not be built from 127.0.0.1:1/geoduct/data@sha256:" in said
    assert not any((tmp_path / "sif").iterdir())


def test_no_engine(tmp_path: Path) -> None:
    said = refused(
        tool("containers.build", "--lock", str(tmp_path / "lock"), DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    )
    assert said.startswith("images: no Docker engine answers")
    assert list(tmp_path.iterdir()) == []


def test_no_registry(images: Path, tmp_path: Path) -> None:
    said = refused(tool("containers.build", "data", "--registry", "127.0.0.1:1", "--lock", str(tmp_path / "lock")))
    assert said.startswith("images: 127.0.0.1:1/geoduct/data could not be pushed (")
    assert list(tmp_path.iterdir()) == []


def test_no_such_base_image(docker: None, tmp_path: Path) -> None:
    said = refused(tool("containers.build", "--lock", str(tmp_path / "lock"), BASE_IMAGE="127.0.0.1:1/none:latest"))
    assert said == "images: the base image 127.0.0.1:1/none:latest is neither here nor to be had from its registry"


def test_no_base_image_can_be_made(tmp_path: Path) -> None:
    apt = tmp_path / "apt-get"  # one that knows no repository
    apt.write_text("#!/bin/sh\n")
    apt.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        [ROOT / "containers" / "base.sh", "geoduct/none:latest"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    nobody = "no registry has a base image, and only root can make one (mmdebstrap); name another by BASE_IMAGE"
    reason = nobody if os.geteuid() else "apt knows no repository of Debian bookworm here (apt-get update?)"
    assert done.stderr == f"base.sh: {reason}\n"
