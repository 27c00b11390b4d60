"""A dask cluster of processes, as its users start one: a scheduler and workers of one thread each, on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import distributed

FEW_FAILURES = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
"""A block may kill one worker, but not two; by default it may kill three, and each takes seconds to start."""


class Cluster:
    """A running cluster. `workers` maps the address of each worker that was started to its process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        file = folder / "scheduler.json"
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file)
        self.client = distributed.Client(scheduler_file=str(file), set_as_default=False, timeout=60)
        self.address: str = self.client.scheduler.address

    def _start(self, *words: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *map(str, words)]
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._folder, env={**os.environ, **FEW_FAILURES}
            )
        self._processes.append(process)
        return process

    def add_worker(self) -> str:
        """Start a worker, which nobody starts again when it dies; returns its address once it is there."""
        before = set(self.client.nthreads())
        process = self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        while not (new := set(self.client.nthreads()) - before):
            assert process.poll() is None, (self._folder / "log").read_text()
        (address,) = new
        self.workers[address] = process
        return address

    def top_up(self, count: int) -> None:
        """Have so many workers alive and known; returns when those that died are forgotten."""
        # A process that dies hangs up before it is dead, and the scheduler may hear of it before or after that.
        while set(self.client.nthreads()) != {address for address, p in self.workers.items() if p.poll() is None}:
            pass
        self.workers = {address: process for address, process in self.workers.items() if process.poll() is None}
        while len(self.workers) < count:
            self.add_worker()

    def send(self, address: str, number: signal.Signals) -> None:
        """Send a worker's process a signal."""
        self.workers[address].send_signal(number)

    def busy(self, address: str) -> bool:
        """Whether a worker has been given something to do that is not done."""
        return bool(self.client.processing().get(address))

    def stop(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.kill()
            process.wait()
        self.client.close(timeout=1)


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """A cluster that ends with the context."""
    found = Cluster(folder)
    try:
        found.top_up(workers)
        yield found
    finally:
        found.stop()
