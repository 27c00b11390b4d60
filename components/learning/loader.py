"""Feeds patches to torch, past the ceiling of `torch.utils.data.DataLoader`.

DataLoader's worker processes pickle every batch through shared memory, which caps any store at a few thousand patches a
second. Reading and decoding release the GIL, so threads do: each decodes a whole batch straight into the memory of the
tensors that are handed out, normalises it patch by patch while the patch is still in cache, and the next batches are
made while the consumer works on this one.
"""

from __future__ import annotations

import weakref
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from components.artifacts.patch_order import BUFFER_SHARDS, Indices, batch_bounds, rank_share, shuffled_order
from components.artifacts.patch_reader import PatchReader
from components.errors import GeoductError
from components.learning.normalisation import Scaling, normalise

THREAD_NAME = "geoduct-patches"
_DRAW_STREAM, _TURN_STREAM = 3, 4  # apart from the streams of patch_order


class Batch(TypedDict):
    """A batch: `image` (n, band, y, x), `mask` (n, y, x), and `index` (n,) int64, the patches' numbers in the PatchSet.

    Normalised: image float32, mask int64, as losses take them. As stored: image uint16 DN, mask uint8.
    """

    image: torch.Tensor
    mask: torch.Tensor
    index: torch.Tensor


def dihedral(array: NDArray[Any], turn: int) -> NDArray[Any]:
    """One of the eight flips and quarter turns, 0 to 7, of the last two axes, as a view; 0 changes nothing."""
    if turn & 1:
        array = array[..., ::-1]
    if turn & 2:
        array = array[..., ::-1, :]
    return array.swapaxes(-1, -2) if turn & 4 else array


