"""`python -m pipelines run` in real containers: the bytes of the host, and nothing left behind whatever ends it."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
import pytest

from components import artifacts
from components.launch.docker import LABEL
from components.launch.images import locked
from tests.conftest import ROOT
from tests.services.cluster import interpreter
from tests.services.conftest import unavailable
from tests.services.runs import run as geoduct

pytestmark = pytest.mark.services

SMALL = {
    "acquire": {"max_cloud": 90.0},
    "patch": {"size": 64, "stride": 64, "block": 640.0, "rare": "ignore"},
    "train": {"epochs": 1, "encoder": "tu-test_resnet", "decoder": [8, 8, 8, 8, 8], "workers": 1, "batch_size": 4},
    "evaluate": {"bootstrap": 10},
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dates of 384 x 384 pixels."""
    path = tmp_path_factory.mktemp("archive") / "archive"
    geoduct("simulate", "--archive", path, "--size", "384", "--dates", "2", GEODUCT_LAUNCHER="host")
    return path


def containers(engine: docker.DockerClient, all: bool = False) -> list[docker.models.containers.Container]:
    """Containers that launchers made and that run, or all of them; one that goes away meanwhile does not count."""
    return list(engine.containers.list(all=all, filters={"label": LABEL}, ignore_removed=True))


@pytest.fixture(scope="module", autouse=True)
def engine(images: Path) -> Iterator[docker.DockerClient]:
    """Use the images of the lock; afterwards no container may be left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEODUCT_IMAGES", str(images))
        client = docker.from_env()
        yield client
        assert containers(client, all=True) == []


def start(pipeline: str, archive: Path, root: Path, *words: object, **variables: str) -> subprocess.Popen[str]:
    """Start a pipeline on the archive."""
    inputs = ["--set", f"catalog={archive}"]
    if pipeline == "training":
        inputs += ["--set", f"labels={archive / 'corine.tif'}"]
    params = root.parent / "params.yaml"
    params.write_text(json.dumps(SMALL))
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pipelines",
            "run",
            pipeline,
            "--root",
            root,
            "--params",
            params,
            *inputs,
            *map(str, words),
        ],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(pipeline: str, archive: Path, root: Path, *words: object, status: int = 0, **variables: str) -> tuple[str, str]:
    """Run a pipeline to its end and return what it printed and what it said on stderr."""
    process = start(pipeline, archive, root, *words, **variables)
    printed, said = process.communicate()
    assert process.returncode == status, printed + said
    return printed, said


def told(printed: str, name: str) -> list[Path]:
    """The paths that the end of a run gives for an output."""
    _, _, end = printed.partition(": done\n")
    return [Path(line.partition(": ")[2]) for line in end.splitlines() if line.startswith(f"{name}: ")]


def flags(section: str) -> list[str]:
    """Parameters of the small pipeline as on the command line."""
    words: list[str] = []
    for name, value in SMALL.get(section, {}).items():
        words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


def on_the_host(archive: Path, folder: Path) -> Path:
    """The same training without containers."""
    at = {name: str(folder / name) for name in ("scenes", "composite", "labels", "patches", "model")}
    for name, words in {
        "acquire": ["--catalog", archive, "--scenes", at["scenes"]],
        "composite": ["--scenes", at["scenes"], "--composite", at["composite"]],
        "label": ["--composite", at["composite"], "--source", archive / "corine.tif", "--labels", at["labels"]],
        "patch": ["--composite", at["composite"], "--labels", at["labels"], "--patches", at["patches"]],
        "train": ["--patches", at["patches"], "--model", at["model"]],
    }.items():
        geoduct(name, *words, *flags(name), GEODUCT_LAUNCHER="host")
    return folder


@pytest.fixture(scope="module")
def trained(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The root of a training run, and what the run printed."""
    root = tmp_path_factory.mktemp("kfp") / "root"
    return root, run("training", archive, root)[0]


def test_training_gives_the_bytes_of_the_host(
    trained: tuple[Path, str], archive: Path, tmp_path: Path, images: Path
) -> None:
    root, printed = trained
    host = on_the_host(archive, tmp_path)
    for output in ("composite", "labels", "patches", "model"):
        (made,) = told(printed, output)
        manifest = json.loads((made / "geoduct.json").read_text())
        assert manifest["digest"] == json.loads((host / output / "geoduct.json").read_text())["digest"], output
        image = "learn" if output == "model" else "data"
        assert manifest["provenance"]["image"] == locked(image).reference
        assert made.parent == root and made.stat().st_uid == os.getuid()
    (report,) = map(artifacts.Report.open, told(printed, "report"))
    (metrics,) = told(printed, "metrics")
    scores = json.loads(metrics.read_text())
    assert scores["model.macro_f1"] == report.metrics["model"]["macro_f1"]
    (page,) = told(printed, "page")
    assert page.read_text() == report.page.read_text()


