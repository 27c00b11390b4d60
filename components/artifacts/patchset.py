"""PatchSet: labelled patches, an index that says where each lies and in which split, and the train statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import geopandas
import google_crc32c
import numpy as np
import zarr

from components.artifacts.nomenclature import IGNORE, Nomenclature
from components.artifacts.periods import Period, read_periods
from components.artifacts.shards import Shards
from components.artifacts.zarrs import ZarrArtifact, consolidate, create_array, create_group, write_bands
from components.errors import GeoductError
from components.progress import track

INDEX = "index.parquet"
SHARD_BYTES = 32 * 2**20
"""Raw size of a shard of images: large enough for a parallel file system, small enough for a shuffle buffer."""
COLUMNS = ("id", "split", "block", "row", "col", "valid_fraction", "dominant", "crc32c", "geometry")

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class PatchSet(ZarrArtifact):
    """`image(patch, band, y, x)` uint16 (0 = nodata), `label(patch, y, x)` uint8 (255 = ignore), `index.parquet`.

    Row i of the index is patch i: `id`, `split`, `block` (of the spatial split), `row` and `col` (offset of its
    upper left pixel in the scene), `geometry` (footprint in the scene's CRS), `valid_fraction`, `dominant` (class
    index, -1 if it has no label), one `fraction_<code>` a class, `crc32c` of its image and label bytes. Patches
    stand in order of split and block, so that each split is one range.
    """

    kind = "PatchSet"
    layout = {"image": (("patch", "band", "y", "x"), "uint16"), "label": (("patch", "y", "x"), "uint8")}

    @cached_property
    def index(self) -> geopandas.GeoDataFrame:
        """The index, one row a patch.

        Raises:
            GeoductError: the file is missing or unreadable.
        """
        try:
            return geopandas.read_parquet(self.path / INDEX)
        except (OSError, ValueError) as error:
            raise GeoductError(f"{self.path / INDEX} is not a readable GeoParquet file: {error}") from None

    @property
    def nomenclature(self) -> Nomenclature:
        """The classes, in order of their index."""
        return Nomenclature.from_dict(self.attribute("nomenclature"))

    @property
    def size(self) -> int:
        """Edge of a patch in pixels."""
        return int(self.array("image").shape[-1])

    @property
    def statistics(self) -> dict[str, dict[str, float]]:
        """Per band, over valid pixels of the train split, in DN: mean, std, min, max, p01, p02, p50, p98, p99."""
        return {band: dict(values) for band, values in self.attribute("statistics").items()}

    @property
    def periods(self) -> tuple[Period, ...]:
        """The periods of the Composite that it was cut from, which its bands `B04@1`, … name; none if it has none."""
        return read_periods(self.attrs.get("periods"), self.path)

    def indices(self, split: Split) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Numbers of the patches of a split, ascending."""
        return np.flatnonzero(self.index["split"].to_numpy() == split)

    @property
    def split_report(self) -> dict[str, Any]:
        """How the split came out: `asked` and `reached` shares, `discarded`, per-class shares, buffer; see `patch`."""
        return dict(self.attribute("split"))

    def verify(self) -> None:
        """Compare each patch with its checksum in the index, then every file with the manifest.

        Raises:
            GeoductError: a patch or a file is damaged; a patch is named by its id.
        """
        image, label = self.array("image"), self.array("label")
        step = (image.shards or image.chunks)[0]
        count = image.shape[0]
        for start in track(range(0, count, step), label="verify"):
            try:
                images, labels = np.asarray(image[start : start + step]), np.asarray(label[start : start + step])
            except (ValueError, RuntimeError, OSError):
                self._verify_singly(range(start, min(start + step, count)))
                raise
            for i in range(len(images)):
                self._compare(start + i, images[i], labels[i])
        super().verify()

    def _verify_singly(self, patches: range) -> None:
        """Find the first patch that cannot be read."""
        for i in patches:
            try:
                self.array("image")[i], self.array("label")[i]
            except (ValueError, RuntimeError, OSError) as error:
                raise self._damaged(i, f"it cannot be decoded ({error})") from None

    def _compare(self, patch: int, image: np.ndarray[Any, Any], label: np.ndarray[Any, Any]) -> None:
        found, expected = checksum(image, label), int(self.index["crc32c"].iloc[patch])
        if found != expected:
            raise self._damaged(patch, f"its checksum is {found:08x}, the index says {expected:08x}")

    def _damaged(self, patch: int, what: str) -> GeoductError:
        return GeoductError(f"{self.path} is damaged: patch {self.index['id'].iloc[patch]!r} (number {patch}): {what}")

    def validate(self) -> None:
        """Check the arrays, that the index has a row for each patch, and the columns of the index."""
        super().validate()
        count = self.array("image").shape[0]
        if len(self.index) != count or self.array("label").shape[0] != count:
            raise GeoductError(f"{self.path} has {count} images, but its index has {len(self.index)} rows")
        if missing := [c for c in COLUMNS if c not in self.index.columns]:
            raise GeoductError(f"{self.path / INDEX} lacks the column {missing[0]!r}")
        if set(self.statistics) != set(self.bands):
            raise GeoductError(f"{self.path} has statistics of {sorted(self.statistics)}; expected {self.bands}")
        _ = self.periods


