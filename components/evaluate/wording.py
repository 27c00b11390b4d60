"""How numbers are written in sentences: one way for each kind, everywhere."""

from __future__ import annotations

from collections.abc import Sequence


def percent(share: float, digits: int = 1) -> str:
    """A share as per cent: 0.8731 gives `87.3 %`, with a narrow space that does not break."""
    return f"{100 * share:.{digits}f}\u202f%"


def whole_percent(share: float) -> str:
    """A share that somebody chose as per cent, with all its digits: 0.015 gives `1.5 %`."""
    return f"{100 * share:.6g}\u202f%"


def score(value: float) -> str:
    """A score or a loss with three decimals."""
    return f"{value:.3f}".replace("-", "−")


def signed(value: float) -> str:
    """A difference with its sign and three decimals."""
    return f"{value:+.3f}".replace("-", "−")


def count(number: int) -> str:
    """A count with thousands set apart by narrow spaces, which do not break."""
    return f"{number:,}".replace(",", "\u202f")


def held_out(blocks: int, samples: int, unit: str) -> str:
    """What was scored: `On 12 held-out blocks (2 304 labelled pixels)`."""
    return f"On {blocks} held-out block{'s' if blocks > 1 else ''} ({count(samples)} labelled {unit})"


def listing(words: Sequence[str]) -> str:
    """Words in a row: `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
