"""`geoduct sweep`: one worker of a sweep, as many as wanted at once, and what was found so far."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path

from components.errors import GeoductError
from components.flags import Parser
from components.launch.plan import Mount, make_plan
from components.registry import load
from components.sweep.plan import arguments, example, read

WORKER = "GEODUCT_WORKER"
"""Environment variable: the number of this worker, so that those which start at once do not try the same."""


def _parser() -> ArgumentParser:
    parser = Parser(
        prog="geoduct sweep",
        description="Search parameters of train or finetune. Start it as often as there are devices, with the same "
        "folder: the workers share its trials. A trial whose worker dies is tried again by another one.",
        allow_abbrev=False,
    )
    parser.add_argument("plan", type=Path, help="YAML of the sweep, see hpc/sweeps")
    parser.add_argument("folder", type=Path, help="of the study, which all workers see")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--show", action="store_true", help="only write and say what was found so far")
    only.add_argument("--record", action="store_true", help="only make experiments of DVC of the finished trials")
    return parser


def main(words: list[str]) -> None:
    """Run one worker until the sweep has all its trials, then write and say what was found; or record the trials.

    Raises:
        GeoductError: for anything that the user can mend.
    """
    given = _parser().parse_args(words)
    plan = read(given.plan)
    from components.sweep.outcome import write
    from components.sweep.record import record
    from components.sweep.study import JOURNAL, open_study
    from components.sweep.worker import work

    try:
        worker = int(os.environ.get(WORKER, "0"))
    except ValueError:
        raise GeoductError(f"{WORKER} is {os.environ[WORKER]!r}; expected a number") from None
    if not (given.show or given.record):
        work(plan, given.folder, worker)
    elif not (given.folder / JOURNAL).is_file():
        raise GeoductError(f"{given.folder} holds no sweep: there is no {JOURNAL} in it")
    study = open_study(given.folder, plan, worker)
    print(record(study, plan, given.folder) if given.record else write(study, plan, given.plan, given.folder))


def contained(words: list[str]) -> tuple[list[str], list[Mount]]:
    """The words with absolute paths, and what a worker and the runs of its trials need to see, for a container.

    Raises:
        GeoductError: the words or the plan are wrong, or an input does not exist.
    """
    given = _parser().parse_args(words)
    plan, folder = read(given.plan), given.folder.absolute()
    spec = load(plan.component).spec
    trial = make_plan(spec, {**arguments(plan, spec, example(plan)), spec.outputs[0].name: str(folder / "model")})
    told = [str(given.plan.absolute()), str(folder), *["--show"] * given.show, *["--record"] * given.record]
    return told, [*trial.mounts, Mount(given.plan.absolute(), False), Mount(folder, True)]
