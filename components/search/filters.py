"""The filters by which scenes are chosen, as parameters: declared once for every component that searches."""

from __future__ import annotations

from typing import Annotated

from components.parameters import Ge, Le, Unit

Bbox = Annotated[tuple[float, float, float, float] | None, Unit("degrees: west south east north")]
MaxCloud = Annotated[float, Ge(0), Le(100), Unit("percent")]
MaxScenes = Annotated[int | None, Ge(1)]
