"""Where the batch scripts are, and a user to read them for."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "hpc"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's own scripts, and a user of JURECA who has chosen a project."""
    for name in ("GEODUCT_SITE", "SYSTEMNAME", "SBATCH_ACCOUNT", "GEODUCT_SIF", "GEODUCT_IMAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GEODUCT_HPC", str(FOLDER))
    monkeypatch.setenv("PROJECT", "/p/project1/land")
    monkeypatch.setenv("SCRATCH", "/p/scratch/land")
    monkeypatch.setenv("USER", "doe1")
