"""Blocks on a real dask cluster: the same bytes as with threads, also when a worker is killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import distributed
import pytest

from components.acquire import acquire
from components.artifacts.composite import Composite
from components.artifacts.scenecube import SceneCube
from components.blocks import run_blocks
from components.composite import composite
from components.errors import GeoductError
from components.simulate import simulate
from tests.services.dask_cluster import Cluster, cluster
from tests.services.faulty_proxy import Asked, Fault, FaultyProxy
from tests.services.range_server import RangeServer
from tests.services.runs import run, start

pytestmark = pytest.mark.services

BANDS = ("B02", "B04", "B11")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster, whose folder is not ours."""
    with cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture
def two(running: Cluster) -> Cluster:
    """The cluster with two workers, whatever the test before did to them."""
    running.top_up(2)
    return running


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four dates of 512 x 512 pixels."""
    path = tmp_path_factory.mktemp("archive") / "archive"
    simulate(archive=str(path), size=512, dates=4, truth=False)
    return path


@pytest.fixture(scope="module")
def scenes(archive: Path) -> SceneCube:
    """Read with threads."""
    path = archive.parent / "scenes.zarr"
    acquire(catalog=str(archive), scenes=str(path), bands=BANDS)
    return SceneCube.open(path)


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def square_of_two(task: tuple[int, Path]) -> tuple[int, int]:
    """The square, once two processes work on such numbers."""
    number, folder = task
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < 2:
        pass
    return square(number)


def test_results_come_in_order_and_from_both_workers(two: Cluster, tmp_path: Path) -> None:
    tasks = [(number, tmp_path) for number in range(40)]
    found = list(run_blocks(square_of_two, tasks, scheduler=two.address, workers=4))
    assert [value for value, _ in found] == [n * n for n in range(40)]
    assert {pid for _, pid in found} == {process.pid for process in two.workers.values()}


def refuses(number: int) -> int:
    if number == 3:
        raise GeoductError("block 3 is refused")
    return number


def test_the_first_error_ends_the_run(two: Cluster) -> None:
    taken = []

    def blocks() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    with pytest.raises(GeoductError, match=r"^block 3 is refused$"):
        list(run_blocks(refuses, blocks(), scheduler=two.address))
    assert len(taken) <= 3 + 2 * 2 + 1  # two threads, twice as many blocks at a time
    assert list(run_blocks(refuses, [1, 2], scheduler=two.address)) == [1, 2]


def dies(folder: Path) -> int:
    """Kills the process that works on it, the first time."""
    try:
        (folder / "died").touch(exist_ok=False)
    except FileExistsError:
        return os.getpid()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def always_dies(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_block_whose_worker_dies_is_done_by_the_other(two: Cluster, tmp_path: Path) -> None:
    (survivor,) = run_blocks(dies, [tmp_path], scheduler=two.address)
    assert survivor in {process.pid for process in two.workers.values()}


def test_a_block_that_kills_every_worker_is_told(two: Cluster) -> None:
    with pytest.raises(GeoductError, match=r"lost 2 workers one after the other to the same block"):
        list(run_blocks(always_dies, [0], scheduler=two.address))


def hold(proxy: FaultyProxy, after: int) -> set[tuple[str, str]]:
    """Hold back every answer `after` so many requests for pixels; returns which requests are held, as they come.

    A worker asks for one thing at a time, and when it has waited too long for the same again.
    """
    held: set[tuple[str, str]] = set()

    def script(asked: Asked) -> Fault | None:
        if sum(".tif" in past.path for past, _ in proxy.log) <= after:
            return None
        held.add((asked.path, asked.range))
        return Fault("stalled")

    proxy.script = script
    return held


def wait(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    """Wait for what must come about while a process runs."""
    while not ready():
        assert process.poll() is None, process.communicate()


def test_acquire_with_a_worker_killed_in_the_middle(
    two: Cluster, archive: Path, scenes: SceneCube, tmp_path: Path
) -> None:
    """The archive holds back its answers until both workers wait for one; then one worker is killed."""
    with RangeServer(archive) as server, FaultyProxy(server.url, lambda asked: None) as proxy:
        held = hold(proxy, after=6)
        target = tmp_path / "scenes.zarr"
        words = ["acquire", "--catalog", f"{proxy.url}/catalog.json", "--scenes", target, "--bands", *BANDS]
        process = start(*words, "--scheduler", two.address, "--timeout", "2", GEODUCT_LAUNCHER="host")
        wait(process, lambda: len(held) == 2)
        first, _ = two.workers
        assert two.busy(first)
        two.send(first, signal.SIGKILL)
        proxy.script = lambda asked: None
        _, said = process.communicate()
    assert process.returncode == 0, said
    assert SceneCube.open(target).digest == scenes.digest
    assert "Traceback" not in said


def test_composite_with_a_worker_killed_in_the_middle(two: Cluster, scenes: SceneCube, tmp_path: Path) -> None:
    """The workers stand still, so that what they are given stays undone; one that has been given some is killed."""
    composite(scenes.path, tmp_path / "threads.zarr")
    for address in two.workers:
        two.send(address, signal.SIGSTOP)
    target = tmp_path / "composite.zarr"
    process = start("composite", "--scenes", scenes.path, "--composite", target, "--scheduler", two.address)
    wait(process, lambda: any(map(two.busy, two.workers)))
    lost = next(filter(two.busy, two.workers))
    for address in two.workers:
        two.send(address, signal.SIGKILL if address == lost else signal.SIGCONT)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert Composite.open(target).digest == Composite.open(tmp_path / "threads.zarr").digest


def test_a_scheduler_that_dies_is_told_and_what_is_read_is_kept(
    archive: Path, scenes: SceneCube, tmp_path: Path
) -> None:
    """The run that goes on is another one by its scheduler, and still the same."""
    with (
        RangeServer(archive) as server,
        FaultyProxy(server.url, lambda asked: None) as proxy,
        cluster(tmp_path, workers=1) as one,
    ):
        held = hold(proxy, after=10)
        words = ["acquire", "--catalog", f"{proxy.url}/catalog.json", "--scenes", tmp_path / "s", "--bands", *BANDS]
        process = start(*words, "--scheduler", one.address, GEODUCT_LAUNCHER="host")
        wait(process, lambda: len(held) == 1)
        one.stop()
        _, said = process.communicate()
        assert process.returncode == 2, said
        assert said.endswith(
            f"geoduct: the dask cluster at {one.address} is gone: its scheduler does not answer any more\n"
        )
        assert "Traceback" not in said
        proxy.script = lambda asked: None
        assert "going on where an earlier run stopped" in run(*words, GEODUCT_LAUNCHER="host")
    assert SceneCube.open(tmp_path / "s").digest == scenes.digest


def test_what_is_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("components.cluster.PATIENCE", 1)
        for address in ("127.0.0.1:9", "tcp://127.0.0.1:9", "nowhere", "http://127.0.0.1:9"):
            with pytest.raises(
                GeoductError, match=rf"--scheduler {address} cannot be reached; expected a dask scheduler"
            ):
                list(run_blocks(square, [1], scheduler=address))
    wait_for_workers = distributed.Client.wait_for_workers  # in vain, and so not as long as for the scheduler's answer
    monkeypatch.setattr(distributed.Client, "wait_for_workers", lambda self, n, timeout: wait_for_workers(self, n, 0.1))
    with (
        cluster(tmp_path, workers=0) as empty,
        pytest.raises(GeoductError, match=r"has no workers; start some with: dask worker tcp://127\.0\.0\.1"),
    ):
        list(run_blocks(square, [1], scheduler=empty.address))


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(GeoductError, match=r"^--scheduler needs dask\.distributed; install it with: pip install"):
        list(run_blocks(square, [1], scheduler="tcp://127.0.0.1:9"))
