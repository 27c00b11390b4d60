"""The component `search`: find the scenes that a STAC catalog holds of a place and a time, and write down which.

`area` and `query` check what is asked for, `catalog` finds the items, `select` chooses among them (`acquisitions`,
`cloud`), `listing` and `page` tell them. `acquire` searches with
the same code; a list made here lets many runs read the same scenes, and one run read scenes chosen earlier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from components.contract import Ge, Input, Le, Output, component
from components.search.filters import Bbox, MaxCloud, MaxScenes, Retries, Timeout

if TYPE_CHECKING:
    from components.artifacts import SceneList, Source


@component(image="data")
def search(
    catalog: Input[Source],
    scenes_list: Output[SceneList],
    aoi: Input[Source] | None = None,
    *,
    collection: str | None = None,
    bbox: Bbox = None,
    start: str | None = None,
    end: str | None = None,
    max_cloud: MaxCloud = 100.0,
    max_scenes: MaxScenes = None,
    max_cloud_aoi: MaxCloud = 100.0,
    tiles: tuple[str, ...] | None = None,
    orbits: Annotated[tuple[int, ...] | None, Ge(1), Le(143)] = None,
    min_baseline: str | None = None,
    one_per_day: bool = False,
    retries: Retries = 8,
    timeout: Timeout = 30.0,
) -> None:
    """Find scenes in a STAC catalog and list them.

    The list is what `acquire --catalog` reads instead of searching anew. It names the assets where they lie, by
    absolute paths or URLs, and holds no pixels: it may be moved, the assets may not.

    Args:
        catalog: a STAC API, a file with an API's landing page, a static catalog, collection or item file, a file of
            stac-geoparquet, a SceneList, Sentinel-2 Level-2A products as downloaded (one .SAFE folder or many in one),
            or gee for Google Earth Engine
        scenes_list: the scenes found, as a STAC ItemCollection
        aoi: GeoJSON polygon in longitude and latitude; scenes that meet it are listed
        collection: the collection to search; needed where items of several match; of gee, COPERNICUS/S2_SR_HARMONIZED
            unless named
        bbox: scenes that meet this box are listed; without bbox and aoi, scenes of everywhere
        start: first day, YYYY-MM-DD
        end: last day, YYYY-MM-DD
        max_cloud: most cloud over a whole item, as its eo:cloud_cover says; below 100, items that do not say are
            left out
        max_scenes: at most so many acquisitions, evenly spread in time from the first match to the last; none takes
            all
        max_cloud_aoi: most cloud over bbox or aoi, as the scene classification shows it at a coarse resolution; below
            100, acquisitions without a valid pixel there are left out
        tiles: of the MGRS grid, such as 27WVM; none takes all
        orbits: relative orbits; none takes all
        min_baseline: oldest processing baseline to take, such as 04.00
        one_per_day: take only the clearest acquisition of a day
        retries: how often a request to a server is made again before it counts as failed, each time after a longer wait
        timeout: how long a server may keep us waiting before the request counts as lost
    """
    from components.artifacts.scenelist import write_scenelist
    from components.remote.access import connect
    from components.search.area import area_of
    from components.search.catalog import find
    from components.search.listing import table
    from components.search.page import page
    from components.search.query import Query

    area = area_of(bbox, aoi)
    query = Query.parse(
        collection,
        area,
        start,
        end,
        max_cloud,
        max_scenes,
        tiles=tiles,
        orbits=orbits,
        min_baseline=min_baseline,
        one_per_day=one_per_day,
        max_cloud_aoi=max_cloud_aoi,
    )
    items = find(catalog.location, query, connect(retries, timeout)).items
    write_scenelist(scenes_list.path, items, page(items, area))
    print(table(items))
