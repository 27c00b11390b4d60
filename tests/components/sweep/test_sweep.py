"""Sweeps whose runs are a small script with a known answer: found, pruned, stopped, lost and taken up again."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna import Study
from optuna.trial import TrialState

from components.errors import GeoductError, Halted
from components.registry import load
from components.sweep import worker
from components.sweep.command import main
from components.sweep.outcome import write
from components.sweep.plan import Plan, arguments, read
from components.sweep.study import RETRY_OF, TRIALS, alive, begin, open_study, reap, remaining, suggest
from tests.conftest import ROOT
from tests.tables import rows

PLAN: dict[str, Any] = {
    "component": "train",
    "inputs": {"patches": "patches.zarr"},
    "parameters": {"epochs": 4},
    "space": {
        "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "batch_size": {"low": 2, "high": 32},
        "schedule": {"choices": ["cosine", "constant"]},
    },
    "trials": 6,
}
TELL = """
import json, os, sys, time

def tell(rows):
    partial = os.environ["GEODUCT_EPOCHS_FILE"] + ".partial"
    with open(partial, "w") as file:
        json.dump(rows, file)
    os.replace(partial, os.environ["GEODUCT_EPOCHS_FILE"])
"""
"""How a run tells its epochs: whoever reads them at that moment finds those of before or these."""
RUN = """
rows, rate = [], float(sys.argv[1])
for epoch in range(4):
    rows.append({"epoch": epoch, "val_macro_f1": (1 - abs(rate - 0.01)) * (epoch + 1) / 4})
    tell(rows)
sys.exit(int(sys.argv[2]))
"""
"""Learns best at a rate of 0.01; ends with the exit code that it is given."""
WAIT = """
end = time.monotonic() + 60
while not os.path.exists(os.environ["GEODUCT_STOP_FILE"]):
    assert time.monotonic() < end, "nobody stops it"
    time.sleep(0.01)
