"""What covers the ground: the share of each material in each pixel, what of it changes with the season, and its light.

A class is recognisable by its pattern more than by its colour, as on the real ground. Bare fields have the colour of
bare rock, hay fields that of cereals in July; a town is asphalt, roofs and gardens pixel by pixel; bog and heath share
their plants and differ by the bog's pools. A classifier that sees one pixel at a time must err here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
from components.simulate.noise import Floats, Grid, fractal, hashed, key_of, normal, ramp, uniform


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


def _bit(hashes: np.ndarray[tuple[int, ...], np.dtype[np.uint32]], shift: int) -> Floats:
    """A uniform number in [0, 1) from eight bits of a hash."""
    return ((hashes >> np.uint32(shift)) & np.uint32(255)).astype(np.float32) * np.float32(1.0 / 256.0)


def cover(grid: Grid, seed: int, land: Land) -> Cover:
    """Lay the materials over the land."""
    one, zero = np.float32(1), np.float32(0)

    def key(name: str) -> int:
        return key_of(seed, name)

    fine = normal(key("fine"), grid.rows, grid.columns)
    grain = grid.smooth(key("grain"), 3.2)
    clump = grid.smooth(key("clump"), 9.0)
    patchy = fractal(grid, key("patchy"), 36.0, 2)
    broad = grid.smooth(key("broad"), 130.0)
    speck = _bit(hashed(key("speck"), grid.rows, grid.columns), 9)

    # A fringe of a pixel or two of straw and gravel parts land from water.
    shares: dict[str, Floats] = {}

    def put(where: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], **materials: Floats | np.float32 | float) -> None:
        for material, share in materials.items():
            plane = shares.setdefault(material, np.zeros(fine.shape, np.float32))
            plane[where] = (np.broadcast_to(np.asarray(share, np.float32), fine.shape))[where]

    is_a = {
        code: land.classes == code for code in (URBAN, ARABLE, PASTURE, CONIFER, MOOR, ROCK, GLACIER, BOG, LAKE, SEA)
    }

    sown = np.full(fine.shape, 128.0, np.float32)
    cut = np.full(fine.shape, 290.0, np.float32)
    bare = np.zeros(fine.shape, np.float32)

    # Fields: small parcels, half of them cereals, the rest fallow all year or grass cut for hay.
    field, edge = parcels(grid, seed, land.region, 27.0, 12.0, "field")
    kind, draw = _bit(field, 0), _bit(field, 8)
    bank = one - ramp(edge, 0.3, 1.1)
    cereal, fallow = kind < 0.50, (kind >= 0.50) & (kind < 0.74)
    here = is_a[ARABLE]
    sown = np.where(here, np.where(fallow, np.float32(999), np.where(cereal, 152 + 22 * draw, 118 + 12 * draw)), sown)
    cut = np.where(here, np.where(cereal, 226 + 26 * _bit(field, 16), 185 + 90 * _bit(field, 16)), cut)
    bare = np.where(here, np.where(cereal | fallow, 0.75 + 0.25 * draw, 0.2), bare)
    put(here, crop=one - np.float32(0.7) * bank, peat=np.float32(0.25) * bank, heath=np.float32(0.45) * bank)

    # Pasture: wide parcels, all grass, some grazed short or yellow; tussocks.
    meadow, edge = parcels(grid, seed, land.region, 70.0, 48.0, "meadow")
    here = is_a[PASTURE]
    grazed = np.clip(np.float32(0.16) + np.float32(0.10) * patchy + np.float32(0.22) * _bit(meadow, 0), zero, one)
    sown = np.where(here, 122 + 14 * _bit(meadow, 8), sown)
    cut = np.where(here, np.where(_bit(meadow, 16) < 0.3, 195 + 50 * _bit(meadow, 24), 292), cut)
    bare = np.where(here, np.float32(0.12), bare)
    bank = one - ramp(edge, 0.2, 0.9)
    put(here, crop=one - grazed, straw=grazed * np.float32(0.7), soil=grazed * np.float32(0.3))
    put(here & (bank > 0.5), crop=0.5, heath=0.5, straw=0.0, soil=0.0)

    # Towns: streets around blocks of houses with gardens, here and there a park.
    block, street = parcels(grid, seed, land.region, 13.0, 8.0, "street")
    lot = uniform(key("lot"), grid.rows // 2, grid.columns // 2)
    roof = ((lot < 0.36) & (speck < 0.9)).astype(np.float32)
    road = one - ramp(street, 0.5, 1.2)
    here = is_a[URBAN]
    yard = (one - road) * (one - roof)
    put(
        here,
        asphalt=road + yard * np.float32(0.15),
        roof=(one - road) * roof * (np.float32(0.15) + np.float32(0.55) * _bit(block, 8)),
        rock=(one - road) * roof * (np.float32(0.85) - np.float32(0.55) * _bit(block, 8)),
        crop=yard * np.float32(0.65),
        conifer=yard * np.float32(0.20),
    )
    put(here & ((patchy > 1.5) | (_bit(block, 0) < 0.06)), asphalt=0, roof=0, rock=0, crop=0.85, conifer=0.15)

    # Forest: crowns and gaps at pixel scale, clearings.
    here = is_a[CONIFER]
    crown = np.clip(np.float32(0.82) + np.float32(0.20) * grain + np.float32(0.10) * fine, np.float32(0.3), one)
    put(here, conifer=crown, heath=(one - crown) * np.float32(0.7), peat=(one - crown) * np.float32(0.3))
    put(here & (patchy > 1.75), conifer=0.25, heath=0.5, straw=0.25, peat=0)

    # Heath and bog share plants; the bog has pools in strings, the heath has stones.
    here = is_a[MOOR]
    stony = ramp(patchy + np.float32(0.35) * fine, 0.7, 1.9) * np.float32(0.75)
    shrub = np.clip(np.float32(0.62) + np.float32(0.14) * clump, zero, one) * (one - stony)
    put(
        here,
        heath=shrub,
        sedge=(one - stony - shrub) * np.float32(0.75),
        straw=(one - stony - shrub) * np.float32(0.25),
    )
    put(here, rock=stony)
    here = is_a[BOG]
    pool = ramp(clump + np.float32(0.35) * grain, 0.85, 1.35) * np.float32(0.9)
    hummock = np.clip(np.float32(0.5) + np.float32(0.16) * grain, zero, one)
    put(here, water=pool, sedge=(one - pool) * hummock, heath=(one - pool) * (one - hummock) * np.float32(0.55))
    put(here, peat=(one - pool) * (one - hummock) * np.float32(0.45), straw=zero)

    # Lava and scree with moss in the hollows.
    here = is_a[ROCK]
    moss = ramp(patchy + np.float32(0.3) * clump, 0.3, 1.9) * np.float32(0.7)
    put(here, rock=(one - moss) * np.float32(0.8), soil=(one - moss) * np.float32(0.2), sedge=moss * np.float32(0.6))
    put(here, heath=moss * np.float32(0.4))

    # Ice, dirty along its rim and in bands.
    here = is_a[GLACIER]
    rim = one - ramp(land.height, ICE_LINE - 0.02, ICE_LINE + 0.13)
    dirt = np.clip(np.float32(0.45) * rim + np.float32(0.10) * ramp(clump + grain, 0.9, 2.2), zero, np.float32(0.75))
    firn = ramp(land.height + np.float32(0.05) * patchy, ICE_LINE + 0.10, ICE_LINE + 0.42)
    put(here, ice=(one - dirt) * (one - firn), snow=(one - dirt) * firn, rock=dirt)

    # The sea clears with its depth; each lake has its own milk of glacial silt.
    here = is_a[SEA]
    shoal = ramp(land.height, SEA_LEVEL - 0.28, SEA_LEVEL + 0.02) * np.float32(0.30)
    plume = np.clip(shoal + np.float32(0.05) * broad + np.float32(0.02) * clump, zero, np.float32(0.5))
    put(here, silt=plume, water=one - plume)
    here = is_a[LAKE]
    milk = np.clip(np.float32(0.38) + np.float32(0.16) * broad + np.float32(0.03) * clump, np.float32(0.06), one)
    put(here, silt=milk, water=one - milk)

    # A river crosses them all.
    dry = one - land.river - land.gravel
    for material in shares:
        shares[material] *= dry
    shares["silt"] += land.river * np.float32(0.55)
    shares["water"] += land.river * np.float32(0.45)
    shares["rock"] += land.gravel * np.float32(0.9)

    wet = shares["water"] + shares["silt"]
    texture = (
        np.float32(0.045) * fine + np.float32(0.06) * grain + np.float32(0.035) * patchy + np.float32(0.05) * broad
    )
    shade = np.clip(one + texture * (one - np.float32(0.6) * wet), np.float32(0.6), np.float32(1.5))
    south = np.zeros_like(land.metres)
    east = np.zeros_like(land.metres)
    south[1:-1] = (land.metres[2:] - land.metres[:-2]) * np.float32(1.0 / 20.0)
    east[:, 1:-1] = (land.metres[:, 2:] - land.metres[:, :-2]) * np.float32(1.0 / 20.0)
    return Cover(
        still={m: s for m, s in shares.items() if m not in ("crop", "sedge", "heath")},
        crop=shares["crop"],
        sown=sown.astype(np.float32),
        cut=cut.astype(np.float32),
        bare=bare.astype(np.float32),
        sedge=shares["sedge"],
        heath=shares["heath"],
        frost=land.height + np.float32(0.10) * patchy,
        shade=shade,
        slope=(south, east),
        wet=wet,
    )


def season(ground: Cover, day: float) -> dict[str, Floats]:
    """Shares of the materials that change with the season, on a day of the year, on top of `ground.still`.

    Greenness rises and falls as a logistic curve in time (Zhang et al., Remote Sensing of Environment 84, 2003), here
    its cubic likeness. `snow` is what lies over all else: the caller dims the rest by it.
    """
    one = np.float32(1)
    green = ramp(np.float32(day) - ground.sown, -18.0, 22.0)
    green *= one - ramp(np.float32(day) - ground.cut, -6.0, 10.0)
    field = ground.crop * (np.float32(0.12) * (one - ground.bare) + np.float32(0.86) * green)
    idle = ground.crop - field
    # Wild plants green up later and turn yellow from August.
    summer = float(ramp(np.float32([day]), 130.0, 178.0)[0] * (1.0 - 0.6 * ramp(np.float32([day]), 222.0, 268.0)[0]))
    sedge = ground.sedge * np.float32(0.45 + 0.55 * summer)
    heath = ground.heath * np.float32(0.75 + 0.25 * summer)
    soil = idle * ground.bare
    line = 0.86 + 0.9 * float(ramp(np.float32([day]), 135.0, 195.0)[0])
    return {
        "grass": field,
        "straw": (idle - soil) + (ground.sedge - sedge) + (ground.heath - heath) * np.float32(0.4),
        "soil": soil,
        "peat": (ground.heath - heath) * np.float32(0.6),
        "sedge": sedge,
        "heath": heath,
        "snow": ramp(ground.frost, line, line + 0.12) * (one - ground.wet) * np.float32(0.92),
    }
