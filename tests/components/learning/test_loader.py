from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from components.artifacts.patch_reader import PatchReader
from components.artifacts.zarrs import codecs_of, create_array
from components.errors import GeoductError
from components.learning.loader import THREAD_NAME, PatchLoader, dihedral
from components.learning.normalisation import Scaling

BANDS = ["B02", "B04", "B08"]
COUNT, SIZE = 50, 12


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 patches of 3×12×12 in shards of 8, some with nodata, some labels 255; patch i holds i in its first pixel."""
    path = tmp_path_factory.mktemp("loader") / "patches"
    group = zarr.create_group(path, attributes={"bands": BANDS})
    rng = np.random.default_rng(3)
    image = rng.integers(1, 9000, (COUNT, 3, SIZE, SIZE)).astype("uint16")
    image[::5, :, 3:6, 2:9] = 0
    image[:, :, 0, 0] = np.arange(COUNT)[:, None] + 1
    label = rng.integers(0, 6, (COUNT, SIZE, SIZE)).astype("uint8")
    label[image[:, 0] == 0] = 255
    for name, data in (("image", image), ("label", label)):
        rest = data.shape[1:]
        array = group.create_array(
            name,
            shape=data.shape,
            dtype=data.dtype,
            chunks=(1, *rest),
            shards=(8, *rest),
            compressors=codecs_of(data.dtype),
        )
        array[...] = data
    return path


@pytest.fixture
def stored(patches: Path) -> tuple[np.ndarray, np.ndarray]:
    group = zarr.open_group(patches, mode="r")
    return np.asarray(group["image"][...]), np.asarray(group["label"][...])


def loader(path: Path, indices: Any = None, **kwargs: Any) -> PatchLoader:
    kwargs = {"batch_size": 8, "buffer_shards": 2} | kwargs
    return PatchLoader(PatchReader(path), np.arange(COUNT) if indices is None else indices, **kwargs)


def ids(batches: Any) -> list[int]:
    return [i for batch in batches for i in batch["index"].tolist()]


def reader_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(THREAD_NAME)]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_batches_as_stored_equal_the_store(patches: Path, stored: Any, workers: int) -> None:
    images, labels = stored
    batches = list(loader(patches, workers=workers))  # all kept at once: none may share memory with another
    assert sorted(ids(batches)) == list(range(COUNT))
    assert len(batches) == 7 and {len(b["index"]) for b in batches} == {7, 8}
    for batch in batches:
        index = batch["index"].numpy()
        assert batch["image"].dtype == torch.uint16 and batch["mask"].dtype == torch.uint8
        np.testing.assert_array_equal(batch["image"].numpy(), images[index])
        np.testing.assert_array_equal(batch["mask"].numpy(), labels[index])


def test_any_view_a_consumer_keeps_stays_true(patches: Path, stored: Any) -> None:
    """Memory is used again, but never while a tensor, or a view of one, still shows it."""
    images, _ = stored
    pool = loader(patches, batch_size=4, workers=3)
    kept, addresses = [], set()
    for _ in range(4):
        for step, batch in enumerate(pool):
            addresses.add(batch["image"].data_ptr())
            if step % 5 == 0:
                kept.append((batch["index"].clone(), batch["image"][:, 1].flatten(1)))
        del batch
    assert len(addresses) < 4 * len(pool) / 2
    for index, view in kept:
        np.testing.assert_array_equal(view.numpy(), images[index.numpy(), 1].reshape(len(index), -1))


def test_normalised_pixels_and_masks(patches: Path, stored: Any) -> None:
    images, labels = stored
    scaling = Scaling(np.array([100, 2000, 50], "float32"), np.array([0.01, 0.001, 0.5], "float32"))
    for batch in loader(patches, scaling=scaling):
        index = batch["index"].numpy()
        truth = (images[index].astype("float64") - scaling.offset[:, None, None]) * scaling.scale[:, None, None]
        truth[images[index] == 0] = 0
        assert batch["image"].dtype == torch.float32 and batch["mask"].dtype == torch.int64
        np.testing.assert_allclose(batch["image"].numpy(), truth, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(batch["mask"].numpy(), labels[index])


def test_bands_are_chosen_by_name_in_the_order_asked_for(patches: Path, stored: Any) -> None:
    images, _ = stored
    scaling = Scaling(np.array([10, 0], "float32"), np.array([1, 2], "float32"))
    for kwargs in ({}, {"scaling": scaling}):
        batch = next(iter(loader(patches, bands=("B08", "B02"), **kwargs)))
        truth = images[batch["index"].numpy()][:, [2, 0]].astype("float32")
        if kwargs:
            truth = np.where(truth == 0, 0, (truth - [[[10]], [[0]]]) * [[[1]], [[2]]])
        np.testing.assert_allclose(batch["image"].numpy().astype("float32"), truth)
    with pytest.raises(GeoductError, match="has no band 'B8A', only B02, B04, B08"):
        loader(patches, bands=("B02", "B8A"))


def test_the_eight_turns_are_the_group_of_the_square() -> None:
    square = np.arange(12).reshape(1, 1, 3, 4)[..., :3]
    turned = {dihedral(square, turn).tobytes() for turn in range(8)}
    expected = {np.rot90(m, k, (2, 3)).tobytes() for m in (square, square[..., ::-1]) for k in range(4)}
    assert turned == expected and len(turned) == 8
    np.testing.assert_array_equal(dihedral(square, 0), square)


@pytest.mark.parametrize("scaling", [None, Scaling(np.zeros(3, "float32"), np.ones(3, "float32"))])
def test_augmentation_turns_image_and_mask_alike(patches: Path, stored: Any, scaling: Scaling | None) -> None:
    images, labels = stored
    seen = set()
    augmented = loader(patches, augment=True, scaling=scaling)
    for batch in augmented:
        for i, image, mask in zip(batch["index"].tolist(), batch["image"].numpy(), batch["mask"].numpy(), strict=True):
            turns = [t for t in range(8) if np.array_equal(dihedral(images[i], t), image)]
            assert len(turns) == 1
            np.testing.assert_array_equal(dihedral(labels[i], turns[0]), mask)
            seen.add(turns[0])
    assert seen == set(range(8))
    repeat = loader(patches, augment=True, scaling=scaling, workers=4)
    second = loader(patches, augment=True, scaling=scaling)
    second.set_epoch(1)
    for a, b in zip(augmented, second, strict=True):  # the second pass of one loader, epoch 1 of another
        assert torch.equal(a["image"].float(), b["image"].float())
    assert ids(repeat) != ids(augmented)


def test_each_pass_is_an_epoch_of_its_own(patches: Path) -> None:
    pool = loader(patches)
    first, second = ids(pool), ids(pool)
    assert first != second and sorted(first) == sorted(second)
    pool.set_epoch(0)
    assert ids(pool) == first
    assert ids(loader(patches, shuffle=False)) == list(range(COUNT))
    next(iter(pool))  # an epoch that was left is not taken up again
    assert ids(pool) not in (first, second)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_every_patch_once_over_ranks_also_after_a_resume(patches: Path, ranks: int, stop: int) -> None:
    chosen = np.arange(3, COUNT - 2)
    seen, steps = [], set()
    for rank in range(ranks):
        kwargs = {"indices": chosen, "rank": rank, "ranks": ranks, "batch_size": 4, "augment": True}
        whole = loader(patches, **kwargs)
        list(whole)
        truth = [b["image"].clone() for b in whole]  # epoch 1
        begun = loader(patches, **kwargs)
        begun.set_epoch(1)
        batches = iter(begun)
        before = [next(batches) for _ in range(stop)]
        state = begun.state_dict() if stop else {**begun.state_dict(), "epoch": 1}
        resumed = loader(patches, **kwargs)
        resumed.load_state_dict(state)
        resumed.set_epoch(1)
        after = list(resumed)
        seen += ids(before) + ids(after)
        assert all(torch.equal(a, b["image"]) for a, b in zip(truth, before + after, strict=True))
        assert len(after) == len(resumed) - stop
        steps.add(len(resumed))
        assert resumed.state_dict()["epoch"] == 2 and resumed.state_dict()["batch"] == 0
    assert sorted(seen) == chosen.tolist() and len(steps) == 1


def test_a_state_of_another_order_is_refused(patches: Path) -> None:
    state = loader(patches).state_dict()
    for change, sentence in (
        ({"ranks": 2}, "batches was 7, is 4|ranks was 1, is 2"),
        ({"seed": 5}, "seed was 0, is 5"),
        ({"indices": np.arange(1, COUNT + 0)}, "patches was 50, is 49"),
        ({"indices": np.arange(COUNT)[::-1]}, "crc32 of the patches"),
    ):
        with pytest.raises(GeoductError, match=sentence):
            loader(patches, **change).load_state_dict(state)


def test_weights_draw_with_replacement(patches: Path) -> None:
    weights = np.where(np.arange(COUNT) < 10, 1.0, 0.0)
    drawn = loader(patches, weights=weights)
    first, second = ids(drawn), ids(drawn)
    assert len(first) == COUNT and set(first) <= set(range(10)) and first != second
    for wrong in (weights[:3], -weights, weights * np.nan, weights * 0):
        with pytest.raises(GeoductError, match="cannot draw 50 patches"):
            loader(patches, weights=wrong)


def test_drop_last_keeps_whole_batches(patches: Path) -> None:
    assert [len(b["index"]) for b in loader(patches, drop_last=True)] == [8] * 6


def test_leaving_an_iteration_ends_its_threads(patches: Path) -> None:
    assert reader_threads() == []
    batches = iter(loader(patches, workers=3))
    next(batches)
    assert reader_threads() != []
    del batches
    gc.collect()
    assert reader_threads() == []
    list(loader(patches))
    assert reader_threads() == []


def test_a_corrupt_chunk_is_raised_where_batches_are_taken(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "bad", attributes={"bands": ["B02"]})
    sizes: Any = {"shape": (6, 1, 8, 8), "chunks": (1, 1, 8, 8), "shards": (6, 1, 8, 8)}
    image = create_array(group, "image", dtype="uint16", dims="pbyx", **sizes)
    sizes = {"shape": (6, 8, 8), "chunks": (1, 8, 8), "shards": (6, 8, 8)}
    label = create_array(group, "label", dtype="uint8", dims="pyx", **sizes)
    image[...], label[...] = 7, 1
    shard = next(p for p in (tmp_path / "bad/image/c").rglob("*") if p.is_file())
    data = bytearray(shard.read_bytes())
    data[len(data) // 4] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(GeoductError, match=r"patch \d of .*image \(shard c/0/0/0/0\) is corrupt: its crc32c"):
        list(loader(tmp_path / "bad", np.arange(6), batch_size=2))
    assert reader_threads() == []


def test_lightning_trains_from_it_and_resumes_within_an_epoch(patches: Path, tmp_path: Path) -> None:
    from lightning import LightningModule, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Collect(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 6, 1)
            self.ids: list[int] = []

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            self.ids += batch["index"].tolist()
            return torch.nn.functional.cross_entropy(self.layer(batch["image"]), batch["mask"], ignore_index=255)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=1e-3)

    def fit(model: Collect, ckpt: Path | None = None, **kwargs: Any) -> Trainer:
        scaling = Scaling(np.full(3, 4000, "float32"), np.full(3, 1e-3, "float32"))
        quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        save = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=10, save_top_k=-1)
        trainer = Trainer(**quiet, callbacks=[save], **kwargs)
        trainer.fit(model, loader(patches, scaling=scaling), ckpt_path=ckpt)
        return trainer

    whole, begun, resumed = Collect(), Collect(), Collect()
    fit(whole, max_epochs=3)
    fit(begun, max_steps=10)  # three batches into the second epoch of seven
    fit(resumed, ckpt=tmp_path / "step=10.ckpt", max_epochs=3)
    assert begun.ids + resumed.ids == whole.ids
    assert sorted(whole.ids) == sorted(list(range(COUNT)) * 3)
