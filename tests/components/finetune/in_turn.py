"""One rank of several runs of fine-tuning, one after the other, for which terratorch is imported once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from components.artifacts import Model, PatchSet
from components.errors import Halted
from components.finetune.reading import read
from components.learning.importing import import_terratorch
from components.ranks import Ranks, here, together


def main(patches: str, *runs: str) -> None:
    """Tune as each of these YAMLs says, into a folder beside it; `FILE:2` is stopped twice after a step."""
    import_terratorch()
    with together(here()) as ranks:
        for run in runs:
            file, _, stops = run.partition(":")
            for left in range(int(stops or 0), -1, -1):
                one(patches, Path(file), ranks, stop=left > 0)


def one(patches: str, file: Path, ranks: Ranks, *, stop: bool) -> None:
    """A run, or a part of one."""
    from components.finetune.run import tune

    os.environ.pop("GEODUCT_STOP_FILE", None)
    if stop:
        os.environ["GEODUCT_STOP_FILE"] = str(file)  # it is there
    model = file.with_suffix("")
    model.mkdir(exist_ok=True)
    said = read(str(file), ())
    try:
        tune(
            PatchSet.open(patches), None, Model(model), ranks, said=said, config=str(file), accelerator="cpu", threads=1
        )
    except Halted as halted:
        print(halted, file=sys.stderr)
        assert stop


if __name__ == "__main__":
    main(*sys.argv[1:])
