"""A scene in tiles gives what the model says of each pixel, whatever its size, its holes and its column blocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from components.errors import GeoductError
from components.learning.predictor import Predictor
from components.predict.pipeline import Tiling, predict_scene
from tests.components.predict.scenes import model, scene

Pixels = NDArray[np.uint16]
Forward = Callable[[Pixels], NDArray[np.float32]]
Result = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def run(
    pixels: Pixels,
    forward: Forward,
    scratch: Path,
    *,
    classes: int = 3,
    tile: int = 32,
    overlap: float = 0.25,
    width: int = 2048,
    chunk: int = 50,
    batch_size: int = 4,
) -> Result:
    """Classes and confidence of a scene in memory; fails where a pixel is written twice or never."""
    result = np.zeros((2, *pixels.shape[1:]), np.uint8)
    seen = np.zeros(pixels.shape[1:], int)

    def write(y0: int, x0: int, *arrays: NDArray[np.uint8]) -> None:
        window = slice(y0, y0 + arrays[0].shape[0]), slice(x0, x0 + arrays[0].shape[1])
        result[:, *window] = arrays
        seen[window] += 1

    predict_scene(
        lambda rows, columns: pixels[:, rows, columns],
        forward,
        write,
        Tiling.of((pixels.shape[1], pixels.shape[2]), tile, overlap, width),
        bands=len(pixels),
        classes=classes,
        batch_size=batch_size,
        chunk=chunk,
        scratch=scratch,
    )
    assert (seen == 1).all()
    return result[0], result[1]


def by_pixel(pixels: Pixels) -> NDArray[np.float32]:
    """A model that looks at one pixel alone: three logits from its first band."""
    value = pixels[:, 0].astype(np.float32) / 1000
    return np.stack([value, 2 - value, np.full_like(value, 0.5)], axis=1)


def truth(pixels: Pixels) -> NDArray[np.uint8]:
    classes = by_pixel(pixels[None])[0].argmax(axis=0).astype(np.uint8)
    classes[(pixels == 0).any(axis=0)] = 255
    return classes


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (32, 32), (33, 200), (200, 20), (131, 97), (64, 64)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_every_size_maps_as_pixel_by_pixel(shape: tuple[int, int], overlap: float, tmp_path: Path) -> None:
    pixels = scene(*shape)
    classes, confidence = run(pixels, by_pixel, tmp_path, overlap=overlap, width=70)
    np.testing.assert_array_equal(classes, truth(pixels))
    likeliest = np.exp(by_pixel(pixels[None])[0])
    expected = 100 * likeliest.max(axis=0) / likeliest.sum(axis=0)
    assert np.abs(confidence - expected).max() < 0.51


def test_nodata_in_is_nodata_out_and_nothing_else_is(tmp_path: Path) -> None:
    pixels = scene(150, 140)
    pixels[:, 20:100, 30:110] = 0  # whole tiles
    pixels[1, 120, 5] = 0  # one band of one pixel
    pixels[:, :, 139] = 0  # an edge
    classes, confidence = run(pixels, by_pixel, tmp_path, width=80)
    np.testing.assert_array_equal(classes, truth(pixels))
    np.testing.assert_array_equal(confidence == 255, classes == 255)


def test_tiles_without_a_valid_pixel_are_not_predicted(tmp_path: Path) -> None:
    seen = 0

    def counting(pixels: Pixels) -> NDArray[np.float32]:
        nonlocal seen
        seen += int((pixels != 0).any(axis=(1, 2, 3)).sum())
        return by_pixel(pixels)

    pixels = np.zeros((3, 640, 640), np.uint16)
    pixels[:, 600, 600] = 1
    classes, _ = run(pixels, counting, tmp_path, overlap=0, batch_size=1)
    assert seen == 1 and (classes != 255).sum() == 1


def test_a_scene_almost_empty_is_written_whole(tmp_path: Path) -> None:
    pixels = np.zeros((1, 40 * 16, 16), np.uint16)  # more rows of tiles than may wait for a batch
    pixels[:, ::16, 3] = 1500
    classes, _ = run(pixels[:, :, :], by_pixel, tmp_path, tile=16, overlap=0, batch_size=64)
    np.testing.assert_array_equal(classes, truth(pixels))
    pixels[:] = 0
    classes, _ = run(pixels, by_pixel, tmp_path, tile=16, overlap=0, batch_size=64)
    assert (classes == 255).all()


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_the_bits_do_not_depend_on_blocks_or_chunks(overlap: float, tmp_path: Path) -> None:
    predictor = Predictor(model(tmp_path / "m"))
    pixels = scene(130, 170)
    pixels[:, 40:60, 50:90] = 0
    whole = run(pixels, predictor, tmp_path, overlap=overlap)
    for width, chunk in ((32, 256), (70, 33), (100, 7)):
        cut = run(pixels, predictor, tmp_path, overlap=overlap, width=width, chunk=chunk)
        np.testing.assert_array_equal(cut, whole)


@pytest.mark.parametrize("answer", [(0.0, 0.0, 0.0), (0.3, 2.0, -1.0)])
def test_a_constant_model_gives_a_constant_map(answer: tuple[float, ...], tmp_path: Path) -> None:
    def constant(pixels: Pixels) -> NDArray[np.float32]:
        shape = (len(pixels), 3, *pixels.shape[2:])
        return np.broadcast_to(np.array(answer, np.float32)[None, :, None, None], shape).copy()

    for overlap in (0.1, 0.37, 0.7):
        classes, confidence = run(scene(143, 211), constant, tmp_path, overlap=overlap, width=90)
        assert np.unique(classes).tolist() == [int(np.argmax(answer))]
        assert len(np.unique(confidence)) == 1


def test_one_answer_a_tile_is_spread_over_it(tmp_path: Path) -> None:
    def brightest(pixels: Pixels) -> NDArray[np.float32]:
        return pixels.mean(axis=(2, 3)).astype(np.float32)

    pixels = np.ones((3, 64, 96), np.uint16)
    for column in range(3):
        pixels[column, :, 32 * column : 32 * column + 32] = 50
    classes, _ = run(pixels, brightest, tmp_path, overlap=0)
    np.testing.assert_array_equal(classes, np.broadcast_to(np.repeat([0, 1, 2], 32), (64, 96)))


def test_a_scene_of_one_patch_gives_the_predictors_own_answer(tmp_path: Path) -> None:
    predictor = Predictor(model(tmp_path / "m"))
    pixels = scene(32, 32)
    logits = predictor(pixels[None])[0].astype(np.float64)
    likely = np.exp(logits - logits.max(axis=0))
    classes, confidence = run(pixels, predictor, tmp_path)
    np.testing.assert_array_equal(classes, logits.argmax(axis=0))
    assert np.abs(confidence - 100 * likely.max(axis=0) / likely.sum(axis=0)).max() <= 0.502


@pytest.mark.parametrize("where", ["read", "forward", "write"])
def test_an_error_in_any_thread_ends_the_run(where: str, tmp_path: Path) -> None:
    def fail(*_: object) -> NDArray[np.float32]:
        raise GeoductError(where)

    pixels = scene(100, 100)

    def read(rows: slice, columns: slice) -> Pixels:
        return pixels[:, rows, columns]

    with pytest.raises(GeoductError, match=where):
        predict_scene(
            fail if where == "read" else read,
            fail if where == "forward" else by_pixel,
            fail if where == "write" else lambda *_: None,
            Tiling.of((100, 100), 32, 0.25),
            bands=3,
            classes=3,
            batch_size=4,
            chunk=50,
            scratch=tmp_path,
        )
    assert list(tmp_path.iterdir()) == []
