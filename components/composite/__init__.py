"""The component `composite`: mask clouds and reduce scenes over time to one image.

`clear` says which looks count, `reduce` makes one value of them, `stream` carries both over a cube of any size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from components.contract import Ge, Input, Le, Output, Unit, component

if TYPE_CHECKING:
    from components.artifacts import Composite, SceneCube


@component(image="data")
def composite(
    scenes: Input[SceneCube],
    composite: Output[Composite],
    *,
    reduction: Literal["median", "best"] = "median",
    mask_classes: Annotated[tuple[int, ...], Ge(0), Le(11)] = (0, 1, 3, 8, 9, 10),
    dilation: Annotated[int, Ge(0), Le(100), Unit("pixels")] = 3,
    periods: tuple[str, ...] | None = None,
    workers: Annotated[int | None, Ge(1)] = None,
    scheduler: str | None = None,
) -> None:
    """Reduce scenes to one cloud-free image, or one a period, from the clear looks at each pixel.

    A look is clear if its mask says so, no cloud or cloud shadow lies within the dilation, and every band is valid.
    Where no look is clear the result is nodata (0); `observations` says how many there were, 255 meaning 255 or more.

    With periods the scenes of each are reduced on their own, and the image holds all bands of the first period, then
    those of the second: B02@1, B03@1, and so on to B02@2. Scenes of other days are left out. `observations` then counts
    the looks of the period that has the fewest at a pixel, so that 0 means nodata in one of them at least.

    Args:
        scenes: what acquire read
        composite: the image
        reduction: median takes each band's median of the clear looks; best takes the one look nearest to that median,
            all bands from the same acquisition
        mask_classes: classes of the scene classification that are not clear (add 11 to leave out snow); a clm mask has
            one, 1
        dilation: radius by which clouds (8, 9, 10) and cloud shadows (3) that are masked grow, as a disk
        periods: an image for each of these, written START/END with days as YYYY-MM-DD, both included, in order of time;
            none makes one image of all scenes
        workers: blocks of 2048 x 2048 pixels reduced at a time; none is one a core
        scheduler: address of a dask cluster to reduce with, such as tcp://login:8786; none reduces with threads
    """
    from components.composite.stream import compose

    compose(scenes, composite.path, reduction, mask_classes, dilation, periods, workers, scheduler)
