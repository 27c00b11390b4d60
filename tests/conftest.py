"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does it, before torch is imported

# The same examples each time, however slow the machine is.
settings.register_profile("geoduct", deadline=None, derandomize=True)
settings.load_profile("geoduct")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real sample data: `$GEODUCT_SAMPLES`, `samples/` or `../shared/data`; without it the test skips."""
    places = [os.environ.get("GEODUCT_SAMPLES", ""), ROOT / "samples", ROOT.parent / "shared" / "data"]
    for place in filter(None, places):
        if (Path(place) / "scenes" / "catalog.json").is_file():
            return Path(place).resolve()
    pytest.skip("the real sample data are not here: set GEODUCT_SAMPLES to their folder")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium with a profile of its own; without it the test skips."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options, Service(driver))
    yield opened
    opened.quit()
