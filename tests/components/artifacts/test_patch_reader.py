from __future__ import annotations

import json
import math
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import zarr
import zarr.codecs
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts import shards
from components.artifacts.patch_order import batch_bounds, shuffled_order
from components.artifacts.patch_reader import PatchArray, PatchReader
from components.artifacts.shards import Shards
from components.artifacts.zarrs import codecs_of, create_array, create_group
from components.errors import GeoductError


def write(
    path: Path,
    shape: tuple[int, ...] = (10, 3, 16, 16),
    shard: int = 4,
    dtype: str = "uint16",
    fill: float = 0,
    holes: tuple[int, ...] = (),
    **kwargs: Any,
) -> np.ndarray:
    """A sharded array written by zarr-python; `holes` are patches never written. Returns what zarr-python reads."""
    array = zarr.create_array(
        path,
        shape=shape,
        dtype=dtype,
        fill_value=fill,
        chunks=(1, *shape[1:]),
        shards=(shard, *shape[1:]),
        **{"compressors": codecs_of(np.dtype(dtype)), **kwargs},
    )
    values = np.random.default_rng(7).integers(1, 200, shape).astype(dtype)
    for patch in range(shape[0]):
        if patch not in holes:
            array[patch] = values[patch]
    return np.asarray(array[...])


def chunk_file(array: Path, shard: int) -> Path:
    return next(p for p in (array / "c" / str(shard)).rglob("*") if p.is_file())


