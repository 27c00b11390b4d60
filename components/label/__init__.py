"""The component `label`: any land-cover raster or vector, read through a nomenclature, onto the grid of a Composite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from components.contract import File, Ge, Input, Output, Unit, component

if TYPE_CHECKING:
    from components.artifacts import Composite, LabelMap, Source


@component(image="data")
def label(
    composite: Input[Composite],
    source: Input[Source],
    labels: Output[LabelMap],
    *,
    nomenclature: Annotated[str, File()] = "corine-2",
    resampling: Literal["nearest", "majority"] = "nearest",
    attribute: str | None = None,
    layer: str | None = None,
    workers: Annotated[int | None, Ge(1), Unit("threads")] = None,
) -> None:
    """Bring a land-cover raster or vector onto the grid of a composite.

    Classes are never interpolated. What the nomenclature does not map, and what lies outside the source, is ignored.

    Args:
        composite: whose grid the labels get
        source: a raster (CORINE, or any that GDAL reads) or a vector (GeoPackage, GeoJSON, shapefile, GeoParquet)
        labels: the class of each pixel
        nomenclature: corine-1, corine-2, corine-3, bigearthnet-19, scl-land-cover, or the path of your own YAML
        resampling: the class at the pixel's centre, or the most frequent one where the source is finer than the grid
        attribute: column of a vector that holds the class; found by its values if there is only one such
        layer: layer of a vector with several
        workers: threads; all cores if none
    """
    from components.label.legend import load_legend
    from components.label.write import write_labels

    write_labels(
        labels.path,
        composite.geobox,
        source.location,
        load_legend(nomenclature),
        majority=resampling == "majority",
        attribute=attribute,
        layer=layer,
        workers=workers,
    )
