"""What a sweep found: a table of its trials, a plot of parallel coordinates, and the best values as a command."""

from __future__ import annotations

import csv
import io
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import GeoductError
from components.registry import load
from components.sweep.plan import Plan, arguments
from components.sweep.study import TRIALS, summary

if TYPE_CHECKING:
    from optuna import Study

TABLE, PLOT = "trials.csv", "parallel.png"


def write(study: Study, plan: Plan, file: Path, folder: Path) -> str:
    """Write table and plot into `folder`, each whole or not at all; returns what to say of the best trial.

    `file` is the plan's, for the command that comes next.

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
            f"all in dvc exp show: {shlex.join(['geoduct', 'sweep', str(file), str(folder), '--record'])}",
        ]
    )


def _again(plan: Plan, params: dict[str, Any]) -> str:
    from components.launch.plan import command_line

    spec = load(plan.component).spec
    return shlex.join(command_line(spec, {**arguments(plan, spec, params), spec.outputs[0].name: "MODEL"}))


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
