"""How Geoduct lays out Zarr: v3, sharded, one codec a type, and a grid that rioxarray and GDAL's users understand.

Chunks are small, for random reads; shards hold tens of megabytes, so that DVC, object stores and parallel file
systems see few files. Each chunk ends in a CRC-32C: a flipped bit is an error, never a pixel.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import zarr
import zarr.codecs
from affine import Affine
from odc.geo.geobox import GeoBox
from zarr.core.metadata import ArrayV3Metadata

from components.artifacts.base import Artifact
from components.errors import GeoductError

CHUNK = 256
"""Edge of a chunk of a gridded array, in pixels."""
SHARD = 2048
"""Edge of a shard of a gridded array, in pixels; a whole Sentinel-2 tile has 6 x 6 of them."""

GRID = "spatial_ref"


def codecs_of(dtype: np.dtype[Any]) -> list[Any]:
    """The house codec: what stands between a chunk's bytes and the file."""
    # Pixels: lz4 with bitshuffle is within 1.2x of the size of zstd on 12-bit reflectance and decodes 3 to 4 times
    # faster. lz4 with byte shuffle decodes as fast (0.9x to 1.2x the time) and takes up to 15 % more. What lz4hc gains
    # for patches (`Shards.encode`) does not pay for scenes, which are read a few times: it takes ten times as long to
    # encode. Block sizes from 8 KiB to 512 KiB, other levels of lz4, and blosclz gain nothing.
    # Classes and counts, one byte each: bits are no gain. lz4hc decodes in 0.14x to 0.43x the time of lz4 with
    # bitshuffle and takes 0.4x to 0.8x the room (SCL, land use and counts, real and simulated).
    name, level, shuffle = ("lz4hc", 3, "shuffle") if dtype.itemsize == 1 else ("lz4", 5, "bitshuffle")
    blosc = zarr.codecs.BloscCodec(
        cname=zarr.codecs.BloscCname[name],
        clevel=level,
        shuffle=zarr.codecs.BloscShuffle[shuffle],
        typesize=dtype.itemsize,
    )
    return [blosc, zarr.codecs.Crc32cCodec()]


def create_group(path: Path, attributes: Mapping[str, Any]) -> zarr.Group:
    """Make a new Zarr v3 group in the folder `path`."""
    path.mkdir(parents=True, exist_ok=True)
    group = zarr.open_group(path, mode="w-", zarr_format=3)
    group.attrs.update(dict(attributes))
    return group


