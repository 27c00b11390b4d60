"""TerraTorch is imported without a call over the network, and torch computes afterwards as it did before."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from components.learning.importing import _SILENT

SCRIPT = """
import sys, threading
calls = []
sys.addaudithook(lambda event, given: calls.append(event) if event.startswith(("socket.connect", "socket.geta")) else 0)
import torch
from components.learning.importing import import_terratorch
import_terratorch()
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join(10)
print(calls, torch.get_float32_matmul_precision(), "terratorch" in sys.modules)
"""


@pytest.mark.slow
def test_it_calls_nobody_and_leaves_torch_as_it_was() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in _SILENT}
    ended = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert ended.stdout == "[] highest True\n", ended.stderr
