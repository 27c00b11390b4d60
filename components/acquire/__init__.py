"""The component `acquire`: find Sentinel-2 scenes in a STAC catalog and read only the window asked for.

After the search of `components/search`: `understand` (item → bands, mask, offset, grid), `steps` (items → time steps),
`grid` (one grid for all), `read` (asset → pixels on it), `planes` (the work of one worker) and `cube` (all → SceneCube,
resumed by its `ledger`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from components.contract import Ge, Gt, Input, Output, Unit, component
from components.search.filters import Bbox, MaxCloud, MaxScenes, Retries, Timeout

if TYPE_CHECKING:
    from components.artifacts import SceneCube, Source


@component(image="data", resumable=True)
def acquire(
    catalog: Input[Source],
    scenes: Output[SceneCube],
    aoi: Input[Source] | None = None,
    *,
    collection: str | None = None,
    ids: tuple[str, ...] | None = None,
    bbox: Bbox = None,
    start: str | None = None,
    end: str | None = None,
    max_cloud: MaxCloud = 100.0,
    max_scenes: MaxScenes = None,
    bands: tuple[str, ...] = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
    mask: Literal["auto", "scl", "clm", "none"] = "auto",
    resolution: Annotated[float | None, Gt(0), Unit("metres")] = 10.0,
    crs: str | None = None,
    resampling: Literal["nearest", "bilinear", "cubic"] = "nearest",
    on_missing: Literal["fail", "skip"] = "fail",
    retries: Retries = 8,
    timeout: Timeout = 30.0,
    workers: Annotated[int | None, Ge(1)] = None,
    scheduler: str | None = None,
) -> None:
    """Read Sentinel-2 scenes from a STAC catalog onto one grid.

    Reflectance is harmonised: what processing baseline 04.00 and later add (1000 DN) is taken off again as each
    item's metadata say, valid pixels stay at least 1, and 0 is nodata.

    Items of one pass of one satellite are one time step: tiles lie beside each other, and of two processings of a tile
    the newer is used. `search` can choose scenes by more than what is asked here; its list is read like a catalog.

    What may pass of itself (busy servers, lost connections, short answers) is tried again. A run that was killed, or
    that a network failed, goes on where it stopped when the same command is given again. What became of every scene
    found is printed at the end and kept in the cube.

    Args:
        catalog: a STAC API, a file with an API's landing page, a static catalog, collection or item file, a file of
            stac-geoparquet, a SceneList, Sentinel-2 Level-2A products as downloaded (one .SAFE folder or many in one),
            or gee for Google Earth Engine
        scenes: the scenes, one time step an item
        aoi: GeoJSON polygon in longitude and latitude; the window is its bounding box on the grid
        collection: the collection to search; needed where items of several match; of gee, COPERNICUS/S2_SR_HARMONIZED
            unless named
        ids: read these items and no others; none takes all that match
        bbox: the window; what no item covers is cut off, and without bbox and aoi it is all that the items cover
        start: first day, YYYY-MM-DD
        end: last day, YYYY-MM-DD
        max_cloud: most cloud over a whole item, as its eo:cloud_cover says; below 100, items that do not say are
            left out
        max_scenes: at most so many acquisitions, evenly spread in time from the first match to the last; none takes
            all
        bands: names (B02) or common names (blue); they are stored under their names, in this order
        mask: which mask goes with the scenes; auto takes scl (scene classification) if all items have it, else clm
            (0 clear, 1 cloud)
        resolution: edge of a pixel; none keeps the native grid of the finest band
        crs: of the grid, such as EPSG:32627; none takes that of most items
        resampling: of reflectance where an item's grid differs; masks are always nearest
        on_missing: what to do about a scene that cannot be read or understood: end the run, or leave the scene out
            and say so
        retries: how often a request to a server is made again before it counts as failed, each time after a longer wait
        timeout: how long a server may keep us waiting before the request counts as lost
        workers: planes of 2048 x 2048 pixels of one band read at a time; none is one a core, and 8 over a network
        scheduler: address of a dask cluster to read with, such as tcp://login:8786; none reads with threads
    """
    from components.acquire.cube import read_cube
    from components.acquire.grid import grid_of
    from components.acquire.planes import How
    from components.acquire.steps import Report, steps_of
    from components.acquire.understand import band_names, choose_mask
    from components.remote.access import connect
    from components.remote.raster import Remote
    from components.search.area import area_of
    from components.search.catalog import find
    from components.search.query import Query

    names = band_names(bands)
    area = area_of(bbox, aoi)
    query = Query.parse(collection, area, start, end, max_cloud, max_scenes, ids)
    client = connect(retries, timeout)
    found = find(catalog.location, query, client)
    remote = Remote(client)
    kind = choose_mask(found.items, mask)
    report, skip_failed = Report(), on_missing == "skip"
    steps = steps_of(found, names, kind, remote, report, skip_failed)
    covered = [scene for step in steps for scene in step.scenes]
    how = How(grid_of(covered, area, resolution, crs), tuple(names), kind, resampling)
    scenes.known = read_cube(steps, how, scenes.path, remote, report, skip_failed, workers, scheduler)
