"""The one exception that a user is meant to see. Everything else that escapes a component is a defect."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GeoductError(Exception):
    """Bad input or a refused request, told in one sentence.

    The sentence names the file, the field, what was found and what was expected. The command line prints it
    and ends with exit code 2.
    """

    code = 2
    """Exit code of the command line."""


class Halted(GeoductError):
    """The run ends before its work is done; what a resumable one has done is kept, and the same command goes on.

    `code` is 2 for bad input, `STOPPED` if the run was asked to stop, 128 + n after the signal n, 1 if the machine
    failed.
    """

    def __init__(self, sentence: str, code: int = 2) -> None:
        super().__init__(sentence)
        self.code = code


STOPPED = 75
"""Exit code of a run that was asked to stop and did so with a checkpoint (EX_TEMPFAIL of sysexits.h: try again)."""


def first_line(error: BaseException) -> str:
    """What an exception of somebody else's code says, as far as it goes into a sentence of ours."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def one(kind: str) -> str:
    """A kind of artifact with its article: a Model, an Archive, a Weights artifact."""
    return f"{'an' if kind[:1] in 'AE' else 'a'} {kind}" + (" artifact" if kind.endswith("s") else "")


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word is nearest to a misspelt one: `"; did you mean 'x'?"`, or what is known if none is near."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(words)}" if words else ""
