"""A worker of a sweep: takes trials one after the other, each a run of the component in a process of its own.

The run tells its epochs by the file that GEODUCT_EPOCHS_FILE names, and is stopped by the one that GEODUCT_STOP_FILE
names, as a batch system would stop it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import STOPPED, GeoductError, Halted
from components.launch.plan import command_line
from components.progress import EPOCHS_FILE, say
from components.registry import load
from components.storage import remove
from components.sweep.plan import Plan, arguments
from components.sweep.study import TRIALS, alive, begin, best_of, give_back, open_study, reap, root_of, suggest

if TYPE_CHECKING:
    from optuna import Study, Trial

STOP_FILE = "GEODUCT_STOP_FILE"
LOOK = 0.5
"""Seconds between two looks at a run."""


def work(plan: Plan, folder: Path, worker: int) -> None:
    """Take trials until the sweep has as many as planned.

    Raises:
        Halted: this worker was asked to stop; its trial is queued again and goes on from its checkpoint.
    """
    study = open_study(folder, plan, worker)
    while True:
        for number in reap(study, folder):
            say(f"sweep: the worker of trial {number} is lost; its values are queued again")
        trial = begin(study, plan, folder)
        if trial is None:
            return
        _try(study, trial, plan, folder, suggest(trial, plan))


def _try(study: Study, trial: Trial, plan: Plan, folder: Path, chosen: dict[str, Any]) -> None:
    from optuna.trial import TrialState

    root = root_of(trial)
    place = folder / TRIALS / f"{root:05d}"
    place.mkdir(parents=True, exist_ok=True)
    sign, stop, epochs = alive(folder, trial.number), place / "stop", place / "epochs.json"
    sign.touch()
    stop.unlink(missing_ok=True)
    say(f"sweep: trial {trial.number}: {_words(chosen)}")
    asked, pruned = os.environ.get(STOP_FILE), False
    with (place / "log").open("a") as log:
        run = subprocess.Popen(
            _command(plan, chosen, place / "model"),
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            env={**os.environ, STOP_FILE: str(stop), EPOCHS_FILE: str(epochs), "GEODUCT_LAUNCHER": "host"},
        )
        told = 0
        try:
            while run.poll() is None:
                time.sleep(LOOK)
                sign.touch()
                told = _report(trial, plan, epochs, told)
                pruned = pruned or trial.should_prune()
                if pruned or (asked and Path(asked).exists()):
                    stop.touch()
        finally:
            if run.poll() is None:
                run.terminate()
                run.wait()
    _report(trial, plan, epochs, told)
    sign.unlink(missing_ok=True)
    frozen = study.get_trials(deepcopy=False)[trial.number]
    best = best_of(frozen, plan)
    if run.returncode == 0 and best is not None:
        study.tell(trial, best)
        say(f"sweep: trial {trial.number} ends with {plan.metric} {best:.4f}")
    elif pruned:
        study.tell(trial, state=TrialState.PRUNED)
        remove(place)  # with the checkpoint that it left when it was stopped
        say(f"sweep: trial {trial.number} is pruned after {len(frozen.intermediate_values)} epochs")
    elif run.returncode == STOPPED:
        give_back(study, frozen)
        raise Halted(f"trial {trial.number} was stopped and is queued again; the same command goes on")
    else:
        study.tell(trial, state=TrialState.FAIL)
        say(f"sweep: trial {trial.number} failed with exit code {run.returncode}: {_last_line(place / 'log')}")


def _end_with_parent() -> None:
    """Have the run told to end when its worker is killed: another worker takes the trial up in the same folder."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG, see prctl(2)


def _command(plan: Plan, chosen: dict[str, Any], model: Path) -> list[str]:
    spec = load(plan.component).spec
    output = spec.outputs[0].name
    words = command_line(spec, {**arguments(plan, spec, chosen), output: str(model)})
    return [sys.executable, "-m", "components", *words[1:]]


def _report(trial: Trial, plan: Plan, epochs: Path, told: int) -> int:
    """Tell the study of the epochs that it does not know yet; returns how many it knows."""
    try:
        rows = json.loads(epochs.read_text())
    except FileNotFoundError:
        return told
    for step, row in enumerate(rows[told:], told):
        if plan.metric not in row:
            raise GeoductError(f"the epochs have no {plan.metric!r}; the sweep's metric may be one of {', '.join(row)}")
        trial.report(float(row[plan.metric]), step)
    return max(told, len(rows))


def _words(chosen: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in chosen.items())


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
