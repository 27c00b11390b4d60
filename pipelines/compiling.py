"""Compiling: pipelines as Kubeflow's intermediate representation, with images by digest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp import compiler

from components.errors import GeoductError
from components.launch.images import Image, lock_path, read_lock
from pipelines.cluster import Cluster
from pipelines.graph import Pipeline, graph


def images() -> dict[str, Image]:
    """The images of the lock that holds here.

    Raises:
        GeoductError: there is no lock, or it lacks one.
    """
    found = read_lock(lock_path())
    if missing := {"data", "learn"} - found.keys():
        raise GeoductError(f"{lock_path()} has no image {sorted(missing)[0]!r}: make it (make images)")
    return found


def compile_pipeline(pipeline: Pipeline, values: Mapping[str, Any], cluster: Cluster, folder: Path) -> Path:
    """Write `<folder>/<pipeline>.yaml`, the values being defaults of its parameters, and return its path.

    Raises:
        GeoductError: there is no lock of images, or the folder cannot be written.
    """
    made = graph(pipeline, images(), cluster, values)
    file = folder / f"{pipeline.name}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        compiler.Compiler().compile(made, str(file))
    except OSError as error:
        raise GeoductError(f"{file} cannot be written: {error.strerror}") from None
    return file
