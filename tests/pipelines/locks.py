"""A lock of images that names no real ones, for tests that start no container."""

from __future__ import annotations

from pathlib import Path

from components.launch.images import Image, write_entry

REFERENCES = {
    name: f"registry.test/geoduct/{name}@sha256:{digit * 64}" for name, digit in (("data", "1"), ("learn", "2"))
}


def write_lock(path: Path) -> Path:
    """Write it and return its path."""
    for name, reference in REFERENCES.items():
        write_entry(path, name, Image(reference, "0" * 40, "base", 1))
    return path
