"""A component small enough to see through, for the tests of the contract: it copies a LabelMap, shifted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

from components.contract import File, Ge, Input, Le, Output, Unit, component

if TYPE_CHECKING:
    from components.artifacts import LabelMap


@component(image="data")
def toys(
    source: Input[LabelMap],
    result: Output[LabelMap],
    mask: Input[LabelMap] | None = None,
    *,
    shift: Annotated[int, Ge(0), Le(9), Unit("classes")] = 1,
    share: tuple[float, float] = (0.25, 0.75),
    names: tuple[str, ...] | None = None,
    mode: Literal["keep", "fail", "wait", "fill"] = "keep",
    strict_order: bool = True,
) -> None:
    """Shift the classes of a label map.

    A second paragraph.

    Args:
        source: label map to read
        result: label map to write
        mask: a second label map,
            told over two lines
        shift: how far
        share: two numbers
        names: words
        mode: how to end
        strict_order: a switch
    """
    from components.artifacts.labelmap import create_labelmap
    from components.errors import GeoductError

    label = create_labelmap(result.path, source.geobox, source.nomenclature)
    label[...] = source.array("label")[...] + shift
    if mode == "fail":
        raise GeoductError("the toy was told to fail")
    if mode == "fill":
        (result.path / "filler").write_bytes(b"0" * 64 * 2**20)
    if mode == "wait":
        print("half way", flush=True)
        sys.stdin.read()


@component(image="data", resumable=True)
def resumable(
    source: Input[LabelMap],
    result: Output[LabelMap],
    *,
    wait: bool = False,
    tag: str = "a",
    notes: Annotated[str, File()] = "",
) -> None:
    """Count in how many runs the work was done.

    Args:
        source: label map to read
        result: label map to write
        wait: stop half way and wait to be killed
        tag: tells one run's key from another's
        notes: a file
    """
    from components.artifacts.labelmap import create_labelmap

    runs = result.path / "runs"
    if not result.path.exists():
        create_labelmap(result.path, source.geobox, source.nomenclature)
    runs.write_text(runs.read_text() + "+" if runs.exists() else "+")
    if wait:
        print("half way", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    import json

    name, arguments = sys.argv[1], json.loads(sys.argv[2])
    {"toys": toys, "resumable": resumable}[name].run(arguments)
