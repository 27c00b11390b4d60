"""What components that search have in common, as parameters: filters of scenes, and patience with servers."""

from __future__ import annotations

from typing import Annotated

from components.parameters import Ge, Gt, Le, Unit

Bbox = Annotated[tuple[float, float, float, float] | None, Unit("degrees: west south east north")]
MaxCloud = Annotated[float, Ge(0), Le(100), Unit("percent")]
MaxScenes = Annotated[int | None, Ge(1)]

Retries = Annotated[int, Ge(0), Le(20)]
Timeout = Annotated[float, Gt(0), Unit("seconds")]
