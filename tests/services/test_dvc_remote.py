"""A DVC remote on S3: what one clone has computed, another fetches and does not compute again."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
import yaml

from components.artifacts import Composite
from tests.pipelines.projects import Project, copy_project
from tests.pipelines.test_repro import TINY

pytestmark = pytest.mark.services


def test_push_then_a_fresh_clone_pulls_and_has_nothing_to_do(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    first = copy_project(tmp_path / "first")
    (first.path / "experiments" / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    first.run("geoduct", "experiment", "tiny")
    first.run("dvc", "repro", "label")
    first.run("dvc", "remote", "add", "--default", "store", f"s3://geoduct/{uuid.uuid4().hex}")
    first.run("dvc", "remote", "modify", "store", "endpointurl", s3["AWS_ENDPOINT_URL"])
    assert "files pushed" in first.run("dvc", "push", "label", "--with-deps")
    first.run("git", "add", "--all")
    first.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "label")

    first.run("git", "clone", "--quiet", str(first.path), str(tmp_path / "second"))
    second = Project(tmp_path / "second")
    second.run("dvc", "pull", "label", "--with-deps")
    composite = "data/tiny/composite.zarr"
    assert Composite.open(second.path / composite).digest == Composite.open(first.path / composite).digest
    Composite.open(second.path / composite).verify()
    output = second.run("dvc", "repro", "label")
    assert "Running stage" not in output
    assert output.count("didn't change, skipping") == 4