def checksum(image: np.ndarray[Any, Any], label: np.ndarray[Any, Any]) -> int:
    """CRC-32C of one patch: of its image's bytes (band, y, x; little-endian), then of its label's."""
    return int(google_crc32c.extend(google_crc32c.value(image.astype("<u2", copy=False).tobytes()), label.tobytes()))


def patches_per_shard(bands: int, size: int) -> int:
    """How many patches of uint16 images of `bands` x `size` x `size` pixels go into one shard."""
    return max(1, SHARD_BYTES // (bands * size * size * 2))


def create_patchset(
    path: Path,
    count: int,
    size: int,
    bands: Sequence[str],
    nomenclature: Nomenclature,
    attributes: Mapping[str, Any],
) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
    """Lay out an empty PatchSet and return its arrays `(image, label)`, to be written a whole shard at a time.

    `attributes` must hold `statistics` (`describe_patchset` can replace it); `write_index` writes the index beside.
    """
    group = create_group(path, {"bands": list(bands), "nomenclature": nomenclature.to_dict(), **attributes})
    write_bands(group, bands)
    shard = patches_per_shard(len(bands), size)
    image = create_array(
        group,
        "image",
        shape=(count, len(bands), size, size),
        dtype="uint16",
        dims=("patch", "band", "y", "x"),
        chunks=(1, len(bands), size, size),
        shards=(shard, len(bands), size, size),
        attributes={"long_name": "surface reflectance", "scale_factor": 1e-4, "add_offset": 0.0},
    )
    label = create_array(
        group,
        "label",
        shape=(count, size, size),
        dtype="uint8",
        dims=("patch", "y", "x"),
        chunks=(1, size, size),
        shards=(shard, size, size),
        fill_value=IGNORE,
        attributes={"long_name": "class index"},
    )
    consolidate(path)
    return image, label


def write_shard(
    image: Shards, label: Shards, number: int, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]
) -> None:
    """Write shard `number` of both arrays: its patches, images (n, band, y, x) uint16 and labels (n, y, x) uint8."""
    # Written once and read each epoch: images are worth the time of a thorough search.
    image.write((number, 0, 0, 0), {(i, 0, 0, 0): image.encode(a[None], thorough=True) for i, a in enumerate(images)})
    label.write((number, 0, 0), {(i, 0, 0): label.encode(a[None]) for i, a in enumerate(labels)})


def describe_patchset(path: Path, attributes: Mapping[str, Any]) -> None:
    """Set attributes that are known only once the patches are written: `statistics`, `split`, `label_source`."""
    zarr.open_group(path, mode="r+", zarr_format=3).attrs.update(dict(attributes))
    consolidate(path)


def write_index(path: Path, index: geopandas.GeoDataFrame) -> None:
    """Write the index, one row a patch in order of the patches. The same index gives the same bytes."""
    index.to_parquet(path / INDEX, index=False, compression="zstd")
