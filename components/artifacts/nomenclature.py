"""A nomenclature: the ordered classes of a label. It travels with every artifact that holds class indices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from components.errors import GeoductError

IGNORE = 255
"""Class index of a pixel that has no label: left out of training, statistics and scores."""

_COLOUR = re.compile(r"^#[0-9a-fA-F]{6}$")


@dataclass(frozen=True, slots=True)
class LandClass:
    """One class: its `code` in the nomenclature's own numbering, its name, and its colour as `#rrggbb`."""

    code: str
    name: str
    colour: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green, blue, each 0 to 255."""
        return int(self.colour[1:3], 16), int(self.colour[3:5], 16), int(self.colour[5:7], 16)


@dataclass(frozen=True)
class Nomenclature:
    """Classes in order: a class's index is its position here, 0 to at most 254.

    Raises:
        GeoductError: no class, too many, a code twice, or a colour that is not `#rrggbb`.
    """

    name: str
    classes: tuple[LandClass, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) < IGNORE:
            raise GeoductError(
                f"nomenclature {self.name!r} has {len(self.classes)} classes; expected 1 to {IGNORE - 1}"
            )
        codes = [c.code for c in self.classes]
        if twice := sorted({c for c in codes if codes.count(c) > 1}):
            raise GeoductError(f"nomenclature {self.name!r} lists code {twice[0]!r} twice")
        for c in self.classes:
            if not _COLOUR.match(c.colour):
                raise GeoductError(f"nomenclature {self.name!r}, class {c.code!r}: colour {c.colour!r} is not #rrggbb")

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[LandClass]:
        return iter(self.classes)

    @property
    def codes(self) -> list[str]:
        """Codes in class order."""
        return [c.code for c in self.classes]

    @property
    def names(self) -> list[str]:
        """Names in class order."""
        return [c.name for c in self.classes]

    def to_dict(self) -> dict[str, Any]:
        """As stored in attributes and `model.json`."""
        return {
            "name": self.name,
            "classes": [{"code": c.code, "name": c.name, "colour": c.colour} for c in self.classes],
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Nomenclature:
        """Read what `to_dict` wrote.

        Raises:
            GeoductError: a field is missing.
        """
        try:
            classes = tuple(LandClass(str(c["code"]), str(c["name"]), str(c["colour"])) for c in stored["classes"])
            return cls(str(stored["name"]), classes)
        except (KeyError, TypeError) as error:
            raise GeoductError(
                f"a nomenclature needs a name and classes of code, name and colour; {error} is wrong"
            ) from None