sys.exit(75)
"""


def plan(tmp_path: Path, **changes: Any) -> Plan:
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump({**PLAN, **changes}))
    return read(file)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LOOK", 0.02)
    monkeypatch.delenv("GEODUCT_STOP_FILE", raising=False)


def runs(monkeypatch: pytest.MonkeyPatch, script: str = RUN, code: int = 0) -> None:
    """Let every trial run `script` with its learning rate and `code`."""
    monkeypatch.setattr(
        worker,
        "_command",
        lambda plan, chosen, model: [sys.executable, "-c", TELL + script, str(chosen["learning_rate"]), str(code)],
    )


def test_a_sweep_has_as_many_trials_as_planned_and_names_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs(monkeypatch)
    made, folder = plan(tmp_path, unpruned=100), tmp_path / "study"
    worker.work(made, folder, 0)
    study = open_study(folder, made, 0)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 6
    for trial in study.trials:
        assert trial.value == pytest.approx(1 - abs(trial.params["learning_rate"] - 0.01))
        assert len(trial.intermediate_values) == 4
    said = write(study, made, Path("a/plan.yaml"), folder)
    best = max(study.trials, key=lambda t: t.value or 0)
    assert f"is {best.number}: val_macro_f1" in said
    assert f"--learning-rate {best.params['learning_rate']}" in said and "--epochs 4" in said
    assert said.splitlines()[-1].endswith(f": geoduct sweep a/plan.yaml {folder} --record")
    assert [float(r["value"]) for r in rows(folder / "trials.csv")] == [t.value for t in study.trials]
    assert (folder / "parallel.png").read_bytes()[1:4] == b"PNG"
    worker.work(made, folder, 0)
    assert len(open_study(folder, made, 0).trials) == 6, "a finished sweep begins nothing"
    worker.work(plan(tmp_path, unpruned=100, trials=7), folder, 0)
    assert len(open_study(folder, made, 0).trials) == 7, "but it can be prolonged"


def test_a_bad_trial_is_stopped_early_and_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, folder = plan(tmp_path, unpruned=2, warmup=0, trials=3), tmp_path / "study"
    runs(monkeypatch)
    worker.work(plan(tmp_path, unpruned=2, warmup=0, trials=2), folder, 0)
    runs(monkeypatch, 'tell([{"val_macro_f1": 0.001}])' + WAIT)
    worker.work(made, folder, 0)
    last = open_study(folder, made, 0).trials[-1]
    assert last.state is TrialState.PRUNED and last.intermediate_values == {0: 0.001}
    assert not (folder / TRIALS / "00002").exists(), "what it left is of no use"


def test_a_failed_run_is_no_trial_to_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(monkeypatch, code=2)
    made, folder = plan(tmp_path, trials=2), tmp_path / "study"
    worker.work(made, folder, 0)
    study = open_study(folder, made, 0)
    assert [t.state for t in study.trials] == [TrialState.FAIL] * 2
    with pytest.raises(GeoductError, match="none of the 2 trials ran to its end"):
        write(study, made, Path("a/plan.yaml"), folder)
    assert (folder / "trials.csv").read_text().count("fail") == 2


def test_a_worker_that_is_stopped_gives_its_trial_back_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, folder, stop = plan(tmp_path, trials=1), tmp_path / "study", tmp_path / "stop"
    runs(monkeypatch, f"open({str(stop)!r}, 'w').close()" + WAIT)  # the word comes while the trial runs
    monkeypatch.setenv("GEODUCT_STOP_FILE", str(stop))
    with pytest.raises(Halted, match="queued again"):
        worker.work(made, folder, 0)
    stop.unlink()
    places: list[Path] = []

    def command(plan: Plan, chosen: dict[str, Any], model: Path) -> list[str]:
        places.append(model)
        return [sys.executable, "-c", TELL + RUN, str(chosen["learning_rate"]), "0"]

    monkeypatch.setattr(worker, "_command", command)
    worker.work(made, folder, 0)
    first, again = open_study(folder, made, 0).trials
    assert (first.state, again.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert again.params == first.params and again.user_attrs[RETRY_OF] == 0
    assert places == [folder / TRIALS / "00000" / "model"], "the same place, where its checkpoint is"


def test_the_trial_of_a_lost_worker_is_tried_again_once(tmp_path: Path) -> None:
    made, folder = plan(tmp_path), tmp_path / "study"
    study, other = open_study(folder, made, 0), open_study(folder, made, 1)
    trial = study.ask()
    chosen = suggest(trial, made)
    sign = alive(folder, trial.number)
    assert reap(other, folder) == [], "one that has not yet given a sign is given time"
    assert sign.exists()
    assert reap(other, folder) == []
    os.utime(sign, (0, 0))
    assert reap(other, folder) == [0] and reap(study, folder) == []
    assert remaining(study, made) == 6
    again = study.ask()
    assert suggest(again, made) == chosen and again.user_attrs[RETRY_OF] == 0
    assert remaining(study, made) == 5
    assert suggest(study.ask(), made) != chosen


def test_workers_that_are_free_at_once_begin_no_more_trials_than_planned(tmp_path: Path) -> None:
    made, folder = plan(tmp_path, trials=5), tmp_path / "study"
    studies = [open_study(folder, made, worker) for worker in range(4)]

    def begun(study: Study) -> int:
        return len(list(iter(lambda: begin(study, made, folder), None)))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(begun, studies)) == 5


def test_another_plan_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    open_study(tmp_path / "study", plan(tmp_path), 0)
    open_study(tmp_path / "study", plan(tmp_path, trials=50), 1)
    with pytest.raises(GeoductError, match="holds a sweep with another 'metric'"):
        open_study(tmp_path / "study", plan(tmp_path, metric="val_accuracy"), 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trails": 3}, r"trails: Extra inputs are not permitted.*did you mean 'trials'"),
        ({"component": "trian"}, r"no component 'trian'.*did you mean 'train'"),
        ({"component": "patch"}, "writes no Model"),
        ({"space": {}}, "space"),
        ({"space": {"learning_rat": {"low": 0.1, "high": 0.2}}}, r"no parameter 'learning-rat'.*did you mean"),
        ({"space": {"learning_rate": {"low": 0.2, "high": 0.1}}}, ": space.learning_rate: low 0.2 .* span no range"),
        ({"space": {"learning_rate": {"lo": 0.1, "high": 0.2}}}, ": space.learning_rate.low: Field required"),
        ({"space": {"imbalance": {"choices": ["none"]}}}, ": space.imbalance.choices: List .* at least 2 items"),
        ({"space": {"learning_rate": {"low": 0.0, "high": 0.1, "log": True}}}, "span no range of logarithms"),
        ({"space": {"schedule": {"choices": ["fast", "slow"]}}}, "--schedule is 'fast'"),
        ({"parameters": {"epochs": 0}}, "--epochs is 0"),
        ({"parameters": {"learning_rate": 0.1}}, "'learning_rate' is both fixed"),
        ({"inputs": {}}, "train needs --patches"),
    ],
)
def test_a_wrong_plan_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GeoductError, match=message):
        plan(tmp_path, **changes)


def test_names_with_dots_are_keys_of_the_components_own_yaml(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        component="finetune",
        parameters={"config": "a.yaml", "override": ["trainer.max_epochs=2"]},
        space={"model.init_args.lr": {"low": 0.1, "high": 0.2}},
    )
    given = arguments(made, load("finetune").spec, {"model.init_args.lr": 0.15})
    assert given["override"] == ["trainer.max_epochs=2", "model.init_args.lr=0.15"] and given["config"] == "a.yaml"


@pytest.mark.parametrize("file", sorted((ROOT / "hpc" / "sweeps").glob("*.yaml")), ids=lambda f: f.stem)
def test_the_sweeps_that_come_along_are_sound(file: Path) -> None:
    assert read(file).trials > 1


def test_the_command_line_shows_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs(monkeypatch)
    plan(tmp_path, trials=2)
    main([str(tmp_path / "plan.yaml"), str(tmp_path / "study")])
    first = capsys.readouterr().out
    assert "best of 2 complete trials" in first
    main([str(tmp_path / "plan.yaml"), str(tmp_path / "study"), "--show"])
    assert capsys.readouterr().out == first
    with pytest.raises(GeoductError, match="argument --record: not allowed with argument --show"):
        main([str(tmp_path / "plan.yaml"), str(tmp_path / "study"), "--show", "--record"])
    with pytest.raises(GeoductError, match="typo holds no sweep"):
        main([str(tmp_path / "plan.yaml"), str(tmp_path / "typo"), "--show"])
    with pytest.raises(GeoductError, match="sweep: unrecognized arguments"):
        main([str(tmp_path / "plan.yaml"), str(tmp_path / "study"), "--shw"])
