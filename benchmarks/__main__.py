"""`make bench`: every measurement in turn. Each module also runs alone: `python -m benchmarks.<name>`."""

from __future__ import annotations

import subprocess
import sys

NAMES = ("startup", "launchers", "reader", "finetune", "predict", "memory", "wire", "tile", "dvc")


def main() -> None:
    """Run each benchmark as a process of its own, so that none inherits another's memory or threads."""
    for name in NAMES:
        print(f"\n== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
