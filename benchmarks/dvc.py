"""What DVC costs on object storage: pushing and pulling a SceneCube, beside s3fs alone, which copies the same files.

A real S3 server on loopback (`tests/services/s3.sh`, started here unless it runs) holds both. Each round works on a new
prefix and an empty DVC cache, and the two take turns. A push that finds all there tells what DVC takes to start and to
look.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from s3fs import S3FileSystem

from components.artifacts.scenecube import SceneCube

SERVICE = Path(__file__).parents[1] / "tests" / "services" / "s3.sh"
ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "geoduct",
    "AWS_SECRET_ACCESS_KEY": "geoduct-secret",
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{os.environ.get('GEODUCT_S3_PORT', '17480')}",
    "AWS_REGION": "default",
}
ROUNDS = 3
NOTHING = "dvc push of nothing"
SIZE, DATES = 2048, 3


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def dvc(folder: Path, *words: str) -> None:
    """Run DVC in a folder."""
    site = {"DVC_SITE_CACHE_DIR": str(folder / "site"), "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env={**os.environ, **site})


def cube(folder: Path) -> Path:
    """A SceneCube of a simulated archive."""
    archive, scenes = folder / "archive", folder / "scenes.zarr"
    made = ["simulate", "--archive", archive, "--size", SIZE, "--dates", DATES, "--no-truth"]
    read = ["acquire", "--catalog", archive, "--scenes", scenes]
    for words in (made, read):
        subprocess.run([sys.executable, "-m", "components", *map(str, words)], check=True, capture_output=True)
    return scenes


def one_round(scenes: Path, folder: Path) -> dict[str, float]:
    """Seconds of each transfer; what DVC pulls must be what it pushed."""
    prefix = f"geoduct/bench-{uuid.uuid4().hex}"
    project = folder / "project"
    project.mkdir()
    shutil.copytree(scenes, project / "scenes.zarr")
    dvc(project, "init", "--no-scm")
    dvc(project, "remote", "add", "--default", "store", f"s3://{prefix}/dvc")
    dvc(project, "remote", "modify", "store", "endpointurl", ACCOUNT["AWS_ENDPOINT_URL"])
    dvc(project, "add", "scenes.zarr")
    store = S3FileSystem(skip_instance_cache=True)
    found = {"s3fs put": seconds(lambda: store.put(str(scenes), f"{prefix}/plain", recursive=True))}
    found["dvc push"] = seconds(lambda: dvc(project, "push"))
    found[NOTHING] = seconds(lambda: dvc(project, "push"))
    shutil.rmtree(project / "scenes.zarr")
    shutil.rmtree(project / ".dvc" / "cache")
    found["s3fs get"] = seconds(lambda: store.get(f"{prefix}/plain", str(folder / "plain"), recursive=True))
    found["dvc pull"] = seconds(lambda: dvc(project, "pull"))
    SceneCube.open(project / "scenes.zarr").verify()
    store.rm(prefix, recursive=True)
    shutil.rmtree(project)
    shutil.rmtree(folder / "plain")
    return found


def main() -> None:
    """Print a table of medians."""
    running = subprocess.run([SERVICE, "status"], capture_output=True, check=False).returncode == 0
    if not running and subprocess.run([SERVICE, "start"], check=False).returncode:
        print("not measured: the S3 server does not run here")
        return
    os.environ.update(ACCOUNT)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            scenes = cube(folder)
            rounds = [one_round(scenes, folder) for _ in range(ROUNDS)]
            files = [file for file in scenes.rglob("*") if file.is_file()]
            size = sum(file.stat().st_size for file in files) / 1e6
    finally:
        if not running:
            subprocess.run([SERVICE, "stop"], check=True)
    print(f"{f'a SceneCube of {len(files)} files, {size:.0f} MB':<44}{'seconds':>10}{'MB/s':>10}{'of s3fs':>10}")
    medians = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
    for name, taken in medians.items():
        plain = medians["s3fs get" if name in ("s3fs get", "dvc pull") else "s3fs put"]
        speed = "" if name == NOTHING else f"{size / taken:.0f}"
        print(f"{name:<44}{taken:>10.2f}{speed:>10}{taken / plain:>10.2f}")


if __name__ == "__main__":
    main()
