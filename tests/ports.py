"""Ports for processes that must know theirs before they start, as those of a batch job do."""

from __future__ import annotations

import random
import socket

_FROM_BELOW = range(21_000, 32_000)
"""Below the ports that the kernel gives to whoever asks for any: such a one may be taken again before it is used."""


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    while True:
        port = random.SystemRandom().choice(_FROM_BELOW)  # tests that run at the same time choose others
        try:
            socket.create_server(("", port)).close()
        except OSError:
            continue
        return port
