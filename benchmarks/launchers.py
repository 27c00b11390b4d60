"""How much later a component begins its work in a container: from the command to the component's first refusal, under
each launcher that runs here, in turn, beside the host.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from components.launch import LAUNCHERS

ROUNDS = 5
GEODUCT = Path(sys.executable).parent / "geoduct"
REFUSAL = "is no finished Composite"


def seconds(launcher: str, folder: Path) -> float | str:
    """From the command to the end of a run that is refused inside; or why there is none."""
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    words = [str(GEODUCT), "patch", "--composite", str(empty), "--labels", str(empty), "--patches", f"{folder}/out/p"]
    start = time.perf_counter()
    told = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, "GEODUCT_LAUNCHER": launcher}
    )
    taken = time.perf_counter() - start
    return taken if REFUSAL in told.stderr else (told.stderr.strip().splitlines() or ["it said nothing"])[-1]


def main() -> None:
    """Print a table of medians, and what each adds to the host's."""
    times: dict[str, list[float]] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS + 1):  # the first round warms the caches and finds out what runs here
            for launcher in (name for name in LAUNCHERS if name not in missing):
                found = seconds(launcher, Path(folder))
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
