"""acquire and composite against the truth of a simulated archive: clouds, shadows, mixed baselines, a swath edge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scipy.ndimage import distance_transform_edt

from components.acquire import acquire
from components.artifacts.archive import Archive
from components.artifacts.composite import Composite
from components.artifacts.scenecube import SceneCube
from components.composite import composite
from components.simulate import simulate
from components.simulate.spectra import NOISE_LIMIT

NOISE = round(NOISE_LIMIT * 10_000) + 1
"""No pixel's noise is more, in DN."""
BANDS = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B11": 20, "B01": 60}  # metres
DILATION = 3


@dataclass
class Known:
    """An archive read by acquire, and what is true of it: `truth` and `clear` are (time, band, y, x).

    A pixel of 60 m sees a cloud anywhere in it, so each band is clear in its own way.
    """

    scenes: SceneCube
    pixels: np.ndarray
    truth: np.ndarray
    clear: np.ndarray
    used: np.ndarray
    """Looks that the scene classification, grown by the dilation, leaves."""


def wholly(clear: np.ndarray, step: int) -> np.ndarray:
    """Where all of the `step` x `step` pixels that make one of a coarser band are clear."""
    height, width = clear.shape
    squares = clear.reshape(height // step, step, width // step, step).all(axis=(1, 3))
    return np.kron(squares, np.ones((step, step), bool))


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    folder = tmp_path_factory.mktemp("known")
    simulate(archive=folder / "archive", size=384, dates=6, seed=3)
    acquire(catalog=folder / "archive", scenes=folder / "scenes", bands=list(BANDS))
    archive, scenes = Archive.open(folder / "archive"), SceneCube.open(folder / "scenes")
    truth, clear = [], []
    for item in scenes.items:
        with rasterio.open(archive.truth_of(item["id"])) as file:
            truth.append(file.read([file.descriptions.index(band) + 1 for band in BANDS]))
        with rasterio.open(archive.clear_of(item["id"])) as file:
            clear.append([wholly(file.read(1) == 1, metres // 10) for metres in BANDS.values()])
    pixels, scl = np.asarray(scenes.array("reflectance")[...]), np.asarray(scenes.array("scl")[...])
    far = [distance_transform_edt(~np.isin(flags, [3, 8, 9, 10])) > DILATION for flags in scl]
    used = np.array(far) & ~np.isin(scl, [0, 1]) & pixels.all(axis=1)
    return Known(scenes, pixels, np.array(truth).astype(float), np.array(clear), used)


def test_mixed_baselines_agree_with_the_truth(known: Known) -> None:
    assert {item["offset"] for item in known.scenes.items} == {0, -1000}
    compared = 0
    for pixels, truth, clear in zip(known.pixels, known.truth, known.clear, strict=True):
        error = np.abs(pixels - truth)[clear]
        compared += error.size
        assert error.max(initial=0) <= NOISE
    assert compared > 1_000_000


def test_what_the_mask_leaves_is_truly_clear(known: Known) -> None:
    assert (known.clear[:, 0] & known.used).sum() / known.used.sum() > 0.999


def test_median_is_within_sensor_noise_of_the_truth_wherever_one_look_is_clear(known: Known, tmp_path: Path) -> None:
    composite(scenes=known.scenes, composite=tmp_path / "c", dilation=DILATION)
    found = Composite.open(tmp_path / "c")
    image, counts = np.asarray(found.array("reflectance")[...]), np.asarray(found.array("observations")[...])
    assert (counts == known.used.sum(axis=0)).all()
    seen = counts > 0
    assert seen.mean() > 0.9
    assert (image[:, ~seen] == 0).all()
    # a median moves no further than the values it is taken of, so the bound for one look holds for any number
    looks = np.where(known.used[:, None], known.truth, np.nan)[..., seen]
    error = np.abs(image[:, seen] - np.nanmedian(looks, axis=0))
    sound = (~known.used[:, None] | known.clear).all(axis=0)[:, seen]
    assert sound[:5].mean() > 0.999
    assert error[sound].max() <= NOISE
    assert (error[:5] <= NOISE).mean() > 0.9999


def test_best_is_a_look_that_was_acquired(known: Known, tmp_path: Path) -> None:
    composite(scenes=known.scenes, composite=tmp_path / "c", reduction="best", dilation=DILATION)
    image = np.asarray(Composite.open(tmp_path / "c").array("reflectance")[...])
    same = (known.pixels == image).all(axis=1) & known.used
    assert (same.any(axis=0) == known.used.any(axis=0)).all()
