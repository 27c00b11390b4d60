"""Single dates beside patches: which windows are served, what stands in them, and that held-out land never does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.artifacts import PatchSet, SceneCube
from components.artifacts.nomenclature import IGNORE
from components.composite.clear import unclear
from components.errors import GeoductError
from components.learning.loader import PatchLoader
from components.pretrain import looks as module
from components.pretrain.data import Images
from components.pretrain.looks import MARGIN, MASKED, Looks
from tests.components.pretrain.worlds import HEIGHT, STORED, WIDTH, dates, patchset, scenecube
from tests.makers import geobox

ORDER = [STORED.index(band) for band in ("B01", "B02", "B03")]


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    return patchset(tmp_path_factory.mktemp("patches"))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> SceneCube:
    return scenecube(tmp_path_factory.mktemp("scenes") / "cube", *dates())


def truth() -> np.ndarray:
    """(time, band, y, x): what is to be served, worked out over the whole scene at once."""
    pixels, flags = dates()
    chosen = pixels[:, ORDER]
    clear = ~unclear(flags, "scl", MASKED, MARGIN) & chosen.all(axis=1)
    return np.where(clear[:, None], chosen, 0)


def train_land(patches: PatchSet) -> np.ndarray:
    """(y, x): pixels that a train patch covers."""
    land = np.zeros((HEIGHT, WIDTH), bool)
    for _, row in patches.index[patches.index.split == "train"].iterrows():
        land[row["row"] : row["row"] + 32, row["col"] : row["col"] + 32] = True
    return land


def read(reader: Looks, number: int) -> tuple[np.ndarray, np.ndarray]:
    image, label = np.empty((3, 32, 32), "uint16"), np.empty((32, 32), "uint8")
    reader.read(number, image, label)
    return image, label


def images(patches: PatchSet, scenes: SceneCube | None, **changes: Any) -> Images:
    given = {
        "stride": None,
        "min_clear": 0.75,
        "bands": None,
        "batch_size": 8,
        "augment": True,
        "workers": 2,
        "seed": 3,
    }
    return Images(patches, scenes=scenes, **{**given, **changes})


@pytest.mark.parametrize("kept", [0, 10 * 3 * 32 * 32 * 2, module.KEPT_BYTES])
def test_windows_are_the_scenes_where_they_are_clear(
    patches: PatchSet, scenes: SceneCube, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", kept)
    reader, expected = Looks(patches, scenes, stride=None, least=0.75), truth()
    image, label = np.empty((3, 32, 32), "uint16"), np.empty((32, 32), "uint8")
    for _ in range(2):
        for number, (date, row, column) in zip(reader.numbers.tolist(), reader.windows.tolist(), strict=True):
            reader.read(number, image, label)
            assert np.array_equal(image, expected[date, :, row : row + 32, column : column + 32])
            assert (label == IGNORE).all()
    assert any((read(reader, number)[0] == 0).any() for number in reader.numbers.tolist())


def test_each_train_place_on_each_date_that_is_clear_enough(patches: PatchSet, scenes: SceneCube) -> None:
    train = patches.index[patches.index.split == "train"]
    pixels, flags = dates()
    # Whether a window is clear enough is judged by the mask and by its first band.
    clear = ~unclear(flags, "scl", MASKED, MARGIN) & (pixels[:, STORED.index("B01")] != 0)
    for least in (0.5, 0.75, 1.0):
        expected = [
            (date, row, column)
            for date in range(3)
            for row, column in zip(train["row"], train["col"], strict=True)
            if clear[date, row : row + 32, column : column + 32].mean() >= least
        ]
        reader = Looks(patches, scenes, stride=None, least=least)
        assert list(map(tuple, reader.windows.tolist())) == expected
        assert 0 < len(expected) < 2 * len(train)
    assert 1 not in reader.windows[:, 0]
    date, row, column = reader.windows[0]
    assert reader.names[0] == f"day {date} at row {row}, column {column}"


def test_with_a_stride_every_window_that_train_patches_cover_and_no_other(patches: PatchSet, tmp_path: Path) -> None:
    pixels, flags = dates()
    flags[:] = 4
    scenes = scenecube(tmp_path / "cube", pixels[:1].clip(1), flags[:1])
    land = train_land(patches)
    expected = [
        (row, column)
        for row in range(0, HEIGHT - 31, 7)
        for column in range(0, WIDTH - 31, 7)
        if land[row : row + 32, column : column + 32].all()
    ]
    reader = Looks(patches, scenes, stride=7, least=1.0)
    assert list(map(tuple, reader.windows[:, 1:].tolist())) == expected
    assert len(expected) > 5 * len(patches.indices("train"))


def test_patches_keep_their_numbers(patches: PatchSet, scenes: SceneCube) -> None:
    reader = Looks(patches, scenes, stride=None, least=0.75)
    count = len(patches.index)
    assert reader.numbers[0] == count
    assert len(reader) == count + len(reader.numbers)
    for number in (0, count - 1):
        image, label = read(reader, number)
        assert np.array_equal(image, patches.array("image")[number])
        assert np.array_equal(label, patches.array("label")[number])


def test_an_epoch_serves_train_patches_and_windows_once_each_over_all_ranks(
    patches: PatchSet, scenes: SceneCube
) -> None:
    data = images(patches, scenes)
    reader = data.reader
    assert isinstance(reader, Looks)
    expected = sorted([*patches.indices("train").tolist(), *reader.numbers.tolist()])
    assert sorted(n for batch in data.train_dataloader() for n in batch["index"].tolist()) == expected
    seen = [n for batch in data.val_dataloader() for n in batch["index"].tolist()]
    assert seen == patches.indices("val").tolist()
    loaders = [
        PatchLoader(reader, data.numbers["train"], batch_size=8, seed=3, rank=rank, ranks=3) for rank in range(3)
    ]
    for _ in range(2):
        assert sorted(n for loader in loaders for batch in loader for n in batch["index"].tolist()) == expected
    assert data.ids[expected[-1]] == reader.names[-1]


def test_batches_are_on_the_scale_of_the_patches_and_unclear_pixels_at_its_middle(
    patches: PatchSet, scenes: SceneCube
) -> None:
    data, expected = images(patches, scenes, augment=False, bands=("B03", "B01")), truth()
    reader = data.reader
    assert isinstance(reader, Looks)
    scale = [patches.statistics[band] for band in ("B03", "B01")]
    windows = 0
    for batch in data.train_dataloader():
        for number, found in zip(batch["index"].tolist(), batch["image"].numpy(), strict=True):
            if number < len(patches.index):
                pixels = np.asarray(patches.array("image")[number])
            else:
                date, row, column = reader.windows[number - len(patches.index)]
                pixels, windows = expected[date, :, row : row + 32, column : column + 32], windows + 1
            for image, dn, values in zip(found, pixels[[2, 0]], scale, strict=True):
                wanted = np.where(dn == 0, 0, (dn - values["mean"]) / values["std"])
                assert np.allclose(image, wanted, atol=1e-4)
    assert windows == len(reader.windows)


def test_a_pass_resumes_at_the_very_next_batch(patches: PatchSet, scenes: SceneCube) -> None:
    whole = [(b["index"].tolist(), b["image"].numpy().copy()) for b in images(patches, scenes).train_dataloader()]
    loader = images(patches, scenes).train_dataloader()
    passing = iter(loader)
    for _ in range(4):
        next(passing)
    state = loader.state_dict()
    resumed = images(patches, scenes).train_dataloader()
    resumed.load_state_dict(state)
    rest = [(b["index"].tolist(), b["image"].numpy().copy()) for b in resumed]
    assert [numbers for numbers, _ in rest] == [numbers for numbers, _ in whole[4:]]
    assert all(np.array_equal(one, other) for (_, one), (_, other) in zip(rest, whole[4:], strict=True))


def test_a_mask_that_says_nothing(patches: PatchSet, tmp_path: Path) -> None:
    pixels, flags = dates()
    reader = Looks(patches, scenecube(tmp_path / "cube", pixels, flags * 0, mask="none"), stride=None, least=0.75)
    # Only the north of the third date has no data, which its pixels say.
    train = patches.index[patches.index.split == "train"]
    assert np.bincount(reader.windows[:, 0]).tolist() == [len(train), len(train), int((train["row"] >= 32).sum())]


@pytest.mark.parametrize(
    ("shift", "words"), [((0, 32), "is on another grid than"), ((5, 0), "its upper left corner is at")]
)
def test_scenes_of_another_grid(patches: PatchSet, tmp_path: Path, shift: tuple[int, int], words: str) -> None:
    grid = geobox(HEIGHT, WIDTH).translate_pix(*shift)
    with pytest.raises(GeoductError, match=words):
        Looks(patches, scenecube(tmp_path / "cube", *dates(), grid=grid), stride=None, least=0.75)


def test_scenes_that_do_not_serve(patches: PatchSet, scenes: SceneCube, tmp_path: Path) -> None:
    pixels, flags = dates()
    with pytest.raises(GeoductError, match="has no band B02, only B03, B01; expected all bands of"):
        Looks(patches, scenecube(tmp_path / "few", pixels[:, :2], flags), stride=None, least=0.75)
    with pytest.raises(GeoductError, match=r"no date of .*cloudy is clear on 75% of any of \d+ windows of 32 pixels"):
        Looks(patches, scenecube(tmp_path / "cloudy", pixels[1:2], flags[1:2]), stride=None, least=0.75)
    small = pixels[:, :, :250], flags[:, :250]
    with pytest.raises(GeoductError, match="is on another grid than"):
        Looks(patches, scenecube(tmp_path / "small", *small), stride=None, least=0.75)
    with pytest.raises(GeoductError, match="--stride is 8, the distance between windows of scenes"):
        images(patches, None, stride=8)