def test_a_second_run_does_only_what_must_be_looked_at(trained: tuple[Path, str], archive: Path) -> None:
    root, first = trained
    printed, _ = run("training", archive, root)
    done = {line.rpartition("'")[0].rpartition("'")[2] for line in printed.splitlines() if "Executing task" in line}
    assert done == {"search", "identify"}
    for output in ("composite", "model", "report", "metrics"):
        assert told(printed, output) == told(first, output)


def test_what_somebody_removed_is_made_anew(trained: tuple[Path, str], archive: Path) -> None:
    root, first = trained
    (labels,) = told(first, "labels")
    subprocess.run(["rm", "-r", labels], check=True)
    printed, _ = run("training", archive, root)
    assert told(printed, "labels") == [labels]
    artifacts.LabelMap.open(labels).verify()
    assert "Executing task 'label'" in printed and "Executing task 'composite'" not in printed


def test_inference_maps_each_scene_and_publishes_them(trained: tuple[Path, str], archive: Path, tmp_path: Path) -> None:
    (model,) = told(trained[1], "model")
    printed, _ = run("inference", archive, tmp_path / "root", "--set", f"model={model}")
    maps = [artifacts.Map.open(path) for path in told(printed, "map")]
    (scenes,) = (tmp_path / "root").glob("scenes_list-*")
    ids = [item.id for item in artifacts.SceneList.open(scenes).items]
    assert len(maps) == len(ids) > 1
    for made, scene in zip(maps, ids, strict=True):
        at = {name: str(tmp_path / scene / name) for name in ("scenes", "composite", "map")}
        acquired = ["--catalog", scenes, "--ids", scene, "--scenes", at["scenes"], *flags("acquire")]
        geoduct("acquire", *acquired, GEODUCT_LAUNCHER="host")
        geoduct("composite", "--scenes", at["scenes"], "--composite", at["composite"], GEODUCT_LAUNCHER="host")
        given = ["--model", model, "--composite", at["composite"], "--map", at["map"]]
        geoduct("predict", *given, GEODUCT_LAUNCHER="host")
        assert made.digest == artifacts.Map.open(at["map"]).digest
    assert told(printed, "STAC item") == [made.path / "item.json" for made in maps]
    (collection,) = map(artifacts.MapCollection.open, told(printed, "collection"))
    assert {item.id for item in collection.items} == {made.item["id"] for made in maps}
    metrics = [json.loads(path.read_text()) for path in told(printed, "metric")]
    assert [0 < one["mapped"] <= 1 for one in metrics] == [True] * len(maps)
    assert all("data:image/png;base64," in path.read_text() for path in told(printed, "page"))


def test_a_component_that_refuses_is_told_in_its_words(archive: Path, tmp_path: Path) -> None:
    _, said = run("training", archive, tmp_path / "root", "--set", "patch.size=4096", status=2)
    assert said.startswith("pipelines: pipeline training failed: patch: ") and said.count("\n") == 1
    assert "4096" in said
    assert not (tmp_path / "root" / ".work").exists()


def test_out_of_memory_is_said_so(archive: Path, tmp_path: Path) -> None:
    _, said = run("training", archive, tmp_path / "root", status=2, GEODUCT_MEMORY="48m")
    assert said == (
        "pipelines: pipeline training failed: search: out of memory in its container, "
        "which GEODUCT_MEMORY limits to 48m\n"
    )


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")]
)
def test_a_signal_leaves_nothing_running_and_nothing_half_done(
    engine: docker.DockerClient, archive: Path, tmp_path: Path, number: int, status: int, word: str
) -> None:
    process = start("training", archive, tmp_path / "root")
    while not containers(engine):
        assert process.poll() is None
    process.send_signal(number)
    _, said = process.communicate()
    assert (process.returncode, said) == (status, f"pipelines: {word}\n")
    assert containers(engine, all=True) == []
    assert not (tmp_path / "root" / ".work").exists()
    workers = subprocess.run(["pgrep", "-f", f"pipelines.worker {tmp_path}"], capture_output=True, text=True)
    assert workers.stdout == ""


