"""A legend: a nomenclature and the values of a source that stand for its classes, read from a small YAML.

The YAML has `name`, `classes` (each with `code`, `name`, `colour` and `values`, by default the code itself),
optionally `ignore` (values known to have no class here) and `scheme: corine`, which says that values are CORINE
level-3 codes: grid codes are then understood too, and what is no CORINE code at all is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, SupportsFloat

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from components.artifacts.nomenclature import IGNORE, LandClass, Nomenclature
from components.errors import GeoductError, nearest
from components.label import corine

SHIPPED = Path(__file__).parent / "nomenclatures"

Value = int | str
"""A value of a source: a whole number, or the text of a vector's column."""


def value_of(found: SupportsFloat | str | None) -> Value | None:
    """Bring a value to one form: `311`, `311.0` and `"311"` are the number 311; other text stays; None is no value."""
    if found is None or found != found:
        return None
    if isinstance(found, str):
        text = found.strip()
        return int(text) if text.lstrip("-").isdecimal() else text or None
    number = float(found)
    return int(number) if number.is_integer() else str(found)


Text = Annotated[str, BeforeValidator(lambda found: str(found) if isinstance(found, int) else found)]


class _Class(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: Text
    name: Text
    colour: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")
    values: list[Value] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Text
    scheme: Literal["plain", "corine"] = "plain"
    classes: list[_Class] = Field(min_length=1, max_length=IGNORE - 1)
    ignore: list[Value] = []


@dataclass(frozen=True)
class Legend:
    """A nomenclature, the class index of each mapped value, and the values known to have no class."""

    nomenclature: Nomenclature
    index: Mapping[Value, int]
    ignored: frozenset[Value]
    corine: bool

    def knows(self, value: Value) -> bool:
        """Whether the value is mapped, or known to be ignored."""
        return value in self.index or value in self.ignored or (self.corine and value in corine.CODES)

    def resolve(self, values: Iterable[Value], where: str) -> tuple[dict[Value, int], str]:
        """Class index (255 = ignore) of each of the values that occur in `where`, and in words what they are.

        Raises:
            GeoductError: the legend reads CORINE and a value is no CORINE code.
        """
        found = list(values)
        if not self.corine:
            return {v: self.index.get(v, IGNORE) for v in found}, f"codes of {self.nomenclature.name}"
        style, strange = corine.style_of(found)
        if strange:
            shown = ", ".join(str(v) for v in sorted(strange, key=str)[:5]) + (", …" if len(strange) > 5 else "")
            raise GeoductError(
                f"{where}: {len(strange)} of {len(found)} distinct values are no CORINE code ({shown}); expected "
                f"{style or f'{corine.GRID} or {corine.PLAIN}'}"
            )
        grid = style == corine.GRID
        numbers = [v for v in found if isinstance(v, int) and v not in corine.UNCLASSIFIED]
        mapped: dict[Value, int] = {v: self.index.get(corine.CODES[v - 1] if grid else v, IGNORE) for v in numbers}
        return {**dict.fromkeys(found, IGNORE), **mapped}, f"CORINE {style or 'without a class'}"


def shown(value: Value, style: str) -> str:
    """A value as the reader knows it: a CORINE grid code is shown by the level-3 code that it stands for."""
    if style == f"CORINE {corine.GRID}" and isinstance(value, int) and 1 <= value <= len(corine.CODES):
        return str(corine.CODES[value - 1])
    return str(value)


def shipped() -> list[str]:
    """Names of the nomenclatures that come with Geoduct."""
    return sorted(p.stem for p in SHIPPED.glob("*.yaml"))


def load_legend(name: str) -> Legend:
    """Read a shipped nomenclature by name, or one's own by the path of its YAML.

    Raises:
        GeoductError: the name is unknown (the nearest is named), or the file breaks the schema (the field is named).
    """
    if name in shipped():
        return _read(SHIPPED / f"{name}.yaml")
    path = Path(name)
    if path.is_file():
        return _read(path)
    if path.suffix in (".yaml", ".yml") or "/" in name:
        raise GeoductError(f"--nomenclature {name} does not exist; expected a YAML file or one of {_list(shipped())}")
    raise GeoductError(f"--nomenclature {name!r} is unknown{nearest(name, shipped())}; a path of a YAML is taken too")


def _read(path: Path) -> Legend:
    try:
        stored = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GeoductError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    try:
        file = _File.model_validate(stored)
    except ValidationError as error:
        first = error.errors()[0]
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        raise GeoductError(f"{path}: {field or 'the file'}: {first['msg']}; found {first['input']!r:.80}") from None
    nomenclature = Nomenclature(file.name, tuple(LandClass(c.code, c.name, c.colour.lower()) for c in file.classes))
    index: dict[Value, int] = {}
    for number, entry in enumerate(file.classes):
        for found in [entry.code] if entry.values is None else entry.values:
            value = value_of(found)
            if value is None or value in index or value in file.ignore:
                raise GeoductError(f"{path}: classes[{number}].values: {found!r} is listed twice or empty")
            if file.scheme == "corine" and value not in corine.CODES:
                raise GeoductError(
                    f"{path}: classes[{number}].values: {found!r} is no CORINE level-3 code (111 to 523)"
                )
            index[value] = number
    ignored = frozenset(v for v in map(value_of, file.ignore) if v is not None)
    return Legend(nomenclature, index, ignored, file.scheme == "corine")


def _list(names: list[str]) -> str:
    return ", ".join(names)
