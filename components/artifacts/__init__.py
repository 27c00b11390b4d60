"""The artifacts: what flows between components. Importing this package is cheap; each kind is imported when used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.artifacts.archive import Archive as Archive
    from components.artifacts.base import Artifact as Artifact
    from components.artifacts.composite import Composite as Composite
    from components.artifacts.export import Export as Export
    from components.artifacts.labelmap import LabelMap as LabelMap
    from components.artifacts.map import Map as Map
    from components.artifacts.mapcollection import MapCollection as MapCollection
    from components.artifacts.model import Model as Model
    from components.artifacts.patchset import PatchSet as PatchSet
    from components.artifacts.report import Comparison as Comparison
    from components.artifacts.report import Report as Report
    from components.artifacts.scenecube import SceneCube as SceneCube
    from components.artifacts.scenelist import SceneList as SceneList
    from components.artifacts.source import Source as Source
    from components.artifacts.weights import Weights as Weights

MODULES = {
    "Archive": "archive",
    "Comparison": "report",
    "Composite": "composite",
    "Export": "export",
    "LabelMap": "labelmap",
    "Map": "map",
    "MapCollection": "mapcollection",
    "Model": "model",
    "PatchSet": "patchset",
    "Report": "report",
    "SceneCube": "scenecube",
    "SceneList": "scenelist",
    "Source": "source",
    "Weights": "weights",
}
"""Kind → the module here that defines it."""


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
