"""The component `patch`: a labelled scene cut into patches, split by spatial blocks so that no score is flattered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from components.contract import Ge, Gt, Input, Le, Output, Unit, component

if TYPE_CHECKING:
    from components.artifacts import Composite, LabelMap, PatchSet


@component(image="data")
def patch(
    composite: Input[Composite],
    labels: Input[LabelMap],
    patches: Output[PatchSet],
    *,
    size: Annotated[int, Ge(8), Unit("pixels")] = 224,
    stride: Annotated[int, Ge(1), Unit("pixels")] = 224,
    split: Annotated[tuple[float, float, float], Ge(0), Le(1)] = (0.70, 0.15, 0.15),
    block: Annotated[float, Gt(0), Unit("metres")] = 2240.0,
    buffer: Annotated[float | None, Ge(0), Unit("metres")] = None,
    min_valid: Annotated[float, Ge(0), Le(1)] = 0.75,
    rare: Literal["fail", "ignore"] = "fail",
    seed: Annotated[int, Ge(0)] = 0,
    workers: Annotated[int | None, Ge(1), Unit("threads")] = None,
) -> None:
    """Cut a labelled scene into patches and split them by spatial blocks.

    The scene is cut into square blocks and each block goes to train, val or test. A patch is kept if it lies wholly
    in blocks of one split and keeps its distance: no pixel of a train patch lies within the buffer of a val or test
    block, and no pixel of a val patch within the buffer of a test block (measured along rows and columns, which is
    the stricter way). The other patches are discarded. Blocks are assigned by a seeded search that brings the kept
    patches close to the asked shares and the classes into every split, and discards little.

    Args:
        composite: the scene
        labels: its labels, on the same grid
        patches: image and label of each patch, an index, the statistics of the train patches
        size: edge of a patch
        stride: distance between patches; less than size makes them overlap (never across splits)
        split: shares of the kept patches for train, val and test; they sum to 1
        block: edge of the blocks of the spatial split
        buffer: distance that splits keep; one patch width if none
        min_valid: least share of a patch that has both pixels and labels
        rare: what to do about a class that no train patch holds; fail, or ignore its pixels
        seed: of the search for the split
        workers: threads; all cores if none
    """
    from components.patch.plan import Request
    from components.patch.write import write_patches

    request = Request(size, stride, split, block, buffer, min_valid, rare, seed)
    write_patches(patches.path, composite, labels, request, workers=workers)
