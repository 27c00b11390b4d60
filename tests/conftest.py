"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does it, before torch is imported


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real sample data: `$GEODUCT_SAMPLES`, `samples/` or `../shared/data`; without it the test skips."""
    places = [os.environ.get("GEODUCT_SAMPLES", ""), ROOT / "samples", ROOT.parent / "shared" / "data"]
    for place in filter(None, places):
        if (Path(place) / "scenes" / "catalog.json").is_file():
            return Path(place).resolve()
    pytest.skip("the real sample data are not here: set GEODUCT_SAMPLES to their folder")
