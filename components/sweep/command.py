"""`geoduct sweep`: one worker of a sweep, as many as wanted at once, and what was found so far."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import NoReturn

from components.errors import GeoductError
from components.sweep.plan import read


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise GeoductError(f"sweep: {message}")


def main(words: list[str]) -> None:
    """Run one worker until the sweep has all its trials, then write and say what was found.

    Raises:
        GeoductError: for anything that the user can mend.
    """
    parser = _Parser(
        prog="geoduct sweep",
        description="Search parameters of train or finetune. Start it as often as there are devices, with the same "
        "folder: the workers share its trials. A trial whose worker dies is tried again by another one.",
        allow_abbrev=False,
    )
    parser.add_argument("plan", type=Path, help="YAML of the sweep, see hpc/sweeps")
    parser.add_argument("folder", type=Path, help="of the study, which all workers see")
    parser.add_argument("--show", action="store_true", help="only write and say what was found so far")
    given = parser.parse_args(words)
    plan = read(given.plan)
    from components.sweep.outcome import write
    from components.sweep.study import open_study
    from components.sweep.worker import work

    worker = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    if not given.show:
        work(plan, given.folder, worker)
    print(write(open_study(given.folder, plan, worker), plan, given.folder))
