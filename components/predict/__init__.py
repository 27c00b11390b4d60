"""The component `predict`: a land-cover map of a composite of any size.

`tiles` places overlapping tiles, `reading` gathers them into batches, `blending` makes one map of their answers,
`pipeline` runs the three beside each other; `item` and `quicklook` describe the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from components.contract import Ge, Input, Le, Output, Unit, component

if TYPE_CHECKING:
    from components.artifacts import Composite, Map, Model


@component(image="learn")
def predict(
    model: Input[Model],
    composite: Input[Composite],
    map: Output[Map],
    *,
    tile: Annotated[int | None, Ge(16), Unit("pixels")] = None,
    overlap: Annotated[float, Ge(0), Le(0.75), Unit("fraction of a tile")] = 0.25,
    batch_size: Annotated[int, Ge(1)] = 16,
    precision: Literal["32", "bf16"] = "32",
) -> None:
    """Map a composite of any size with a model.

    The scene is predicted in overlapping tiles, whose probabilities are blended with smooth weights that sum to 1, in
    memory that does not grow with the scene. Pixels are normalised with the model's own statistics. A pixel that is
    nodata in any band of the model is nodata (255) in the map.

    Args:
        model: what train or finetune wrote
        composite: the image; must have the model's bands, in any order
        map: classes, confidence, STAC item and quicklook
        tile: edge of a tile, at least the model's patch size; none is that size
        overlap: fraction of a tile that neighbouring tiles share, at least
        batch_size: tiles that the network is given at a time, at most
        precision: bf16 computes in bfloat16 where torch deems it safe; faster on processors that have it
    """
    from components.predict.run import predict_map

    predict_map(model, composite, map, tile=tile, overlap=overlap, batch_size=batch_size, precision=precision)
