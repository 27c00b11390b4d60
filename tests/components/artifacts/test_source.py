from __future__ import annotations

from pathlib import Path

import numpy as np

from components.artifacts.base import checksums, tree_digest
from components.artifacts.source import Source
from tests.makers import labelmap


def test_the_digest_of_a_folder_is_of_its_contents(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "x").write_bytes(b"one")
    before = Source(folder).digest
    assert before == tree_digest(checksums(folder))
    (folder / "x").write_bytes(b"two")
    assert Source(folder).digest != before


def test_the_digest_of_an_artifact_is_its_own_and_read_from_the_manifest(tmp_path: Path) -> None:
    made = labelmap(tmp_path / "l", np.ones((8, 8), "uint8"))
    assert Source(made.path).digest == made.digest == tree_digest(checksums(made.path))
    (made.path / "label" / "c" / "0" / "0").unlink()  # a file that the manifest has already counted
    assert Source(made.path).digest == made.digest


def test_the_digest_of_a_url_is_the_url_without_its_secrets() -> None:
    assert Source("https://me:key@example.org/stac?token=1").digest == "https://example.org/stac"
