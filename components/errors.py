"""The one exception that a user is meant to see. Everything else that escapes a component is a defect."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GeoductError(Exception):
    """Bad input or a refused request, told in one sentence.

    The sentence names the file, the field, what was found and what was expected. The command line prints it
    and ends with exit code 2.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word is nearest to a misspelt one: `"; did you mean 'x'?"`, or what is known if none is near."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(words)}" if words else ""
