"""stac-geoparquet: a file of items as a catalog without a server. Rows are ruled out before they become items.

Of a file on a server, HTTP or S3, only those groups of rows are fetched whose statistics do not rule them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pystac

from components.artifacts.source import Source
from components.errors import GeoductError, first_line, nearest
from components.remote.client import Client, RemoteError, shown
from components.remote.file import RemoteFile
from components.search.query import Query

SUFFIXES = (".parquet", ".geoparquet")
_NEEDED = ("id", "geometry", "assets", "links", "stac_version")


def is_parquet(location: str) -> bool:
    """Whether this names a file of stac-geoparquet."""
    return urlsplit(location).path.lower().endswith(SUFFIXES)


def rows(location: str, query: Query, client: Client) -> Iterator[pystac.Item]:
    """Items of the file that may match: of the collection, within the box of the area, on the days.

    Raises:
        GeoductError: the extra `catalogs` is not installed, the file cannot be read, is none of that kind, or has no
            such collection.
    """
    where = shown(location)
    try:
        import rustac
    except ImportError:
        raise GeoductError(f"reading {where} needs rustac; install it with: pip install 'geoduct[catalogs]'") from None
    try:
        dataset = _opened(location, client)
        if missing := [name for name in _NEEDED if name not in dataset.schema.names]:
            raise GeoductError(f"{where} is Parquet, but no stac-geoparquet: it lacks the column {missing[0]!r}")
        _refuse_unknown(dataset, where, query)
        for batch in dataset.to_batches(filter=_filter(dataset.schema, query), batch_size=1000):
            if batch.num_rows:
                for item in rustac.from_arrow(pa.Table.from_batches([batch]))["features"]:
                    yield pystac.Item.from_dict(item)
    except RemoteError as error:
        raise GeoductError(f"{where} cannot be read: {error}") from error
    except (pa.ArrowException, OSError) as error:
        raise GeoductError(f"{where} cannot be read as Parquet: {first_line(error)}") from None


def _opened(location: str, client: Client) -> Any:
    source = Source(location)
    if source.is_path:
        return ds.dataset(source.path, format="parquet")
    kind = ds.ParquetFileFormat()
    fragment = kind.make_fragment(RemoteFile(client, location))
    return ds.FileSystemDataset([fragment], fragment.physical_schema, kind)


def _refuse_unknown(dataset: Any, where: str, query: Query) -> None:
    if query.collection is None or "collection" not in dataset.schema.names:
        return
    known = {str(v) for v in pc.unique(dataset.to_table(columns=["collection"])["collection"]).to_pylist()}
    if query.collection not in known:
        raise GeoductError(f"{where} has no collection {query.collection!r}{nearest(query.collection, known)}")


def _filter(schema: Any, query: Query) -> Any:
    """What of the query columns can answer, as an expression; None takes every row."""
    tests = []
    if query.collection is not None and "collection" in schema.names:
        tests.append(pc.field("collection") == query.collection)
    if query.area is not None and "bbox" in schema.names and pa.types.is_struct(schema.field("bbox").type):
        west, south, east, north = query.area.bounds
        tests += [pc.field("bbox", "xmin") <= east, pc.field("bbox", "xmax") >= west]
        tests += [pc.field("bbox", "ymin") <= north, pc.field("bbox", "ymax") >= south]
    if "datetime" in schema.names and pa.types.is_timestamp(schema.field("datetime").type):
        # rows with an interval instead of an instant have none; what they are is told by their item
        spans = [(query.start, time.min, pc.greater_equal), (query.end, time.max, pc.less_equal)]
        for day, clock, compare in spans:
            if day is not None:
                limit = pa.scalar(datetime.combine(day, clock, UTC), schema.field("datetime").type)
                tests.append(compare(pc.field("datetime"), limit) | pc.field("datetime").is_null())
    found = None
    for test in tests:
        found = test if found is None else found & test
    return found