def create_array(
    group: zarr.Group,
    name: str,
    *,
    shape: Sequence[int],
    dtype: Any,
    dims: Sequence[str],
    chunks: Sequence[int],
    shards: Sequence[int] | None = None,
    fill_value: int | float = 0,
    attributes: Mapping[str, Any] | None = None,
) -> zarr.Array[Any]:
    """Make an array in `group` with the house codec.

    `chunks` are clipped to the shape, and `shards` to the fewest whole chunks that hold it. Write whole shards:
    a part of a shard is read, merged and written again.
    """
    fitted = tuple(max(1, min(c, n)) for c, n in zip(chunks, shape, strict=True))
    whole = (
        tuple(c * max(1, min(s // c, -(-n // c))) for s, c, n in zip(shards, fitted, shape, strict=True))
        if shards is not None
        else None
    )
    return group.create_array(
        name,
        shape=tuple(shape),
        dtype=dtype,
        chunks=fitted,
        shards=whole,
        compressors=codecs_of(np.dtype(dtype)),
        fill_value=fill_value,
        dimension_names=tuple(dims),
        attributes=dict(attributes or {}),
    )


def create_raster(
    group: zarr.Group,
    name: str,
    geobox: GeoBox,
    *,
    dtype: str,
    layers: Mapping[str, tuple[int, int]] | None = None,
    fill_value: int = 0,
    attributes: Mapping[str, Any],
) -> zarr.Array[Any]:
    """Make an array over a grid: `y` and `x` come last, in chunks of 256 and shards of 2048 pixels a side.

    `layers` are the dimensions before them, in order: the length of each, and how much of it lies in one shard.
    """
    layers = layers or {}
    return create_array(
        group,
        name,
        shape=(*(length for length, _ in layers.values()), *geobox.shape),
        dtype=dtype,
        dims=(*layers, "y", "x"),
        chunks=(*(1 for _ in layers), CHUNK, CHUNK),
        shards=(*(together for _, together in layers.values()), SHARD, SHARD),
        fill_value=fill_value,
        attributes={**attributes, "grid_mapping": GRID},
    )


def write_array(
    group: zarr.Group, name: str, values: np.ndarray[Any, Any], dims: Sequence[str], attributes: Mapping[str, Any]
) -> None:
    """Store a small array (a coordinate) as one chunk, uncompressed."""
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=tuple(max(1, n) for n in values.shape),
        compressors=None,
        dimension_names=tuple(dims),
        attributes=dict(attributes),
    )
    array[...] = values


def write_grid(group: zarr.Group, geobox: GeoBox) -> None:
    """Store a grid as CF does: pixel-centre coordinates `y`, `x` and the variable `spatial_ref`.

    Raises:
        GeoductError: the grid is rotated; coordinates could not describe it.
    """
    transform: Affine = geobox.transform
    if transform.b or transform.d:
        raise GeoductError("the grid is rotated; expected rows and columns along the axes of its CRS")
    if geobox.crs is None:
        raise GeoductError("the grid has no coordinate reference system")
    height, width = geobox.shape
    unit = {"units": "m"} if geobox.crs.projected else {"units": "degrees"}
    # What the coordinates lose to rounding, GeoTransform (as GDAL writes it) keeps exactly.
    gdal = " ".join(repr(float(v)) for v in transform.to_gdal())
    y = transform.f + (np.arange(height) + 0.5) * transform.e
    x = transform.c + (np.arange(width) + 0.5) * transform.a
    write_array(group, "y", y, ["y"], {"axis": "Y", "standard_name": "projection_y_coordinate", **unit})
    write_array(group, "x", x, ["x"], {"axis": "X", "standard_name": "projection_x_coordinate", **unit})
    wkt = geobox.crs.to_wkt()
    write_array(
        group,
        GRID,
        np.array(geobox.crs.epsg or 0, dtype="int32"),
        [],
        {**geobox.crs.proj.to_cf(), "crs_wkt": wkt, "spatial_ref": wkt, "GeoTransform": gdal},
    )


def write_bands(group: zarr.Group, bands: Sequence[str]) -> None:
    """Store band names as the text coordinate `band`, so that they can be selected by name."""
    names = group.create_array(
        "band", shape=(len(bands),), dtype="string", chunks=(len(bands),), dimension_names=("band",), compressors=None
    )
    names.attrs["long_name"] = "band"
    names[...] = np.array(list(bands), dtype=object)


def read_grid(group: zarr.Group, where: str | Path) -> GeoBox:
    """Read what `write_grid` stored.

    Raises:
        GeoductError: the grid variables are missing or malformed; `where` names the store in the sentence.
    """
    try:
        attrs = group[GRID].attrs.asdict()
        shape = (_member(group, "y").shape[0], _member(group, "x").shape[0])
        transform = Affine.from_gdal(*(float(v) for v in str(attrs["GeoTransform"]).split()))
        epsg = int(np.asarray(_member(group, GRID)[...]))
        return GeoBox(shape, transform, f"EPSG:{epsg}" if epsg else str(attrs["crs_wkt"]))
    except (KeyError, ValueError, TypeError):
        raise GeoductError(
            f"{where} has no readable grid: expected y, x and {GRID} with crs_wkt and GeoTransform"
        ) from None


def _member(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """An array of a group.

    Raises:
        KeyError: there is none of that name.
    """
    found = group.get(name)
    if not isinstance(found, zarr.Array):
        raise KeyError(name)
    return found


def consolidate(path: Path) -> None:
    """Gather all metadata in the group's `zarr.json`: one read opens it, and the manifest is no stray to readers.

    The members are sorted: zarr lists them as they arrive, and the same group must be the same bytes every time.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(path)
    file = path / "zarr.json"
    stored = json.loads(file.read_text())
    members = stored["consolidated_metadata"]["metadata"]
    stored["consolidated_metadata"]["metadata"] = dict(sorted(members.items()))
    file.write_text(json.dumps(stored, indent=1))


class ZarrArtifact(Artifact):
    """An artifact that is one Zarr v3 group. A kind lists its arrays as name → (dims, dtype) in `layout`."""

    layout: ClassVar[dict[str, tuple[tuple[str, ...], str]]]
    _group: zarr.Group | None = None

    @property
    def group(self) -> zarr.Group:
        """The group, read-only, opened at first use.

        Raises:
            GeoductError: the folder holds no Zarr v3 group.
        """
        if self._group is None:
            try:
                self._group = zarr.open_group(self.path, mode="r", zarr_format=3)
            except (OSError, ValueError, KeyError, TypeError):
                raise GeoductError(
                    f"{self.path} holds no readable Zarr v3 group; a {self.kind} is expected there"
                ) from None
        return self._group

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of the group."""
        return self.group.attrs.asdict()

    def attribute(self, name: str) -> Any:
        """An attribute of the group by name.

        Raises:
            GeoductError: there is none of that name.
        """
        try:
            return self.attrs[name]
        except KeyError:
            raise GeoductError(f"{self.path} has no attribute {name!r}; a {self.kind} needs it") from None

    def array(self, name: str) -> zarr.Array[Any]:
        """An array of the group by name.

        Raises:
            GeoductError: there is none of that name.
        """
        try:
            return _member(self.group, name)
        except KeyError:
            held = ", ".join(self.layout)
            raise GeoductError(f"{self.path} has no array {name!r}; a {self.kind} holds {held}") from None

    @property
    def geobox(self) -> GeoBox:
        """The grid: shape, transform and CRS."""
        return read_grid(self.group, self.path)

    @property
    def bands(self) -> list[str]:
        """Band names in stored order."""
        return [str(b) for b in self.attribute("bands")]

    def validate(self) -> None:
        """Check names, dimensions and types of the arrays against `layout`."""
        for name, (dims, dtype) in self.layout.items():
            array = self.array(name)
            names = array.metadata.dimension_names if isinstance(array.metadata, ArrayV3Metadata) else None
            if tuple(names or ()) != dims or array.dtype != np.dtype(dtype):
                found = f"{names} {array.dtype}"
                raise GeoductError(f"{self.path}: array {name!r} is {found}; expected {dims} {dtype}")
