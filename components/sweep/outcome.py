"""What a sweep found: a table of its trials, a plot of parallel coordinates, and the best values as a command.

Its trials become experiments of DVC by a script: the sweep itself may run where there is neither git nor DVC, and an
experiment is of the whole pipeline, not of training alone.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import GeoductError
from components.registry import load
from components.sweep.plan import OVERRIDE, Plan, arguments
from components.sweep.study import TRIALS, summary

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

TABLE, PLOT, QUEUE = "trials.csv", "parallel.png", "queue.sh"


def write(study: Study, plan: Plan, folder: Path) -> str:
    """Write table, plot and script into `folder`, each whole or not at all; returns what to say of the best trial.

    Raises:
        GeoductError: all trials have ended, and none of them ran to its end.
    """
    from optuna.trial import TrialState

    rows = [summary(trial) for trial in study.get_trials(deepcopy=False)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    _whole(folder / TABLE, text.getvalue().encode())
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if rows and not complete and all(trial.state.is_finished() for trial in study.get_trials(deepcopy=False)):
        raise GeoductError(
            f"none of the {len(rows)} trials ran to its end; {folder / TABLE} lists them, and the log of each is under "
            f"{folder / TRIALS}"
        )
    if not complete:
        return f"sweep: no trial is complete yet; {folder / TABLE} lists all {len(rows)}"
    if len(plan.space) > 1 and len(complete) > 1:
        _whole(folder / PLOT, _plot(study, plan.metric))
    _whole(folder / QUEUE, _queue(plan, complete, folder.absolute().name).encode())
    best = study.best_trial
    running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    return "\n".join(
        [
            *(
                [f"sweep: {running} running; where a worker was lost, the same command takes its trial up"]
                * bool(running)
            ),
            f"sweep: best of {len(complete)} complete trials is {best.number}: {plan.metric} {best.value:.4f}",
            f"table: {folder / TABLE}",
            f"again: {_again(plan, best.params)}",
            f"in the pipeline: {_experiment(plan, best.params)}",
            f"all of them, as queued experiments: bash {folder / QUEUE}",
        ]
    )


def _again(plan: Plan, params: dict[str, Any]) -> str:
    from components.launch.plan import command_line

    spec = load(plan.component).spec
    return shlex.join(command_line(spec, {**arguments(plan, spec, params), spec.outputs[0].name: "MODEL"}))


def _queue(plan: Plan, complete: list[FrozenTrial], sweep: str) -> str:
    """Commands that queue an experiment of DVC for each complete trial, the best first, named after the sweep."""
    prefix = re.sub(r"[^A-Za-z0-9_-]+", "-", sweep)
    best_first = sorted(complete, key=lambda trial: trial.value or 0.0, reverse=plan.direction == "maximize")
    lines = [
        f"{_experiment(plan, trial.params, '--queue', '--name', f'{prefix}-{trial.number:05d}')}"
        f"  # {plan.metric} {trial.value:.4f}"
        for trial in best_first
    ]
    return "\n".join(["#!/usr/bin/env bash", _ABOUT, "set -euo pipefail", *lines, ""])


_ABOUT = """# An experiment of DVC for each trial of the sweep, the best first; delete lines to queue fewer. Then:
#   dvc exp run --run-all      # the pipeline with each trial's parameters; what they do not change comes from the cache
#   dvc exp show               # parameters and scores side by side"""


def _experiment(plan: Plan, params: dict[str, Any], *options: str) -> str:
    """Values as parameters of a DVC experiment."""
    spec = load(plan.component).spec
    given = arguments(plan, spec, params)
    words = [
        f"{plan.component}.{name}={value}"
        for name, value in given.items()
        if name not in plan.inputs and name != OVERRIDE
    ]
    if OVERRIDE in given:
        words.append(
            f"{plan.component}.{OVERRIDE}={json.dumps(given[OVERRIDE])}"
        )  # quoted, as DVC wants a list's items
    target = ["hpc/dvc.yaml"] if plan.component == "finetune" else []
    return shlex.join(["dvc", "exp", "run", *options, *(part for word in words for part in ("-S", word)), *target])


def _plot(study: Study, metric: str) -> bytes:
    import warnings

    import matplotlib.pyplot as plt
    from optuna.exceptions import ExperimentalWarning
    from optuna.visualization.matplotlib import plot_parallel_coordinate

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        plot_parallel_coordinate(study, target_name=metric)
    figure, out = plt.gcf(), io.BytesIO()  # optuna draws on pyplot's current figure, which a node shows nowhere
    figure.set_size_inches(11, 5)
    figure.savefig(out, format="png", dpi=120, bbox_inches="tight")
    plt.close(figure)
    return out.getvalue()


def _whole(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(path)
