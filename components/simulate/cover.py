"""What covers the ground: the share of each material in each pixel, what of it changes with the season, and its light.

A class is recognisable by its pattern more than by its colour, as on the real ground. Bare fields have the colour of
bare rock, hay fields that of cereals in July; a town is asphalt, roofs and gardens pixel by pixel; bog and heath share
their plants and differ by the bog's pools. A classifier that sees one pixel at a time must err here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.simulate.land import (
    ARABLE,
    BOG,
    CONIFER,
    GLACIER,
    ICE_LINE,
    LAKE,
    MOOR,
    PASTURE,
    ROCK,
    SEA,
    SEA_LEVEL,
    URBAN,
    Land,
    parcels,
)
from components.simulate.noise import Floats, Grid, Hashes, fractal, key_of, normal, ramp, uniform
from components.simulate.spectra import SPECTRA

Mask = npt.NDArray[np.bool_]
F = np.float32
NEVER = 999.0
"""A day that does not come."""


@dataclass(frozen=True)
class Cover:
    """The ground in a window; every array is `(y, x)` float32."""

    still: dict[str, Floats]
    """Shares of the materials that do not change with the season."""
    crop: Floats
    """Share of the pixel that is field, green or not as the calendar has it."""
    sown: Floats
    """Day of the year around which a field turns green."""
    cut: Floats
    """Day of the year around which it turns bare or yellow."""
    bare: Floats
    """How much of a field that is not green shows soil; the rest is straw."""
    sedge: Floats
    """Share of bog plants."""
    heath: Floats
    """Share of dwarf shrubs."""
    frost: Floats
    """Height with a jitter, to be compared with the snow line."""
    shade: Floats
    """Brightness of the ground's texture, around 1."""
    slope: tuple[Floats, Floats]
    """Rise to the south and to the east, in metres a metre."""
    wet: Floats
    """Share of open water; water shows no relief."""


def _bit(hashes: Hashes, shift: int) -> Floats:
    """A uniform number in [0, 1) from eight bits of a hash."""
    return ((hashes >> np.uint32(shift)) & np.uint32(255)).astype(np.float32) * np.float32(1.0 / 256.0)


class _Palette:
    """The window's noise and what has been laid on it so far, class by class."""

    def __init__(self, grid: Grid, seed: int, land: Land) -> None:
        self.grid, self.seed, self.land = grid, seed, land
        self.fine = normal(self.key("fine"), grid.rows, grid.columns)
        self.grain = grid.smooth(self.key("grain"), 3.2)
        self.clump = grid.smooth(self.key("clump"), 9.0)
        self.patchy = fractal(grid, self.key("patchy"), 36.0, 2)
        self.broad = grid.smooth(self.key("broad"), 130.0)
        shape = self.fine.shape
        self.shares = {m: np.zeros(shape, np.float32) for m in (*SPECTRA, "crop")}
        self.sown = np.full(shape, 128.0, np.float32)
        self.cut = np.full(shape, 290.0, np.float32)
        self.bare = np.zeros(shape, np.float32)

    def key(self, name: str) -> int:
        return key_of(self.seed, name)

    def put(self, where: Mask, **materials: Floats | float) -> None:
        """Set the shares of materials at the pixels `where`; the others keep what they have there."""
        for material, share in materials.items():
            np.copyto(self.shares[material], np.asarray(share, np.float32), where=where)

    def till(self, where: Mask, sown: Floats, cut: Floats, bare: Floats | float) -> None:
        """Set the calendar of the fields at the pixels `where`."""
        np.copyto(self.sown, sown, where=where)
        np.copyto(self.cut, cut, where=where)
        np.copyto(self.bare, np.asarray(bare, np.float32), where=where)


def _lay_fields(p: _Palette, here: Mask) -> None:
    """Small parcels: half of them cereals, the rest fallow all year or grass cut for hay."""
    field, edge = parcels(p.grid, p.seed, p.land.region, 27.0, 12.0, "field")
    kind, draw, later = _bit(field, 0), _bit(field, 8), _bit(field, 16)
    cereal, fallow = kind < 0.50, (kind >= 0.50) & (kind < 0.74)
    sown = np.where(cereal, F(152) + F(22) * draw, F(118) + F(12) * draw)
    cut = np.where(cereal, F(226) + F(26) * later, F(185) + F(90) * later)
    bare = np.where(cereal | fallow, F(0.75) + F(0.25) * draw, F(0.2))
    p.till(here, np.where(fallow, F(NEVER), sown), cut, bare)
    bank = F(1) - ramp(edge, 0.3, 1.1)
    p.put(here, crop=F(1) - F(0.7) * bank, peat=F(0.25) * bank, heath=F(0.45) * bank)


