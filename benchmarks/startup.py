"""How long until something happens: `geoduct --help`, the first line of a data component's work, a `dvc repro` with
nothing to do. Each is timed as a whole process, five times in turn, beside a bare interpreter.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 5
BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[1]

COMMANDS: dict[str, tuple[list[str], float | None]] = {
    "python -c pass": ([sys.executable, "-c", "pass"], None),
    "geoduct --help": ([str(BIN / "geoduct"), "--help"], 0.3),
    "patch: start to a refused input": (
        [str(BIN / "geoduct"), "patch", "--composite", "absent", "--labels", "absent", "--patches", "out"],
        1.5,
    ),
    "dvc repro, nothing to do": ([str(BIN / "dvc"), "repro"], 3.0),
}
"""What is timed, and its bound in seconds."""


def seconds(command: list[str]) -> float:
    """Wall time of one run, its output thrown away."""
    start = time.perf_counter()
    subprocess.run(command, capture_output=True, check=False, cwd=ROOT)
    return time.perf_counter() - start


def main() -> None:
    """Print a table of medians beside their bounds."""
    status = [str(BIN / "dvc"), "status", "--quiet", "dvc.yaml"]  # the stages of hpc/ are for a cluster
    done = subprocess.run(status, cwd=ROOT, capture_output=True).returncode == 0
    commands = {k: v for k, v in COMMANDS.items() if done or "dvc" not in k}
    if not done:
        print("the pipeline is not up to date, so a repro with nothing to do cannot be timed: run `make demo` first")
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, (command, _bound) in commands.items():
            times[name].append(seconds(command))
    print(f"{'start-up':<36}{'median s':>10}{'bound s':>10}")
    for name, (_, bound) in commands.items():
        print(f"{name:<36}{statistics.median(times[name]):>10.2f}{bound if bound else '':>10}")


if __name__ == "__main__":
    main()
