from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import geopandas
import google_crc32c
import numpy as np
import pytest
import shapely

from components.artifacts import LabelMap, PatchSet
from components.artifacts.labelmap import create_labelmap
from components.artifacts.nomenclature import IGNORE
from components.errors import GeoductError
from components.patch import patch
from tests.components.patch.scenes import composite, noise, patchwork
from tests.makers import geobox, labelmap, nomenclature

SMALL: dict[str, Any] = {"size": 16, "stride": 16, "block": 480.0}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A folder with c.zarr, 3 bands of 300 x 340 pixels with a hole, and l.zarr, four classes with a gap."""
    image, label = noise(3, 300, 340), patchwork(300, 340, 4, grain=20)
    image[:, 100:140, 60:90] = 0
    image[1, 10, 10] = 0
    label[200:230, 200:260] = IGNORE
    composite(tmp_path / "c.zarr", image)
    labelmap(tmp_path / "l.zarr", label, 4)
    return tmp_path


def run(folder: Path, name: str = "p.zarr", **parameters: Any) -> PatchSet:
    patch(composite=folder / "c.zarr", labels=folder / "l.zarr", patches=folder / name, **{**SMALL, **parameters})
    return PatchSet.open(folder / name)


def test_patches_are_the_scene_where_the_index_says(scene: Path) -> None:
    patches = run(scene)
    image, label = noise(3, 300, 340), patchwork(300, 340, 4, grain=20)
    image[:, 100:140, 60:90] = 0
    image[1, 10, 10] = 0
    label[200:230, 200:260] = IGNORE
    label[(image == 0).any(axis=0)] = IGNORE  # what has no pixel teaches nothing
    stored_image, stored_label = patches.array("image")[...], patches.array("label")[...]
    for i, row in patches.index.iterrows():
        window = slice(row.row, row.row + 16), slice(row.col, row.col + 16)
        assert (stored_image[i] == image[:, *window]).all()
        assert (stored_label[i] == label[window]).all()
        shares = [float((label[window] == c).mean()) for c in range(4)]
        assert [row[f"fraction_{10 * (c + 1)}"] for c in range(4)] == shares
        assert row.valid_fraction == pytest.approx(sum(shares)) and row.valid_fraction >= 0.75
        assert row.dominant == int(np.argmax(shares))
        assert row.crc32c == google_crc32c.value(stored_image[i].tobytes() + stored_label[i].tobytes())
        x, y = 500_000 + 10 * row.col, 7_100_000 - 10 * row.row
        assert row.geometry.bounds == (x, y - 160, x + 160, y)


def test_no_train_pixel_lies_within_the_buffer_of_a_held_out_patch(scene: Path) -> None:
    for stride, buffer in ((16, None), (8, None), (16, 250.0), (7, 0.0)):
        patches = run(scene, stride=stride, buffer=buffer)
        index, distance = patches.index, 160.0 if buffer is None else buffer
        split = {name: index[index.split == name] for name in ("train", "val", "test")}
        for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
            tree = shapely.STRtree(split[one].geometry)
            assert tree.query_nearest(split[other].geometry, return_distance=True)[1].min() >= distance
            overlaps = geopandas.sjoin(split[one], split[other], predicate="overlaps")
            assert overlaps.empty
        assert patches.split_report["buffer"] == pytest.approx(distance)


def test_patches_stand_in_order_of_split_and_block(scene: Path) -> None:
    index = run(scene).index
    order = index.split.map({"train": 0, "val": 1, "test": 2}) * 10_000 + index.block
    assert order.is_monotonic_increasing
    assert (run(scene).indices("val") == np.flatnonzero(index.split == "val")).all()
    # A block lies in one split only.
    assert (index.groupby("block").split.nunique() == 1).all()


def test_the_report_tells_what_was_reached(scene: Path) -> None:
    patches = run(scene)
    report, index = patches.split_report, patches.index
    shares = index.split.value_counts(normalize=True)
    for name, asked in {"train": 0.7, "val": 0.15, "test": 0.15}.items():
        assert report["asked"][name] == asked
        assert report["reached"][name] == pytest.approx(shares[name])
        assert abs(shares[name] - asked) < 0.05
        for code, classes in report["classes"].items():
            part = index[index.split == name]
            expected = part[f"fraction_{code}"].sum() / part.valid_fraction.sum()
            assert classes[name] == pytest.approx(expected)
    assert report["within_five_points"]
    valid = report["windows"] * (1 - report["invalid"])
    assert 1 - len(index) / valid == pytest.approx(report["discarded"])


def test_statistics_are_of_the_train_patches_without_nodata(scene: Path) -> None:
    patches = run(scene)
    train = patches.array("image")[...][patches.indices("train")]
    for i, band in enumerate(patches.bands):
        values = train[:, i][train[:, i] > 0].astype("float64")
        found = patches.statistics[band]
        expected = [values.mean(), values.std(), values.min(), values.max()]
        assert [found[k] for k in ("mean", "std", "min", "max")] == pytest.approx(expected)
        expected = list(np.percentile(values, [1, 2, 50, 98, 99]))
        assert [found[k] for k in ("p01", "p02", "p50", "p98", "p99")] == pytest.approx(expected)


def test_the_same_request_gives_the_same_bytes(scene: Path) -> None:
    first, again = run(scene, workers=1), run(scene, "again.zarr", workers=3)
    assert first.digest == again.digest
    assert first.digest != run(scene, "other.zarr", seed=5).digest
    again.verify()


def test_a_flipped_bit_is_found_and_its_patch_named(scene: Path) -> None:
    run(scene)
    shard = next(p for p in sorted((scene / "p.zarr" / "image" / "c").rglob("*")) if p.is_file())
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(GeoductError, match=r"p\.zarr is damaged: patch 'r\d{5}_c\d{5}' \(number \d+\)"):
        PatchSet.open(scene / "p.zarr").verify()


def test_a_patch_changed_behind_its_checksum_is_named(scene: Path) -> None:
    patches = run(scene)
    import zarr

    image = zarr.open_group(scene / "p.zarr", mode="r+")["image"]
    image[5, 0, 0, 0] = int(image[5, 0, 0, 0]) ^ 1
    with pytest.raises(GeoductError, match=r"\(number 5\): its checksum is"):
        PatchSet(scene / "p.zarr").verify()
    assert len(patches.index) > 5


def test_a_class_in_no_train_patch_fails_or_is_ignored(tmp_path: Path) -> None:
    # A strip of 20 windows with a class at each end and one in the middle; the buffer of 6 windows leaves room for
    # one run of windows a split, so no split can hold all three.
    label = np.zeros((16, 320), "uint8")
    label[:8, :16], label[:8, 160:176], label[:8, 304:] = 1, 2, 3
    composite(tmp_path / "c.zarr", noise(2, 16, 320))
    labelmap(tmp_path / "l.zarr", label, 4)
    request = {"block": 160.0, "buffer": 960.0, "min_valid": 0.25}
    with pytest.raises(
        GeoductError, match=r"class \d0 'class \d'.* is in 1 of 20 windows, but in no train patch; .*--rare"
    ):
        run(tmp_path, **request)
    assert not (tmp_path / "p.zarr").exists()
    patches = run(tmp_path, **request, rare="ignore")
    ignored = [patches.nomenclature.codes.index(code) for code in patches.split_report["ignored"]]
    found = set(np.unique(patches.array("label")[...]).tolist())
    assert len(ignored) >= 2 and not found & set(ignored)
    assert patches.index[[f"fraction_{code}" for code in patches.split_report["ignored"]]].to_numpy().sum() == 0
    assert (patches.array("label")[...] == IGNORE).any() == (patches.index.valid_fraction < 1).any()


def test_bad_requests_are_named(scene: Path) -> None:
    with pytest.raises(GeoductError, match=r"--size is 301, but the scene is only 340 x 300 pixels .* at most 300"):
        run(scene, size=301, block=9000.0)
    with pytest.raises(GeoductError, match=r"--split is 0\.7 0\.2 0\.2; expected shares .* sum to 1"):
        run(scene, split=(0.7, 0.2, 0.2))
    with pytest.raises(GeoductError, match=r"--block is 100 m, but a patch of 16 pixels is 160 m wide"):
        run(scene, block=100.0)
    with pytest.raises(GeoductError, match=r"--min-valid is 1\.5; expected a number, at least 0, at most 1"):
        run(scene, min_valid=1.5)


def test_a_scene_too_small_to_split_says_what_would_fit(scene: Path) -> None:
    with pytest.raises(GeoductError) as caught:
        run(scene, size=128, stride=128, block=1280.0)
    words = str(caught.value).split()
    assert "split would be empty" in str(caught.value)
    values = {flag: words[words.index(flag) + 1] for flag in ("--size", "--stride", "--block")}
    # The advice is sound: taking it works.
    patches = run(
        scene, size=int(values["--size"]), stride=int(values["--stride"]), block=float(values["--block"]), rare="ignore"
    )
    assert set(patches.index.split) == {"train", "val", "test"}


def test_shares_that_cannot_be_reached_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    composite(tmp_path / "c.zarr", noise(1, 64, 64))
    labelmap(tmp_path / "l.zarr", patchwork(64, 64, 2, grain=4), 2)
    patches = run(tmp_path, block=160.0, buffer=0.0, split=(0.7, 0.01, 0.29))
    assert not patches.split_report["within_five_points"]
    assert "warning: the shares are" in capsys.readouterr().err


def test_nothing_valid_is_told(tmp_path: Path) -> None:
    composite(tmp_path / "c.zarr", np.zeros((2, 64, 64)))
    labelmap(tmp_path / "l.zarr", patchwork(64, 64, 2), 2)
    with pytest.raises(GeoductError, match=r"no window of 16 x 16 pixels is valid .* 75% .* the best has 0\.0%"):
        run(tmp_path)
    shutil.rmtree(tmp_path / "c.zarr")
    composite(tmp_path / "c.zarr", noise(2, 64, 64))
    shutil.rmtree(tmp_path / "l.zarr")
    labelmap(tmp_path / "l.zarr", np.full((64, 64), IGNORE, "uint8"), 2)
    with pytest.raises(GeoductError, match="no window of 16 x 16 pixels is valid"):
        run(tmp_path, min_valid=0.0)


def test_labels_of_another_grid_are_refused(tmp_path: Path) -> None:
    composite(tmp_path / "c.zarr", noise(1, 64, 64))
    create_labelmap(tmp_path / "l.zarr", geobox(64, 64, 20.0), nomenclature(2))
    LabelMap(tmp_path / "l.zarr").seal({})
    with pytest.raises(GeoductError, match=r"l\.zarr is on another grid than .*c\.zarr: 64 x 64 pixels of 20 from"):
        run(tmp_path)


def test_a_label_without_a_class_is_refused(tmp_path: Path) -> None:
    composite(tmp_path / "c.zarr", noise(1, 64, 64))
    labelmap(tmp_path / "l.zarr", np.full((64, 64), 7, "uint8"), 2)
    with pytest.raises(GeoductError, match="the labels hold class index 7, but their nomenclature has 2 classes"):
        run(tmp_path)


def test_windows_that_straddle_tiles_and_regions_are_whole(tmp_path: Path) -> None:
    # 1100 pixels cross the reader's tiles and the regions of the first pass; the image tells each pixel's place.
    place = np.arange(1100) + 1
    image = np.stack([np.tile(place[:, None], (1, 1100)), np.tile(place[None], (1100, 1))])
    composite(tmp_path / "c.zarr", image)
    labelmap(tmp_path / "l.zarr", patchwork(1100, 1100, 3), 3)
    patches = run(tmp_path, size=50, stride=70, block=1000.0)
    stored, index = patches.array("image")[...], patches.index
    assert len(index) > 100
    assert (stored[:, 0, :, 0] == index.row.to_numpy()[:, None] + 1 + np.arange(50)).all()
    assert (stored[:, 1, 0, :] == index.col.to_numpy()[:, None] + 1 + np.arange(50)).all()
    fractions = np.stack([(patches.array("label")[...] == c).mean(axis=(1, 2)) for c in range(3)], axis=1)
    assert (index[["fraction_10", "fraction_20", "fraction_30"]].to_numpy() == fractions).all()


def test_the_index_opens_in_geopandas(scene: Path) -> None:
    run(scene)
    index = geopandas.read_parquet(scene / "p.zarr" / "index.parquet")
    assert index.crs.to_epsg() == 32627
    assert index.id.is_unique