def _lay_pasture(p: _Palette, here: Mask) -> None:
    """Wide parcels, all grass, some grazed short or cut; a hedge between them."""
    meadow, edge = parcels(p.grid, p.seed, p.land.region, 70.0, 48.0, "meadow")
    cut = np.where(_bit(meadow, 16) < 0.3, F(195) + F(50) * _bit(meadow, 24), F(292))
    p.till(here, F(122) + F(14) * _bit(meadow, 8), cut, 0.12)
    grazed = np.clip(F(0.16) + F(0.10) * p.patchy + F(0.22) * _bit(meadow, 0), F(0), F(1))
    p.put(here, crop=F(1) - grazed, straw=grazed * F(0.7), soil=grazed * F(0.3))
    p.put(here & (edge < 0.55), crop=0.5, heath=0.5, straw=0.0, soil=0.0)


def _lay_town(p: _Palette, here: Mask) -> None:
    """Streets around blocks of houses with gardens, here and there a park."""
    block, street = parcels(p.grid, p.seed, p.land.region, 13.0, 8.0, "street")
    lot = uniform(p.key("lot"), p.grid.rows // 2, p.grid.columns // 2)
    tint = _bit(block, 8)
    roof: Floats = (lot < 0.34).astype(np.float32)
    built: Floats = ramp(street, 0.5, 1.2)
    yard: Floats = built * (F(1) - roof)
    p.put(
        here,
        asphalt=F(1) - built + yard * F(0.15),
        roof=built * roof * (F(0.15) + F(0.55) * tint),
        rock=built * roof * (F(0.85) - F(0.55) * tint),
        crop=yard * F(0.65),
        conifer=yard * F(0.20),
    )
    p.put(here & ((p.patchy > 1.5) | (_bit(block, 0) < 0.06)), asphalt=0, roof=0, rock=0, crop=0.85, conifer=0.15)


def _lay_forest(p: _Palette, here: Mask) -> None:
    """Crowns and gaps at pixel scale, clearings."""
    crown = np.clip(F(0.82) + F(0.20) * p.grain + F(0.10) * p.fine, F(0.3), F(1))
    p.put(here, conifer=crown, heath=(F(1) - crown) * F(0.7), peat=(F(1) - crown) * F(0.3))
    p.put(here & (p.patchy > 1.75), conifer=0.25, heath=0.5, straw=0.25, peat=0)


def _lay_moor(p: _Palette, here: Mask) -> None:
    """Dwarf shrubs over sedge and grass, with stony ground showing through."""
    stony = ramp(p.patchy + F(0.35) * p.fine, 0.7, 1.9) * F(0.75)
    shrub = np.clip(F(0.62) + F(0.14) * p.clump, F(0), F(1)) * (F(1) - stony)
    rest = F(1) - stony - shrub
    p.put(here, heath=shrub, sedge=rest * F(0.75), straw=rest * F(0.25), rock=stony)


def _lay_bog(p: _Palette, here: Mask) -> None:
    """The plants of the moor on peat, with pools."""
    pool = ramp(p.clump + F(0.35) * p.grain, 0.85, 1.35) * F(0.9)
    hummock = np.clip(F(0.5) + F(0.16) * p.grain, F(0), F(1))
    hollow = (F(1) - pool) * (F(1) - hummock)
    p.put(here, water=pool, sedge=(F(1) - pool) * hummock, heath=hollow * F(0.55), peat=hollow * F(0.45))


def _lay_rock(p: _Palette, here: Mask) -> None:
    """Lava and scree with moss in the hollows."""
    moss = ramp(p.patchy + F(0.3) * p.clump, 0.3, 1.9) * F(0.7)
    stone = F(1) - moss
    p.put(here, rock=stone * F(0.8), soil=stone * F(0.2), sedge=moss * F(0.6), heath=moss * F(0.4))


def _lay_ice(p: _Palette, here: Mask) -> None:
    """Ice, dirty along its rim and in bands, under old snow higher up."""
    rim = F(1) - ramp(p.land.height, ICE_LINE - 0.02, ICE_LINE + 0.13)
    dirt = np.clip(F(0.45) * rim + F(0.10) * ramp(p.clump + p.grain, 0.9, 2.2), F(0), F(0.75))
    firn = ramp(p.land.height + F(0.05) * p.patchy, ICE_LINE + 0.10, ICE_LINE + 0.42)
    p.put(here, ice=(F(1) - dirt) * (F(1) - firn), snow=(F(1) - dirt) * firn, rock=dirt)


def _lay_sea(p: _Palette, here: Mask) -> None:
    """Water that clears with its depth."""
    shoal = ramp(p.land.height, SEA_LEVEL - 0.28, SEA_LEVEL + 0.02) * F(0.24)
    plume = np.clip(shoal + F(0.05) * p.broad + F(0.02) * p.clump, F(0), F(0.5))
    p.put(here, silt=plume, water=F(1) - plume)


def _lay_lake(p: _Palette, here: Mask) -> None:
    """Water with a milk of glacial silt, more in one lake than in another."""
    milk = np.clip(F(0.46) + F(0.14) * p.broad + F(0.03) * p.clump, F(0.06), F(1))
    p.put(here, silt=milk, water=F(1) - milk)


LAYERS: dict[int, Callable[[_Palette, Mask], None]] = {
    URBAN: _lay_town,
    ARABLE: _lay_fields,
    PASTURE: _lay_pasture,
    CONIFER: _lay_forest,
    MOOR: _lay_moor,
    ROCK: _lay_rock,
    GLACIER: _lay_ice,
    BOG: _lay_bog,
    LAKE: _lay_lake,
    SEA: _lay_sea,
}
"""Grid code → what lays its materials."""


def cover(grid: Grid, seed: int, land: Land) -> Cover:
    """Lay the materials over the land."""
    p = _Palette(grid, seed, land)
    for code, lay in LAYERS.items():
        here = land.classes == code
        if here.any():
            lay(p, here)
    # A river crosses them all.
    dry = F(1) - land.river - land.gravel
    shares = p.shares
    for share in shares.values():
        share *= dry
    shares["silt"] += land.river * F(0.55)
    shares["water"] += land.river * F(0.45)
    shares["rock"] += land.gravel * F(0.9)

    wet = shares["water"] + shares["silt"]
    texture = F(0.045) * p.fine + F(0.06) * p.grain + F(0.035) * p.patchy + F(0.05) * p.broad
    south, east = np.zeros_like(land.metres), np.zeros_like(land.metres)
    south[1:-1] = (land.metres[2:] - land.metres[:-2]) * F(1.0 / 20.0)
    east[:, 1:-1] = (land.metres[:, 2:] - land.metres[:, :-2]) * F(1.0 / 20.0)
    return Cover(
        still={m: s for m, s in shares.items() if m not in ("crop", "sedge", "heath")},
        crop=shares["crop"],
        sown=p.sown,
        cut=p.cut,
        bare=p.bare,
        sedge=shares["sedge"],
        heath=shares["heath"],
        frost=land.height + F(0.10) * p.patchy,
        shade=np.clip(F(1) + texture * (F(1) - F(0.6) * wet), F(0.6), F(1.5)),
        slope=(south, east),
        wet=wet,
    )


def season(ground: Cover, day: float) -> dict[str, Floats]:
    """Shares of the materials that change with the season, on a day of the year, on top of `ground.still`.

    Greenness rises and falls as a logistic curve in time (Zhang et al., Remote Sensing of Environment 84, 2003), here
    its cubic likeness. `snow` is what lies over all else: the caller dims the rest by it.
    """
    green = ramp(F(day) - ground.sown, -18.0, 22.0)
    green *= F(1) - ramp(F(day) - ground.cut, -6.0, 10.0)
    field = ground.crop * (F(0.12) * (F(1) - ground.bare) + F(0.86) * green)
    idle = ground.crop - field
    # Wild plants green up later and turn yellow from August.
    now = np.array([day], np.float32)
    summer = float((ramp(now, 130.0, 178.0) * (1.0 - 0.6 * ramp(now, 222.0, 268.0)))[0])
    sedge = ground.sedge * F(0.45 + 0.55 * summer)
    heath = ground.heath * F(0.75 + 0.25 * summer)
    soil = idle * ground.bare
    line = 0.86 + 0.9 * float(ramp(now, 135.0, 195.0)[0])
    return {
        "grass": field,
        "straw": (idle - soil) + (ground.sedge - sedge) + (ground.heath - heath) * F(0.4),
        "soil": soil,
        "peat": (ground.heath - heath) * F(0.6),
        "sedge": sedge,
        "heath": heath,
        "snow": ramp(ground.frost, line, line + 0.12) * (F(1) - ground.wet) * F(0.92),
    }
