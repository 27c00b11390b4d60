"""Shards written and read directly are the same arrays that zarr writes and reads."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from components.artifacts.shards import Shards
from components.artifacts.zarrs import create_array, create_group
from components.errors import GeoductError

SHAPE = (2, 3, 70, 50)


def array(path: Path, dtype: str = "uint16") -> zarr.Array[Any]:
    """Two steps of three bands, chunks of 16 x 16, shards of 32 x 32: none divides the shape."""
    group = create_group(path, {})
    return create_array(group, "a", shape=SHAPE, dtype=dtype, dims="tbyx", chunks=(1, 1, 16, 16), shards=(1, 3, 32, 32))


def values(dtype: str = "uint16") -> np.ndarray[Any, Any]:
    """Random values with holes of nodata as large as a shard."""
    found = np.random.default_rng(0).integers(1, 200, SHAPE).astype(dtype)
    found[0, :, :40, :34] = 0
    return found


def write(target: zarr.Array[Any], pixels: np.ndarray[Any, Any]) -> None:
    write_all(Shards(target), pixels)


def write_all(shards: Shards, pixels: np.ndarray[Any, Any]) -> None:
    for step, row, column in np.ndindex(2, 3, 2):
        chunks: dict[tuple[int, ...], bytes | None] = {}
        for band in range(3):
            plane = pixels[step, band, row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
            chunks |= shards.encode_planes(plane, (0, band))
        shards.write((step, 0, row, column), chunks)


@pytest.mark.parametrize("dtype", ["uint16", "uint8"])
def test_zarr_reads_what_is_written(tmp_path: Path, dtype: str) -> None:
    write(array(tmp_path, dtype), values(dtype))
    found = zarr.open_group(tmp_path, mode="r")["a"]
    assert (np.asarray(found[...]) == values(dtype)).all()
    assert not (tmp_path / "a/c/0/0/0/0").exists()  # all nodata takes no room


@pytest.mark.parametrize("settings", [{}, {"cname": "lz4hc", "clevel": 1, "shuffle": "shuffle"}])
def test_a_chunk_is_the_bytes_that_zarr_writes_with_the_arrays_own_settings(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    plane = np.random.default_rng(0).integers(1, 200, (64, 64)).astype("uint16")
    blosc = zarr.codecs.BloscCodec(**{"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "typesize": 2, **settings})
    codecs = [blosc, zarr.codecs.Crc32cCodec()]
    target = zarr.create_array(
        tmp_path, shape=plane.shape, chunks=plane.shape, shards=plane.shape, dtype="uint16", compressors=codecs
    )
    target[...] = plane
    encoded = Shards(target).encode(plane)
    assert encoded is not None and (tmp_path / "c/0/0").read_bytes().startswith(encoded)


def test_a_thorough_chunk_takes_the_encoding_that_suits_its_pixels(tmp_path: Path) -> None:
    slope = np.linspace(300, 6000, 64)[:, None]
    sharp = (slope + np.random.default_rng(0).normal(0, 30, (1, 1, 64, 64))).astype("uint16")
    held = sharp[..., ::6, ::6].repeat(6, axis=-2).repeat(6, axis=-1)[..., :64, :64]  # 60 m on a grid of 10 m
    group = create_group(tmp_path, {})
    shape = (2, 1, 64, 64)
    target = create_array(group, "a", shape=shape, dtype="uint16", dims="tbyx", chunks=(1, *shape[1:]), shards=shape)
    shards = Shards(target)
    assert shards.encode(sharp, thorough=True) == shards.encode(sharp)
    plain, thorough = shards.encode(held), shards.encode(held, thorough=True)
    assert plain is not None and thorough is not None and len(thorough) < 0.8 * len(plain)
    shards.write((0, 0, 0, 0), {(0, 0, 0, 0): shards.encode(sharp, thorough=True), (1, 0, 0, 0): thorough})
    expected = np.concatenate([sharp, held])
    assert (np.asarray(target[...]) == expected).all()  # zarr goes by the chunk's own header
    assert (Shards(target).read(slice(0, 2), slice(0, 1), slice(0, 64), slice(0, 64)) == expected).all()


@pytest.mark.parametrize(
    "window",
    [
        np.s_[0:2, 0:3, 0:70, 0:50],
        np.s_[1:2, 1:3, 30:35, 31:33],
        np.s_[0:1, 0:1, 69:70, 49:50],
        np.s_[0:2, 2:3, 15:49, 0:50],
    ],
)
def test_windows_are_what_zarr_gives(tmp_path: Path, window: tuple[slice, ...]) -> None:
    target = array(tmp_path)
    target[...] = values()
    assert (Shards(target).read(*window) == values()[window]).all()


def test_damage_is_told(tmp_path: Path) -> None:
    target = array(tmp_path)
    target[...] = values()
    file = tmp_path / "a/c/1/0/0/0"
    whole = file.read_bytes()
    everything = [slice(0, n) for n in SHAPE]
    file.write_bytes(whole[:100] + bytes([whole[100] ^ 255]) + whole[101:])
    with pytest.raises(GeoductError, match=r"chunk \(1, 0, 0, 0\) of .*a \(shard c/1/0/0/0\) is corrupt: its crc32c"):
        Shards(target).read(*everything)
    for length in (len(whole) // 2, 3):
        file.write_bytes(whole[:length])
        with pytest.raises(GeoductError, match=r"shard c/1/0/0/0 of .*a is (corrupt or )?truncated"):
            Shards(target).read(*everything)


def test_a_foreign_encoding_is_refused(tmp_path: Path) -> None:
    foreign = zarr.create_array(tmp_path, shape=(64, 64), chunks=(16, 16), shards=(32, 32), dtype="uint16")
    with pytest.raises(GeoductError, match=r"is not read directly: codecs .*zstd.*; expected .*blosc → crc32c"):
        Shards(foreign)


def test_what_is_written_again_is_read_anew(tmp_path: Path) -> None:
    target = array(tmp_path)
    shards, everything = Shards(target), [slice(0, n) for n in SHAPE]
    assert not shards.read(*everything).any()  # no shard is there yet
    write_all(shards, values())
    assert (shards.read(*everything) == values()).all()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    shards = Shards(array(tmp_path))
    (tmp_path / "a/c/0/0/0").mkdir(parents=True)
    (tmp_path / "a/c/0/0/0/0").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as error:
        shards.write((0, 0, 0, 0), {(0, 0, 0, 0): shards.encode(np.ones((1, 1, 16, 16), "uint16"))})
    assert error.value.errno == errno.ENOSPC