@pytest.fixture(params=[0, shards.SMALL_SHARD], ids=["chunk by chunk", "shard whole"])
def reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as large shards are read, once as small ones are."""
    monkeypatch.setattr(shards, "SMALL_SHARD", request.param)


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize(
    ("shape", "shard", "dtype"),
    [
        ((10, 3, 16, 16), 4, "uint16"),  # last shard half full
        ((8, 3, 16, 16), 4, "uint16"),
        ((1, 1, 8, 8), 1, "uint16"),
        ((3, 2, 5, 7), 8, "uint16"),  # one shard, larger than the array; odd sizes
        ((9, 16, 16), 4, "uint8"),
        ((5, 40), 2, "float32"),
    ],
)
def test_every_patch_equals_zarr_python(tmp_path: Path, shape: tuple[int, ...], shard: int, dtype: str) -> None:
    truth = write(tmp_path / "a", shape, shard, dtype)
    array = PatchArray(tmp_path / "a")
    assert len(array) == shape[0] and array.dtype == truth.dtype
    for patch in range(shape[0]):
        np.testing.assert_array_equal(array.read(patch), truth[patch])
    order = np.random.default_rng(1).permutation(shape[0])
    out = np.empty((len(order), *shape[1:]), dtype)
    array.read_into(order, out)
    np.testing.assert_array_equal(out, truth[order])


@pytest.mark.parametrize(
    "keys", [{"name": "default", "separator": "."}, {"name": "v2", "separator": "."}, {"name": "v2", "separator": "/"}]
)
def test_other_names_of_shards(tmp_path: Path, keys: Any) -> None:
    truth = write(tmp_path / "a", chunk_key_encoding=keys)
    np.testing.assert_array_equal([PatchArray(tmp_path / "a").read(i) for i in range(10)], truth)


@pytest.mark.usefixtures("reading")
def test_patches_never_written_are_the_fill_value(tmp_path: Path) -> None:
    truth = write(tmp_path / "a", holes=(1, 4, 5, 6, 7), dtype="uint8", fill=255)
    assert not (tmp_path / "a" / "c" / "1").exists()  # a whole shard is missing
    array = PatchArray(tmp_path / "a")
    np.testing.assert_array_equal([array.read(i) for i in range(10)], truth)
    assert (truth[5] == 255).all()


def test_out_is_checked(tmp_path: Path) -> None:
    write(tmp_path / "a")
    array = PatchArray(tmp_path / "a")
    with pytest.raises(IndexError, match=r"patch 10 of .* does not exist, expected 0 to 9"):
        array.read(10)
    with pytest.raises(IndexError):
        array.read(-1)
    for several in ([0, 10], [-1, 3]):
        with pytest.raises(IndexError, match=r"patch (10|-1) of .* does not exist"):
            array.read_into(np.array(several), np.empty((2, 3, 16, 16), "uint16"))
    for wrong in (
        np.empty((3, 16, 16), "int16"),
        np.empty((3, 16, 8), "uint16"),
        np.empty((3, 16, 32), "uint16")[..., ::2],
    ):
        with pytest.raises(ValueError, match="expected contiguous uint16"):
            array.read(0, wrong)


def sealed(data: bytes | bytearray) -> bytes:
    """Data and its checksum, as a chunk and an index end in it."""
    return bytes(data) + google_crc32c.value(bytes(data)).to_bytes(4, "little")


def flip(file: Path, position: int) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= 0x10
    file.write_bytes(bytes(data))


@pytest.mark.usefixtures("reading")
def test_a_flipped_bit_anywhere_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a", shape=(4, 2, 6, 6), shard=2)
    file = chunk_file(tmp_path / "a", 1)
    good = file.read_bytes()
    for position in range(len(good)):
        flip(file, position)
        array = PatchArray(tmp_path / "a")
        with pytest.raises(
            GeoductError, match=r"(patch [23] of .*a \(shard c/1/0/0/0\)|shard c/1/0/0/0 of .*a) is corrupt"
        ):
            for patch in (2, 3):
                array.read(patch)
        array.read(0)
        file.write_bytes(good)


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize(
    ("position", "reason"),
    [(4, "its Blosc header"), (7, "its Blosc header"), (12, "its Blosc header"), (0, "Blosc cannot decode it")],
)
def test_a_wrong_blosc_header_under_a_right_checksum_is_named(tmp_path: Path, position: int, reason: str) -> None:
    write(tmp_path / "a", (4, 3, 16, 16))
    target = Shards(zarr.open_array(tmp_path / "a", mode="r+"))
    chunk = bytearray(target.encode(np.arange(768, dtype="uint16").reshape(1, 3, 16, 16)) or b"")
    chunk[position] ^= 0x10
    target.write((0, 0, 0, 0), {(2, 0, 0, 0): sealed(chunk[:-4])})
    with pytest.raises(GeoductError, match=rf"patch 2 of .*a \(shard c/0/0/0/0\) is corrupt: {reason}"):
        PatchArray(tmp_path / "a").read(2)


@pytest.mark.usefixtures("reading")
def test_a_chunk_shorter_than_a_blosc_header_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a")
    Shards(zarr.open_array(tmp_path / "a", mode="r+")).write((0, 0, 0, 0), {(1, 0, 0, 0): sealed(b"abc")})
    with pytest.raises(GeoductError, match=r"patch 1 of .* is corrupt: 3 bytes are too few for a Blosc header"):
        PatchArray(tmp_path / "a").read(1)


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("keep", [0, 10, 200, -1])
def test_a_truncated_shard_is_named(tmp_path: Path, keep: int) -> None:
    write(tmp_path / "a")
    file = chunk_file(tmp_path / "a", 2)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(GeoductError, match=r"shard c/2/0/0/0 of .* is (corrupt or )?truncated"):
        PatchArray(tmp_path / "a").read(9)


def test_a_shard_cut_under_an_open_reader_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SMALL_SHARD", 0)
    write(tmp_path / "a")
    array = PatchArray(tmp_path / "a")
    array.read(0)
    os.truncate(chunk_file(tmp_path / "a", 0), 100)
    with pytest.raises(GeoductError, match=r"patch 3 of .* is corrupt: the shard ends \d+ bytes before the chunk does"):
        array.read(3)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files through /proc")
def test_small_shards_are_read_once_and_closed(tmp_path: Path) -> None:
    truth = write(tmp_path / "a")
    array = PatchArray(tmp_path / "a")
    array.read(0)
    assert not [f for f in Path("/proc/self/fd").iterdir() if os.path.realpath(f).startswith(f"{tmp_path.resolve()}/")]
    chunk_file(tmp_path / "a", 0).unlink()
    np.testing.assert_array_equal(array.read(3), truth[3])


@pytest.mark.usefixtures("reading")
def test_an_index_that_points_outside_the_shard_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a")
    file = chunk_file(tmp_path / "a", 0)
    data = bytearray(file.read_bytes())
    data[-4 - 8 - 3] ^= 0x10  # in the length of the last chunk
    file.write_bytes(bytes(data[: -4 - 64]) + sealed(data[-4 - 64 : -4]))
    with pytest.raises(GeoductError, match=r"shard c/0/0/0/0 of .* its index points to byte \d+"):
        PatchArray(tmp_path / "a").read(0)


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"compressors": [zarr.codecs.GzipCodec()]}, r"gzip.*expected bytes.* → blosc.* → crc32c"),
        ({"compressors": None}, r"expected bytes.* → blosc"),
        ({"compressors": [zarr.codecs.BloscCodec()]}, r"blosc; expected .*blosc → crc32c"),  # no checksum
        ({"compressors": [zarr.codecs.Crc32cCodec(), zarr.codecs.BloscCodec()]}, r"crc32c\(\) → blosc; expected"),
        ({"filters": [zarr.codecs.TransposeCodec(order=(0, 1, 3, 2))]}, "transpose"),
        ({"serializer": zarr.codecs.BytesCodec(endian="big")}, "big"),
    ],
)
def test_another_codec_chain_is_refused_by_name(tmp_path: Path, kwargs: dict[str, Any], sentence: str) -> None:
    write(tmp_path / "image", **kwargs)
    with pytest.raises(GeoductError, match=rf"image is not read directly: codecs .*{sentence}"):
        PatchArray(tmp_path / "image")


@pytest.mark.parametrize(
    "settings",
    [
        {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "typesize": 2},
        {"cname": "lz4hc", "clevel": 1, "shuffle": "shuffle", "typesize": 2},
        {"cname": "zstd", "clevel": 3, "shuffle": "noshuffle", "typesize": 1, "blocksize": 512},
    ],
)
def test_whatever_blosc_was_told_to_do_is_read(tmp_path: Path, settings: dict[str, Any]) -> None:
    compressors = [zarr.codecs.BloscCodec(**settings), zarr.codecs.Crc32cCodec()]
    truth = write(tmp_path / "image", compressors=compressors)
    array = PatchArray(tmp_path / "image")
    np.testing.assert_array_equal([array.read(patch) for patch in range(len(array))], truth)


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"index_location": "start"}, "index location start; expected end"),
        ({"index_codecs": [zarr.codecs.BytesCodec()]}, r"index codecs bytes.*; expected bytes.* → crc32c"),
    ],
)
def test_another_index_is_refused_by_name(tmp_path: Path, kwargs: dict[str, Any], sentence: str) -> None:
    codecs = [zarr.codecs.BytesCodec(), *codecs_of(np.dtype("uint8"))]
    sharding = zarr.codecs.ShardingCodec(chunk_shape=(1, 8), codecs=codecs, **kwargs)
    zarr.create(store=tmp_path / "a", shape=(4, 8), chunks=(4, 8), dtype="uint8", zarr_format=3, codecs=[sharding])
    with pytest.raises(GeoductError, match=rf"a is not read directly: {sentence}"):
        PatchArray(tmp_path / "a")


def test_another_layout_is_refused(tmp_path: Path) -> None:
    house = codecs_of(np.dtype("uint8"))
    zarr.create_array(tmp_path / "flat", shape=(4, 8), chunks=(1, 8), dtype="uint8")
    zarr.create_array(tmp_path / "pair", shape=(4, 8), chunks=(2, 8), shards=(4, 8), dtype="uint8", compressors=house)
    with pytest.raises(GeoductError, match="expected sharding_indexed"):
        PatchArray(tmp_path / "flat")
    with pytest.raises(GeoductError, match=r"chunk and shard shape .*expected one patch a chunk"):
        PatchArray(tmp_path / "pair")
    with pytest.raises(GeoductError, match="none does not open as a Zarr v3 array"):
        PatchArray(tmp_path / "none")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files through /proc")
def test_threads_and_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAX_OPEN_SHARDS", 2)
    monkeypatch.setattr(shards, "SMALL_SHARD", 0)
    truth = write(tmp_path / "a", shape=(40, 3, 16, 16), shard=2)

    def open_files() -> int:
        links = (os.path.realpath(file) for file in Path("/proc/self/fd").iterdir())  # others come and go meanwhile
        return sum(link.startswith(f"{tmp_path.resolve()}/") for link in links)

    def read(array: PatchArray, seed: int) -> bool:
        order = np.random.default_rng(seed).permutation(40)
        out = np.empty((40, 3, 16, 16), "uint16")
        array.read_into(order, out)
        return bool((out == truth[order]).all())

    def open_files_after(array: PatchArray) -> int:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(read, [array] * 16, range(16)))
        return open_files()

    assert 1 <= open_files_after(PatchArray(tmp_path / "a")) <= 2
    assert open_files() == 0


def test_a_pickled_copy_opens_its_own_files(tmp_path: Path) -> None:
    truth = write(tmp_path / "a")
    array = PatchArray(tmp_path / "a")
    array.read(0)
    copy = pickle.loads(pickle.dumps(array))
    del array
    np.testing.assert_array_equal(copy.read(9), truth[9])


@pytest.mark.usefixtures("reading")
def test_a_forked_process_reads_on(tmp_path: Path) -> None:
    truth = write(tmp_path / "a")
    array = PatchArray(tmp_path / "a")
    array.read(0)
    # Not by a pool, whose own threads and locks a fork may inherit held.
    child = os.fork()
    if child == 0:
        same = False
        try:
            same = all(np.array_equal(array.read(patch), truth[patch]) for patch in range(10))
        finally:
            os._exit(0 if same else 1)
    np.testing.assert_array_equal(array.read(1), truth[1])
    assert os.waitpid(child, 0)[1] == 0


def write_set(path: Path, bands: list[str] | None, label: tuple[int, ...] = (6, 8, 8)) -> None:
    zarr.create_group(path, attributes={} if bands is None else {"bands": bands})
    write(path / "image", (6, 2, 8, 8))
    write(path / "label", label, dtype="uint8")


def test_images_and_labels_together(tmp_path: Path) -> None:
    write_set(tmp_path / "set", ["B02", "B08"])
    reader = PatchReader(tmp_path / "set")
    assert len(reader) == 6 and reader.bands == ("B02", "B08") and reader.patches_per_shard == 4
    images, labels = np.empty((2, 2, 8, 8), "uint16"), np.empty((2, 8, 8), "uint8")
    reader.read_into(np.array([5, 1]), images, labels)
    group = zarr.open_group(tmp_path / "set", mode="r")
    np.testing.assert_array_equal(images, group["image"][...][[5, 1]])
    np.testing.assert_array_equal(labels, group["label"][...][[5, 1]])


def test_images_and_labels_that_do_not_go_together(tmp_path: Path) -> None:
    write_set(tmp_path / "short", ["B02", "B08"], label=(5, 8, 8))
    with pytest.raises(GeoductError, match=r"image \(6, 2, 8, 8\) and label \(5, 8, 8\) do not go together"):
        PatchReader(tmp_path / "short")
    write_set(tmp_path / "bands", ["B02"])
    with pytest.raises(GeoductError, match=r"attribute 'bands' is \['B02'\], expected 2 band names"):
        PatchReader(tmp_path / "bands")


def test_the_layout_of_a_patchset_is_read(tmp_path: Path) -> None:
    """What `create_array` writes for a PatchSet is what the reader knows."""
    group = create_group(tmp_path / "set", {"bands": ["B02"]})
    image = create_array(
        group, "image", shape=(5, 1, 8, 8), dtype="uint16", dims="pbyx", chunks=(1, 1, 8, 8), shards=(2, 1, 8, 8)
    )
    label = create_array(
        group, "label", shape=(5, 8, 8), dtype="uint8", dims="pyx", chunks=(1, 8, 8), shards=(2, 8, 8), fill_value=255
    )
    image[...] = np.arange(320).reshape(5, 1, 8, 8)
    label[:2] = 3
    reader = PatchReader(tmp_path / "set")
    np.testing.assert_array_equal(reader.image.read(4), image[4])
    np.testing.assert_array_equal([reader.label.read(1)[0, 0], reader.label.read(4)[0, 0]], [3, 255])
    crc = json.loads((tmp_path / "set/image/zarr.json").read_text())["codecs"][0]["configuration"]["codecs"][-1]["name"]
    assert crc == "crc32c"


subsets = st.sets(st.integers(0, 400), min_size=3, max_size=120).map(sorted).map(np.array)


@given(subsets, st.integers(1, 50), st.integers(0, 5), st.integers(0, 3), st.integers(1, 3), st.integers(0, 4))
def test_every_patch_once_over_all_ranks(
    indices: np.ndarray, shard: int, seed: int, epoch: int, ranks: int, buffer: int
) -> None:
    def order(rank: int) -> np.ndarray:
        return shuffled_order(indices, shard, seed=seed, epoch=epoch, rank=rank, ranks=ranks, buffer_shards=buffer)

    parts = [order(rank) for rank in range(ranks)]
    assert sorted(np.concatenate(parts).tolist()) == indices.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for rank, part in enumerate(parts):
        np.testing.assert_array_equal(part, order(rank))


@given(st.integers(3, 500), st.integers(2, 60), st.integers(1, 3))
def test_even_batches_cover_every_rank(total: int, batch_size: int, ranks: int) -> None:
    bounds = [batch_bounds(total, batch_size, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert len({len(b) for b in bounds}) == 1
    assert sum(b[-1] for b in bounds) == total
    sizes = np.concatenate([np.diff(b) for b in bounds])
    assert sizes.min() >= 1 and sizes.max() <= batch_size and sizes.max() - sizes.min() <= 1 + (ranks > 1)
    assert len(bounds[0]) - 1 == math.ceil(math.ceil(total / ranks) / batch_size)  # no more batches than needed


def test_drop_last_gives_whole_batches_only() -> None:
    assert batch_bounds(103, 10, rank=1, ranks=2, drop_last=True).tolist() == [0, 10, 20, 30, 40, 50]
    with pytest.raises(GeoductError, match="batch_size 60 is larger than the 51 patches of a rank"):
        batch_bounds(103, 60, ranks=2, drop_last=True)
    with pytest.raises(GeoductError, match="batch_size 1 cannot share 103 patches among 2 ranks"):
        batch_bounds(103, 1, ranks=2)
    with pytest.raises(GeoductError, match="2 patches cannot be shared among 3 ranks"):
        batch_bounds(2, 1, ranks=3)
    with pytest.raises(GeoductError, match="rank 3 of 3 does not exist"):
        batch_bounds(9, 1, rank=3, ranks=3)


def test_orders_differ_between_seeds_and_epochs() -> None:
    indices = np.arange(1000)
    orders = [shuffled_order(indices, 50, seed=s, epoch=e) for s in (0, 1) for e in (0, 1)]
    assert all(not np.array_equal(a, b) for i, a in enumerate(orders) for b in orders[:i])


def test_the_order_stays_within_a_window_of_shards_and_mixes_them() -> None:
    order = shuffled_order(np.arange(20_000), 100, seed=3, epoch=0, buffer_shards=8)
    shards = order // 100
    first, last = np.full(200, -1), np.full(200, -1)
    for position, shard in enumerate(shards):
        first[shard] = position if first[shard] < 0 else first[shard]
        last[shard] = position
    assert (last - first).max() <= (8 + 2) * 100  # a shard is touched within its window only
    mixed = [len(set(shards[i : i + 64])) for i in range(1000, 19_000, 64)]
    assert np.mean(mixed) > 7  # and a batch draws from all shards of the window
    assert np.corrcoef(np.arange(200), first)[0, 1] < 0.3  # whose sequence is itself shuffled
