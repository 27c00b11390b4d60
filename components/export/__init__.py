"""export: a trained network for machines without Geoduct, as ONNX and torch.export, checked against the original."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from components.contract import Ge, Gt, Input, Le, Output, component

if TYPE_CHECKING:
    from components.artifacts import Export, Model


@component(image="learn")
def export(
    model: Input[Model],
    exported: Output[Export],
    *,
    sizes: Literal["any", "patch"] = "any",
    opset: Annotated[int, Ge(18), Le(23)] = 18,
    tolerance: Annotated[float, Gt(0), Le(0.1)] = 1e-4,
    seed: Annotated[int, Ge(0)] = 0,
) -> None:
    """Export a model to ONNX and torch.export.

    Both files take pixels as stored, uint16 DN (batch, band, y, x) with 0 = nodata, and give logits: normalisation is
    part of the network, so there is nothing to get wrong. The batch may have any number of patches, and images any
    size that export.json allows; a network that takes one size alone, and any of TerraTorch's, is exported for the size
    of its patches. Both are run on random pixels of several shapes, some of them nodata, beside the model itself. A
    difference beyond the tolerance ends the run, and nothing is published.

    Args:
        model: the model to export
        exported: model.onnx, model.pt2, and export.json that says what goes in and comes out
        sizes: of images: any that the network can be exported for, or that of the patches alone, which is quicker
        opset: version of the ONNX operators; older runtimes know fewer
        tolerance: largest difference of a logit that is allowed, as a share of the largest logit
        seed: of the random pixels
    """
    from components.export.write import write_export

    write_export(model, exported.path, any_size=sizes == "any", opset=opset, tolerance=tolerance, seed=seed)