class BatchMemory:
    """Memory for batches, used again once no tensor shares it, however long the consumer keeps one.

    Fresh memory for each batch would be zeroed page by page by the kernel, a good part of the time of decoding into it.

    Args:
        shape: of the largest batch, (patch, …).
        dtype: of its elements.
        pinned: page-locked, for copies to a GPU beside its work.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, *, pinned: bool = False) -> None:
        self.shape, self.dtype, self.pinned = shape, dtype, pinned
        self._free: deque[NDArray[Any]] = deque()

    def take(self, n: int) -> torch.Tensor:
        """A tensor of `n` patches whose content is undefined; any thread may ask."""
        if self.pinned:
            # torch's own pinned allocator keeps a block until the copies to the GPU that read it are done.
            return torch.empty((n, *self.shape[1:]), dtype=self.dtype, pin_memory=True)
        try:
            whole = self._free.pop()
        except IndexError:
            whole = torch.empty(self.shape, dtype=self.dtype).numpy()
        part = whole[:n]
        # torch.from_numpy keeps `part` alive for as long as any view of the tensor lives, and then it is collected.
        weakref.finalize(part, self._free.append, whole).atexit = False
        return torch.from_numpy(part)


class PatchLoader:
    """Batches of patches for one rank, epoch after epoch; what Lightning takes as a dataloader.

    Every pass over it is one epoch in an order of its own, in which every patch comes once over all ranks. `state_dict`
    between two batches and `load_state_dict` resume at the very next batch. The tensors of a batch are the consumer's:
    their memory is used again only when the last of them is gone. An error in a thread is raised by the iteration;
    leaving the iteration ends its threads.

    Args:
        reader: the PatchSet.
        indices: (n,) numbers of the patches to visit, for instance those of one split.
        batch_size: patches in a batch; batches are even, see `batch_bounds`.
        bands: names of the bands wanted, in their order; all as stored if not given.
        scaling: the normalisation; without it pixels come as stored.
        augment: turn and flip each patch at random, with its mask.
        shuffle: a new order each epoch; otherwise `indices` as they stand.
        weights: (n,) chance of each patch to be drawn; the epoch then draws n patches with replacement.
        drop_last: leave out what does not fill a batch, so that all are of one size.
        workers: threads that read and decode.
        pin_memory: batches in page-locked memory, for copies to a GPU beside its work.
        seed: of order, draws and turns.
        rank: this process, 0 to `ranks` - 1.
        ranks: processes that share each epoch.
        buffer_shards: how many shards the order mixes at a time.

    Raises:
        GeoductError: a band that the PatchSet lacks, no such rank, no batch to form, weights that cannot be drawn by.
    """

    def __init__(
        self,
        reader: PatchReader,
        indices: NDArray[np.integer[Any]],
        *,
        batch_size: int,
        bands: tuple[str, ...] | None = None,
        scaling: Scaling | None = None,
        augment: bool = False,
        shuffle: bool = True,
        weights: NDArray[np.floating[Any]] | None = None,
        drop_last: bool = False,
        workers: int = 2,
        pin_memory: bool = False,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        buffer_shards: int = BUFFER_SHARDS,
    ) -> None:
        self.reader, self.indices = reader, np.asarray(indices, dtype=np.int64)
        self.batch_size, self.seed, self.rank, self.ranks, self.workers = batch_size, seed, rank, ranks, workers
        self.bands = reader.bands if bands is None else bands
        self.scaling, self.augment, self.shuffle = scaling, augment, shuffle
        self.buffer_shards = buffer_shards
        if missing := [band for band in self.bands if band not in reader.bands]:
            raise GeoductError(f"{reader.path} has no band {missing[0]!r}, only {', '.join(reader.bands)}")
        self._band_positions = [reader.bands.index(band) for band in self.bands]
        self._chances = None if weights is None else self._normal(weights)
        self._bounds = batch_bounds(len(self.indices), batch_size, rank=rank, ranks=ranks, drop_last=drop_last)
        self._start = self._position = (0, 0)
        size = int(np.diff(self._bounds).max())
        shape = reader.image.shape[2:]
        pixel, index = (torch.uint16, torch.uint8) if scaling is None else (torch.float32, torch.int64)
        self._images = BatchMemory((size, len(self.bands), *shape), pixel, pinned=pin_memory)
        self._masks = BatchMemory((size, *shape), index, pinned=pin_memory)

    def __len__(self) -> int:
        """Batches of a whole epoch of this rank, also where a pass resumes within one."""
        return len(self._bounds) - 1

    def __iter__(self) -> Iterator[Batch]:
        epoch, first = self._start
        self._start, self._position = (epoch + 1, 0), (epoch, first)
        order, turns = self._plan(epoch)
        batches = iter(range(first, len(self)))
        pending: deque[Future[Batch]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix=THREAD_NAME)

        def ahead(count: int) -> None:
            for _, number in zip(range(count), batches, strict=False):
                part = slice(self._bounds[number], self._bounds[number + 1])
                pending.append(pool.submit(self._load, order[part], turns[part]))

        try:
            ahead(2 * self.workers)
            number = first
            while pending:
                batch = pending.popleft().result()
                ahead(1)
                number += 1
                self._position = (epoch, number)
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass this epoch; a position within it that `load_state_dict` gave stays."""
        if epoch != self._start[0]:
            self._start = (epoch, 0)

    def state_dict(self) -> dict[str, Any]:
        """The position after the batch handed out last, and what the order depends on."""
        epoch, batch = self._position
        if batch == len(self):
            epoch, batch = epoch + 1, 0
        return {"epoch": epoch, "batch": batch, **self._settings()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass begin where `state` was taken.

        Raises:
            GeoductError: the state is of another order: other patches, batch size, seed or number of ranks.
        """
        for name, value in self._settings().items():
            if state.get(name) != value:
                raise GeoductError(
                    f"the loader's state does not fit: {name} was {state.get(name)}, is {value}; a pass resumes only "
                    "with the patches, batch size, seed and number of ranks that it began with"
                )
        self._start = self._position = (int(state["epoch"]), int(state["batch"]))

    def _settings(self) -> dict[str, Any]:
        return {
            "patches": len(self.indices),
            "crc32 of the patches": zlib.crc32(self.indices.tobytes()),
            "batches": len(self),
            "batch_size": self.batch_size,
            "seed": self.seed,
            "ranks": self.ranks,
            "shuffle": self.shuffle,
            "buffer_shards": self.buffer_shards,
        }

    def _normal(self, weights: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        chances = np.asarray(weights, dtype=np.float64)
        if chances.shape != self.indices.shape or not (chances >= 0).all() or not 0 < chances.sum() < np.inf:
            raise GeoductError(
                f"weights of shape {chances.shape} cannot draw {len(self.indices)} patches, expected one finite "
                "weight of 0 or more a patch, and not all 0"
            )
        normal: NDArray[np.float64] = chances / chances.sum()
        return normal

    def _plan(self, epoch: int) -> tuple[Indices, NDArray[np.uint8]]:
        """This rank's patches of an epoch in order, and the turn of each."""
        indices = self.indices
        if self._chances is not None:
            draw = np.random.default_rng((self.seed, epoch, _DRAW_STREAM))
            indices = draw.choice(indices, len(indices), p=self._chances)
        if self.shuffle:
            order = shuffled_order(
                indices,
                self.reader.patches_per_shard,
                seed=self.seed,
                epoch=epoch,
                rank=self.rank,
                ranks=self.ranks,
                buffer_shards=self.buffer_shards,
            )
        else:
            order = indices[rank_share(len(indices), self.rank, self.ranks)]
        turns = np.zeros(len(order), np.uint8)
        if self.augment:
            rng = np.random.default_rng((self.seed, epoch, _TURN_STREAM, self.rank))
            turns = rng.integers(0, 8, len(order), dtype=np.uint8)
        return order, turns

    def _load(self, patches: Indices, turns: NDArray[np.uint8]) -> Batch:
        """Read one batch; runs in a thread."""
        images, masks = self._images.take(len(patches)), self._masks.take(len(patches))
        if self.scaling is None and self.bands == self.reader.bands and not turns.any():
            self.reader.read_into(patches, images.numpy(), masks.numpy())
        else:
            self._transform(patches, turns, images.numpy(), masks.numpy())
        return {"image": images, "mask": masks, "index": torch.from_numpy(patches.copy())}

    def _transform(self, patches: Indices, turns: NDArray[np.uint8], images: NDArray[Any], masks: NDArray[Any]) -> None:
        """Read patch by patch through small arrays that stay in the core's cache."""
        image = np.empty(self.reader.image.shape[1:], np.uint16)
        label = np.empty(self.reader.label.shape[1:], np.uint8)
        arranged = np.empty((len(self.bands), *image.shape[1:]), np.uint16)
        all_bands = self.bands == self.reader.bands
        for position, (patch, turn) in enumerate(zip(patches.tolist(), turns.tolist(), strict=True)):
            self.reader.read(patch, image, label)
            pixels = image
            if turn or not all_bands:
                # Turned as uint16 and band by band: to normalise a turned view takes up to four times as long.
                pixels = images[position] if self.scaling is None else arranged
                for place, band in enumerate(self._band_positions):
                    np.copyto(pixels[place], dihedral(image[band], turn))
            if self.scaling is not None:
                normalise(pixels, self.scaling, images[position])
            elif pixels is image:
                images[position] = image
            masks[position] = dihedral(label, turn)
