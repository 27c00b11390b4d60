"""composite from end to end: streamed, it equals the whole array reduced at once, and the truth where it is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from components.acquire import acquire
from components.artifacts.composite import Composite
from components.artifacts.scenecube import SceneCube, create_scenecube
from components.composite import composite
from components.composite.clear import unclear
from components.composite.reduce import best, median
from components.errors import GeoductError
from tests.makers import geobox

MASKED = [0, 1, 3, 8, 9, 10]


def cube(path: Path, pixels: np.ndarray, flags: np.ndarray, mask: str = "scl") -> SceneCube:
    """A sealed SceneCube of `pixels` (time, band, y, x) and `flags` (time, y, x)."""
    items = [{"id": f"item{n}", "datetime": f"2021-06-{n + 1:02d}T12:00:00Z"} for n in range(len(pixels))]
    bands = ["B02", "B03", "B04"][: pixels.shape[1]]
    reflectance, scl = create_scenecube(path, geobox(*pixels.shape[2:]), bands, items, mask)
    reflectance[...], scl[...] = pixels, flags
    SceneCube(path).seal({})
    return SceneCube.open(path)


def run(scenes: SceneCube, path: Path, **parameters: object) -> Composite:
    composite(scenes=scenes, composite=path, **parameters)
    return Composite.open(path)


def clouded(shape: tuple[int, int, int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random pixels under specks of cloud and shadow, with nodata in one band here and there."""
    random = np.random.default_rng(seed)
    pixels = random.integers(1, 5000, shape).astype("uint16")
    pixels[random.random(shape) < 0.02] = 0
    flags = random.choice([4, 5, 6, 8, 3], (shape[0], *shape[2:]), p=[0.5, 0.28, 0.2, 0.01, 0.01]).astype("uint8")
    return pixels, flags


@pytest.mark.parametrize(("reduction", "plain"), [("median", median), ("best", best)])
def test_result_does_not_depend_on_where_blocks_begin(tmp_path: Path, reduction: str, plain: object) -> None:
    # three chunks across, odd edges; a cloud beside each border must reach over it
    pixels, flags = clouded((4, 3, 300, 530))
    flags[1, 255, 255] = flags[2, 256, 511] = flags[3, 254, 512] = 9
    clear = ~unclear(flags, "scl", MASKED, 3) & pixels.all(axis=1)
    expected = plain(pixels, clear)
    for workers in (1, 3):
        out = run(
            cube(tmp_path / "s", pixels, flags) if workers == 1 else SceneCube.open(tmp_path / "s"),
            tmp_path / f"c{workers}",
            reduction=reduction,
            dilation=3,
            workers=workers,
        )
        assert (np.asarray(out.array("reflectance")[...]) == expected).all()
        assert (np.asarray(out.array("observations")[...]) == clear.sum(axis=0)).all()
    assert Composite.open(tmp_path / "c1").digest == Composite.open(tmp_path / "c3").digest


def test_a_scene_of_several_shards(tmp_path: Path) -> None:
    pixels, flags = clouded((2, 1, 2060, 270))
    flags[:, 2047, 100] = 9
    out = run(cube(tmp_path / "s", pixels, flags), tmp_path / "c", dilation=2)
    clear = ~unclear(flags, "scl", MASKED, 2) & pixels.all(axis=1)
    assert (np.asarray(out.array("reflectance")[...]) == median(pixels, clear)).all()
    assert (np.asarray(out.array("observations")[...]) == clear.sum(axis=0)).all()


def test_bands_and_grid_are_the_scenes_own(tmp_path: Path) -> None:
    pixels, flags = clouded((1, 2, 20, 30))
    scenes = cube(tmp_path / "s", pixels, flags)
    out = run(scenes, tmp_path / "c")
    assert out.bands == scenes.bands
    assert out.geobox == scenes.geobox


def test_every_pixel_cloudy_is_told(tmp_path: Path) -> None:
    pixels = np.full((3, 1, 20, 20), 900, "uint16")
    flags = np.full((3, 20, 20), 9, "uint8")
    with pytest.raises(GeoductError, match=r"every pixel of all 3 scenes of .* the mask rules out 100 %"):
        run(cube(tmp_path / "s", pixels, flags), tmp_path / "c")
    with pytest.raises(GeoductError, match=r"the mask rules out 0 % .*, the rest is nodata"):
        run(cube(tmp_path / "n", pixels * 0, flags * 0 + 4), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_corrupt_chunk_is_told(tmp_path: Path) -> None:
    scenes = cube(tmp_path / "s", *clouded((2, 1, 300, 300)))
    shard = tmp_path / "s" / "reflectance" / "c" / "0" / "0" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.write_bytes(data)
    with pytest.raises(GeoductError, match=r"chunk \(0, 0, 0, 0\) of .*reflectance \(shard c/0/0/0/0\) is corrupt"):
        run(scenes, tmp_path / "c")


def test_slovenia_leaves_its_two_cloudy_dates_out(tmp_path: Path, shared_data: Path) -> None:
    acquire(
        catalog=shared_data / "scenes", scenes=tmp_path / "s", collection="slovenia-l1c", bands=["B04"], resolution=None
    )
    out = run(SceneCube.open(tmp_path / "s"), tmp_path / "c")
    folder = shared_data / "scenes" / "slovenia-l1c"
    clear = []
    for path in sorted(folder.glob("S2A*")):
        with rasterio.open(path / "CLM.tif") as mask, rasterio.open(path / "B04.tif") as band:
            if not mask.read(1).any():
                clear.append(band.read(1))
    assert len(clear) == 3
    assert (np.asarray(out.array("observations")[...]) == 3).all()
    assert (np.asarray(out.array("reflectance")[0]) == np.median(clear, axis=0)).all()
