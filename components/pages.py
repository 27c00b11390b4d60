"""Pages for people: one template a page, filled in strictly, with everything from outside escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def render(template: Path, **context: Any) -> str:
    """The page that a Jinja template makes of `context`.

    It may include its neighbours, and another component's templates by their path below `components`. A name that the
    template uses and `context` lacks is an error, not a gap.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page: str = environment.get_template(template.name).render(context)
    return page
