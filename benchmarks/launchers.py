"""How much later a component begins its work in a container: from the command to the component's first refusal, under
each launcher that runs here, in turn, beside the host. SLURM's share is what this cluster takes to start a job: the one
that `make services` starts is asked as its ordinary user, any other as whoever runs this.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from components.launch import LAUNCHERS
from components.launch.images import lock_path, sif_path
from tests.services.cluster import ROOT, User, give_images, interpreter, user_of_cluster

ROUNDS = 5
GEODUCT = Path(sys.executable).parent / "geoduct"
REFUSAL = "is no finished Composite"

Run = Callable[..., subprocess.CompletedProcess[str]]


def as_ourselves(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `geoduct` with these variables over our own."""
    return subprocess.run(
        [str(GEODUCT), *words], capture_output=True, text=True, check=False, env={**os.environ, **variables}
    )


@contextmanager
def user_of_services() -> Iterator[User | None]:
    """The ordinary user of the cluster that `make services` starts; None where none runs, or we are not root."""
    python = interpreter()
    running = subprocess.run([ROOT / "tests/services/slurm.sh", "status"], capture_output=True).returncode == 0
    if os.geteuid() or python is None or not running or not lock_path().exists():
        yield None
        return
    with user_of_cluster(python) as user:
        give_images(user, lock_path(), sif_path("data").parent)
        yield user


def seconds(launcher: str, run: Run, folder: Path) -> float | str:
    """From the command to the end of a run that is refused inside; or why there is none."""
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    start = time.perf_counter()
    told = run(
        *("patch", "--composite", str(empty), "--labels", str(empty), "--patches", f"{folder}/out/p"),
        GEODUCT_LAUNCHER=launcher,
    )
    taken = time.perf_counter() - start
    return taken if REFUSAL in told.stderr else (told.stderr.strip().splitlines() or ["it said nothing"])[-1]


def main() -> None:
    """Print a table of medians, and what each adds to the host's."""
    times: dict[str, list[float]] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch, user_of_services() as user:
        places: dict[str, tuple[Run, Path]] = dict.fromkeys(LAUNCHERS, (as_ourselves, Path(scratch)))
        if user is not None:
            places["slurm"] = (partial(user.run, "geoduct"), user.project)
        for number in range(ROUNDS + 1):  # the first round warms the caches and finds out what runs here
            for launcher in (name for name in LAUNCHERS if name not in missing):
                found = seconds(launcher, *places[launcher])
                if isinstance(found, str):
                    missing[launcher] = found
                elif number:
                    times.setdefault(launcher, []).append(found)
    print(f"{'start to the first line of work':<36}{'median s':>10}{'above host s':>14}")
    host = statistics.median(times["host"])
    for launcher, taken in times.items():
        median = statistics.median(taken)
        print(f"{launcher:<36}{median:>10.2f}{median - host:>14.2f}")
    for launcher, why in missing.items():
        print(f"{launcher:<36}not measured: {why}")


if __name__ == "__main__":
    main()
