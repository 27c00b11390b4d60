"""The study that all workers of a sweep share: one journal file, and trials of dead workers that are tried again."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import GeoductError
from components.sweep.plan import Plan, Range

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages.journal import JournalFileOpenLock
    from optuna.trial import FrozenTrial

JOURNAL = "journal.log"
TRIALS = "trials"
TURN = "begin"
RETRY_OF = "retry_of"
"""User attribute of a trial: the number of the one that it takes up, whose worker was lost."""
PLAN = "plan"
STALE = 120.0
"""Seconds without a sign of life after which a worker is taken for lost; it gives one every second or so."""


def open_study(folder: Path, plan: Plan, worker: int) -> Study:
    """Open or begin the study in `folder`; `worker` tells apart the samplers of workers that start at once.

    Raises:
        GeoductError: the folder holds the study of another plan.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL), lock_obj=_lock(folder / JOURNAL)))
    study = optuna.create_study(
        storage=storage,
        study_name="sweep",
        direction=plan.direction,
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=plan.seed + 1000 * worker, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=plan.unpruned, n_warmup_steps=plan.warmup),
    )
    stored = study.user_attrs.get(PLAN)
    said = plan.model_dump(exclude={"trials"})  # a sweep may be prolonged
    if stored is None:
        study.set_user_attr(PLAN, said)
    elif stored != said:
        changed = next(name for name in said if stored.get(name) != said[name])
        raise GeoductError(f"{folder} holds a sweep with another {changed!r}; choose another folder, or remove it")
    return study


def _lock(file: Path) -> JournalFileOpenLock:
    """A lock of all workers; one that a dead worker left is broken after half a minute."""
    from optuna.storages.journal import JournalFileOpenLock

    # Symbolic links, the other lock, are not atomic on every parallel file system; O_EXCL is.
    return JournalFileOpenLock(str(file))


def begin(study: Study, plan: Plan, folder: Path) -> Trial | None:
    """Begin one more trial, or none if the sweep has all that were planned; workers do so one after the other."""
    lock = _lock(folder / TURN)
    lock.acquire()
    try:
        return study.ask() if remaining(study, plan) > 0 else None
    finally:
        lock.release()


def suggest(trial: Trial, plan: Plan) -> dict[str, Any]:
    """Values of the space for a trial."""
    chosen: dict[str, Any] = {}
    for name, values in plan.space.items():
        if not isinstance(values, Range):
            chosen[name] = trial.suggest_categorical(name, values.choices)
        elif isinstance(values.low, int) and isinstance(values.high, int):
            chosen[name] = trial.suggest_int(name, values.low, values.high, log=values.log)
        else:
            chosen[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
    return chosen


def root_of(trial: Trial | FrozenTrial) -> int:
    """The number of the trial under which a set of values was first tried, which names its folder."""
    return int(trial.user_attrs.get(RETRY_OF, trial.number))


def best_of(trial: FrozenTrial, plan: Plan) -> float | None:
    """The best score of a trial's epochs, which is its own; none if no epoch had a finite one."""
    values = [value for value in trial.intermediate_values.values() if math.isfinite(value)]
    return (max if plan.direction == "maximize" else min)(values, default=None)


def alive(folder: Path, number: int) -> Path:
    """The file that the worker of trial `number` touches."""
    return folder / TRIALS / f"{number:05d}.alive"


def give_back(study: Study, trial: FrozenTrial) -> bool:
    """Mark a running trial as failed and queue its values again; false if another worker has done so before."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    try:
        study.tell(trial.number, state=TrialState.FAIL)
    except (UpdateFinishedTrialError, ValueError):
        return False
    if trial.params:
        study.enqueue_trial(trial.params, user_attrs={RETRY_OF: root_of(trial)})
    return True


def reap(study: Study, folder: Path, stale: float = STALE) -> list[int]:
    """Give back the running trials whose worker has given no sign of life for `stale` seconds; returns their numbers.

    Ages are taken against a file that is touched now, by the clock of the file system, not of this node.
    """
    from optuna.trial import TrialState

    clock = folder / TRIALS / f".clock-{time.monotonic_ns()}"
    clock.parent.mkdir(parents=True, exist_ok=True)
    clock.touch()
    now = clock.stat().st_mtime
    clock.unlink()
    lost: list[int] = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        sign = alive(folder, trial.number)
        if not sign.exists():
            sign.touch()  # its worker was lost before its first sign, or has only just begun
        elif now - sign.stat().st_mtime > stale and give_back(study, trial):
            lost.append(trial.number)
    return lost


def remaining(study: Study, plan: Plan) -> int:
    """How many trials are still to be begun: a trial that was tried again counts once."""
    trials = study.get_trials(deepcopy=False)
    waiting = {root_of(trial) for trial in trials if trial.state.name == "WAITING"}
    return plan.trials - len({root_of(trial) for trial in trials} - waiting)


def summary(trial: FrozenTrial) -> dict[str, Any]:
    """A row of the table of trials."""
    seconds = trial.duration.total_seconds() if trial.duration else None
    return {
        "trial": trial.number,
        "retry_of": trial.user_attrs.get(RETRY_OF),
        "state": trial.state.name.lower(),
        "value": trial.value if trial.state.name == "COMPLETE" else None,
        "epochs": len(trial.intermediate_values),
        "seconds": None if seconds is None else round(seconds, 1),
        **trial.params,
    }
