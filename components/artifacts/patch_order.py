"""The order in which one epoch visits patches: shuffled, and still near-sequential on disk.

A uniformly random order over a PatchSet touches every shard at once, which a page cache smaller than the set and a
parallel file system both punish. Here the shards are permuted, and every patch then moves by a random distance of at
most a few shards: the reading window stays that narrow, yet a batch mixes patches of several shards. The whole order
is an index array worked out up front from (seed, epoch, rank, ranks), so every patch is visited exactly once over all
ranks, and a pass resumes at any position by slicing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.errors import GeoductError

Indices = NDArray[np.int64]

BUFFER_SHARDS = 16
"""Shards a shuffled order mixes at a time; at 32 MiB a shard the window is half a GiB of raw pixels."""

_SHARD_STREAM, _RANK_STREAM = 1, 2


def rank_share(total: int, rank: int, ranks: int) -> slice:
    """Which part of a sequence of `total` elements one rank takes; shares are contiguous and differ by one at most.

    Raises:
        GeoductError: no such rank, or fewer elements than ranks.
    """
    if not 0 <= rank < ranks:
        raise GeoductError(f"rank {rank} of {ranks} does not exist, expected 0 to {ranks - 1}")
    if total < ranks:
        raise GeoductError(f"{total} patches cannot be shared among {ranks} ranks, expected at least one patch a rank")
    return slice(total * rank // ranks, total * (rank + 1) // ranks)


def shuffled_order(
    indices: Indices,
    patches_per_shard: int,
    *,
    seed: int,
    epoch: int,
    rank: int = 0,
    ranks: int = 1,
    buffer_shards: int = BUFFER_SHARDS,
) -> Indices:
    """One rank's patches of one epoch, in reading order.

    The ranks take contiguous parts of the same shard permutation, so each reads its own shards; one shard at each seam
    is shared. Within its part, a patch moves by at most `buffer_shards` shards' worth of patches.

    Args:
        indices: (n,) numbers of the patches to visit, for instance those of one split; a repeated one is visited as
            often as it stands there.
        patches_per_shard: patches in a full shard.
        seed: of the whole run; epoch and rank are mixed in.
        epoch: counted from 0.
        rank: this process, 0 to `ranks` - 1.
        ranks: number of processes that share the epoch.
        buffer_shards: width of the reading window in shards; 0 keeps the patches of a shard together.

    Returns:
        (n // ranks or one more,) int64; the parts of all ranks together hold exactly `indices`.

    Raises:
        GeoductError: no such rank, or fewer patches than ranks.
    """
    indices = np.asarray(indices, dtype=np.int64)
    share = rank_share(len(indices), rank, ranks)
    rng = np.random.default_rng((seed, epoch, _SHARD_STREAM))
    shards, shard_of = np.unique(indices // patches_per_shard, return_inverse=True)
    turn = rng.permutation(len(shards))[shard_of]
    mine = np.lexsort((rng.random(len(indices)), turn))[share]
    window = buffer_shards * len(indices) / len(shards)
    jitter = np.random.default_rng((seed, epoch, _RANK_STREAM, rank)).uniform(0, window, len(mine))
    return indices[mine[np.argsort(np.arange(len(mine)) + jitter, kind="stable")]]


def batch_bounds(total: int, batch_size: int, *, rank: int = 0, ranks: int = 1, drop_last: bool = False) -> Indices:
    """Where the batches of one rank's order begin and end.

    Every rank has the same number of batches, which distributed training needs. Without `drop_last` nothing is left
    out: the batches are even, as large as `batch_size` allows and one patch apart at most, so that no odd batch of one
    patch remains for a batch normalisation to trip over. With it every batch holds exactly `batch_size` patches.

    Returns:
        (batches + 1,) int64: batch i is `order[bounds[i]:bounds[i + 1]]`.

    Raises:
        GeoductError: no batch can be formed, or an even share is impossible (`batch_size` 1 and a remainder).
    """
    share = rank_share(total, rank, ranks)
    mine, least, most = share.stop - share.start, total // ranks, -(-total // ranks)
    batches = least // batch_size if drop_last else -(-most // batch_size)
    if batches == 0:
        raise GeoductError(
            f"batch_size {batch_size} is larger than the {least} patches of a rank; nothing is left after drop_last"
        )
    if drop_last:
        return np.arange(batches + 1, dtype=np.int64) * batch_size
    if batches > least:
        raise GeoductError(
            f"batch_size 1 cannot share {total} patches among {ranks} ranks evenly, expected drop_last or batch_size 2"
        )
    bounds: Indices = np.arange(batches + 1, dtype=np.int64) * mine // batches
    return bounds
