"""`geoduct` that stands still once it has said a certain word: what is then done to it does not hang on the moment.

A test that reads a line and sends a signal races with the run, which may be over by then. Here the process stops itself
while it says the line, as it would on Ctrl-Z, and goes on by SIGCONT.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

from components.__main__ import main

COMMAND = [sys.executable, "-m", "tests.halting"]
"""To be followed by the word and the arguments of `geoduct`."""


def wait(process: subprocess.Popen[str]) -> None:
    """Wait until such a process stands still."""
    found = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert found is not None
    assert found.si_code == os.CLD_STOPPED, f"it ended without a halt: {process.communicate()}"


class _Watched(io.TextIOWrapper):
    """The standard error of a process that stands still once it has said a word."""

    def __init__(self, word: str) -> None:
        super().__init__(sys.stderr.buffer, encoding="utf-8", write_through=True)
        self._word = word

    def write(self, text: str) -> int:
        count = super().write(text)
        if self._word in text:
            os.kill(os.getpid(), signal.SIGSTOP)
        return count


def _run(word: str, *arguments: str) -> None:
    sys.stderr = _Watched(word)
    sys.argv[1:] = arguments
    main()


if __name__ == "__main__":
    _run(*sys.argv[1:])
