"""One small archive, simulated once through the component itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.artifacts.archive import Archive
from components.simulate import simulate


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Six dates of 400 x 400 pixels, a size that is no multiple of 60 m."""
    path: Path = tmp_path_factory.mktemp("simulate") / "archive"
    simulate(archive=path, size=400, dates=6, seed=0)
    return Archive.open(path)
