"""Simulate a sample archive: what the pipeline runs on with no network, and whose truth the tests know.

The archive has the form of a real one (a static STAC catalog of COGs as Earth Search publishes them, and a CORINE
raster) so that every other component reads it as it would read real data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from components.contract import Ge, Le, Output, Unit, component

if TYPE_CHECKING:
    from components.artifacts import Archive


@component(image="data")
def simulate(
    archive: Output[Archive],
    *,
    size: Annotated[int, Ge(120), Le(10980), Unit("pixels of 10 m")] = 2048,
    dates: Annotated[int, Ge(1), Le(40)] = 6,
    seed: Annotated[int, Ge(0)] = 0,
    cloud_cover: Annotated[float, Ge(0.0), Le(0.9)] = 0.35,
    truth: bool = True,
    workers: Annotated[int | None, Ge(1)] = None,
) -> None:
    """Simulate an archive of Sentinel-2 scenes over a piece of Iceland, with its CORINE labels.

    Args:
        archive: the folder to write: catalog.json, sentinel-2-l2a/, corine.tif, truth/.
        size: width and height of the scenes; 2048 is 20 km, 10980 a whole Sentinel-2 tile.
        dates: number of acquisitions, spread over the summers of 2020 and 2023.
        seed: another seed makes another land under other clouds.
        cloud_cover: mean share of each scene under clouds; from four dates on, one more is wholly overcast.
        truth: also write the true reflectance of each acquisition, which tests need and which is half the bytes.
        workers: threads; all cores if not given.
    """
    from components.simulate.write import write_archive

    write_archive(archive, size=size, dates=dates, seed=seed, cloud_cover=cloud_cover, truth=truth, workers=workers)
