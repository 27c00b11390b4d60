"""Several periods of a place as the frames of one image: which bands they are, of when, and what a YAML says of them.

A PatchSet of several periods has more bands (`B02@1`, …, `B02@2`, …). A temporal model of TerraTorch takes them as
(n, band, frame, y, x) instead; frames are periods, in order of time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date as Date
from typing import Any

from components.artifacts.patchset import PatchSet
from components.artifacts.periods import band_at, plain
from components.errors import GeoductError
from components.finetune.bands import stored_bands

PERIODS = "periods"
"""What `date` says where each frame is to have the date of its own period."""


def bands_of_frames(wanted: Sequence[str] | None, patches: PatchSet, frames: int) -> tuple[str, ...]:
    """The stored names of the bands `wanted` (all of a period if not given), those of the first frame first.

    With one frame they are stored names, with their period if they have one; with several, names without it, of which
    every period has to have each.

    Raises:
        GeoductError: there are not so many periods, or one lacks a band; the sentence names it.
    """
    if frames < 1:
        raise GeoductError(f"frames is {frames}; expected 1 or more")
    if frames == 1:
        return stored_bands(patches.bands if wanted is None else wanted, patches.bands, patches.path)
    count = len(patches.periods)
    if frames > count:
        raise GeoductError(
            f"frames is {frames}, but {patches.path} has {count} periods; expected at most so many "
            "(composite --periods makes them)"
        )
    found: list[str] = []
    for number in range(1, frames + 1):
        held = [plain(band) for band in patches.bands if band == band_at(plain(band), number)]
        names = stored_bands(held if wanted is None else wanted, held, f"period {number} of {patches.path}")
        found += [band_at(band, number) for band in names]
    return tuple(found)


def moments_of(
    date: str | None, bands: Sequence[str], patches: PatchSet, frames: int
) -> tuple[tuple[float, float], ...] | None:
    """Year, and day of the year from 0, of each frame; None without a date.

    Args:
        date: a day such as `2024-07-01` for one frame, or `periods`: the day in the middle of each frame's period.
        bands: stored names of the bands, those of the first frame first.
        patches: whose periods they are.
        frames: how many.

    Raises:
        GeoductError: it is no day, or there is no one day or period for each frame.
    """
    if date is None:
        return None
    if date != PERIODS:
        if frames > 1:
            raise GeoductError(f"date is {date!r}, one day for {frames} frames; expected {PERIODS!r}")
        try:
            return (_moment(Date.fromisoformat(date)),)
        except ValueError:
            raise GeoductError(
                f"date is {date!r}; expected a day such as 2024-07-01, or {PERIODS!r} for those of the patches"
            ) from None
    step = len(bands) // frames
    found = []
    for frame in range(frames):
        own = bands[frame * step : (frame + 1) * step]
        numbers = [n for n in range(1, len(patches.periods) + 1) if all(b == band_at(plain(b), n) for b in own)]
        if not numbers:
            raise GeoductError(
                f"date is {PERIODS!r}, but the bands {', '.join(own)} of {patches.path} are of no one period"
            )
        found.append(_moment(patches.periods[numbers[0] - 1].middle))
    return tuple(found)


def _moment(day: Date) -> tuple[float, float]:
    return float(day.year), float(day.timetuple().tm_yday - 1)


def check_frames(backbone: str, arguments: Mapping[str, Any], necks: Any, frames: int, where: str) -> None:
    """Hold what a YAML says of Prithvi's frames, once to the backbone and once to the neck, to those of the data.

    Args:
        backbone: its name in TerraTorch's registry; of others than Prithvi nothing is known here.
        arguments: of the backbone.
        necks: `model_args.necks`.
        frames: of the data.
        where: the file, for messages.

    Raises:
        GeoductError: they differ.
    """
    if not backbone.removeprefix("terratorch_").startswith("prithvi_eo_") or arguments.get("use_temporal"):
        return
    told = arguments.get("num_frames", 1)
    if told != frames:
        raise GeoductError(
            f"{where}: model.init_args.model_args.backbone_num_frames is {told}, but data.init_args.frames is "
            f"{frames}; expected the same"
        )
    patch = arguments.get("patch_size")
    steps = frames // patch[0] if isinstance(patch, list) and len(patch) == 3 and patch[0] else frames
    for neck in necks or []:
        if neck.get("name") == "ReshapeTokensToImage" and neck.get("effective_time_dim", 1) != steps:
            raise GeoductError(
                f"{where}: the neck ReshapeTokensToImage has effective_time_dim {neck.get('effective_time_dim', 1)}, "
                f"but the backbone gives tokens of {steps} steps in time; expected effective_time_dim: {steps}"
            )