def test_two_runs_do_not_share_a_root(engine: docker.DockerClient, archive: Path, tmp_path: Path) -> None:
    process = start("training", archive, tmp_path / "root")
    while not containers(engine):
        assert process.poll() is None
    _, said = run("training", archive, tmp_path / "root", status=2)
    assert said == f"pipelines: another run is on in {tmp_path / 'root'}; wait for it, or choose another --root\n"
    process.send_signal(signal.SIGTERM)
    process.communicate()


def test_what_is_wrong_with_docker_or_the_image(images: Path, archive: Path, tmp_path: Path) -> None:
    _, said = run("training", archive, tmp_path / "root", status=2, DOCKER_HOST="unix:///nowhere.sock")
    assert said.startswith("pipelines: no Docker engine answers at unix:///nowhere.sock")
    lock = tmp_path / "lock.yaml"
    lock.write_text(images.read_text().replace(locked("data").digest, "sha256:" + "0" * 64))
    _, said = run("training", archive, tmp_path / "root", status=2, GEODUCT_IMAGES=str(lock))
    assert "of the lock is neither here nor to be had from its registry" in said
    _, said = run("training", archive, tmp_path / "root", status=2, GEODUCT_IMAGES="/nowhere.yaml")
    assert said == "pipelines: /nowhere.yaml does not exist: make the images first (make images)\n"


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Run a training as an ordinary user, in a folder of theirs, with or without leave to speak to the engine."""
    python = interpreter()
    if python is None:
        unavailable("docker", "no Python of this version that every user may run")
    if os.geteuid() != 0:
        unavailable("docker", "only root can become another user, whose containers these tests look at")
    account = pwd.getpwnam("nobody")
    with TemporaryDirectory(dir="/var/tmp") as theirs:  # pytest's folders are root's alone
        os.chown(theirs, account.pw_uid, account.pw_gid)
        # The checkout and its packages may lie where only root can read: the user sees them elsewhere.
        seen = {Path(theirs) / "source": ROOT, Path(theirs) / "packages": Path(sysconfig.get_paths()["purelib"])}
        shown = "; ".join(f"mount --bind -o ro '{place}' '{at}'" for at, place in seen.items())
        source, packages = seen
        for at in seen:
            at.mkdir()

        def run_as(archive: Path, *words: str, groups: list[int]) -> subprocess.CompletedProcess[str]:
            shutil.copytree(archive, Path(theirs) / "archive", dirs_exist_ok=True)
            lock = shutil.copy(os.environ["GEODUCT_IMAGES"], Path(theirs) / "lock.yaml")
            given = ["--set", f"catalog={theirs}/archive", "--set", f"labels={theirs}/archive/corine.tif", *words]
            become = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}"]
            become += [f"--groups={','.join(map(str, groups))}"] if groups else ["--clear-groups"]
            alone = ["unshare", "--mount", "sh", "-ec", f"{shown}; cd '{source}'; exec \"$@\"", "sh"]
            return subprocess.run(
                [*alone, *become, python, "-m", "pipelines", "run", "training", "--root", f"{theirs}/root", *given],
                env={
                    "PATH": "/usr/bin:/bin",
                    "HOME": theirs,
                    "PYTHONPATH": f"{source}:{packages}",
                    "GEODUCT_IMAGES": lock,
                },
                capture_output=True,
                text=True,
            )

        yield run_as


def test_an_ordinary_user_owns_what_is_made(
    other: Callable[..., subprocess.CompletedProcess[str]], archive: Path
) -> None:
    socket = Path("/var/run/docker.sock").stat().st_gid
    ended = other(archive, "--set", "patch.size=4096", groups=[socket])  # as far as patch will do
    assert ended.stderr.startswith("pipelines: pipeline training failed: patch: ")
    root = Path(ended.stdout.partition("composite_location: '")[2].partition("'")[0]).parent
    made = [*root.rglob("*")]
    assert {p.name.rpartition("-")[0] for p in root.iterdir()} >= {"scenes_list", "scenes", "composite", "labels"}
    assert {p.stat().st_uid for p in made} == {pwd.getpwnam("nobody").pw_uid}


def test_a_user_who_may_not_speak_to_the_engine_is_told(
    other: Callable[..., subprocess.CompletedProcess[str]], archive: Path
) -> None:
    ended = other(archive, groups=[])
    assert ended.returncode == 2
    assert ended.stderr == (
        "pipelines: no permission on the Docker engine's /var/run/docker.sock: join the group docker\n"
    )
