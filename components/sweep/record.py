"""The trials of a sweep as experiments of DVC, so that `dvc exp show` lists their parameters beside their scores.

Nothing is run, and neither workspace, index nor cache is touched: a trial becomes a commit on top of HEAD under
refs/exps, where DVC keeps experiments, and `git fast-import` writes all of them at once. `dvc exp save` would not do:
it commits what lies in the workspace, and notes in dvc.lock that the trial's parameters gave the model that is there.

A trial's commit differs from HEAD in three things. In params.yaml the component's section is the trial's, defaults
included. The folder `trial` holds its score, and a dvc.yaml that names it to DVC. And dvc.lock forgets the stages that
these parameters would change: else DVC would show the scores of HEAD's model as the trial's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from components.errors import GeoductError, first_line
from components.registry import load
from components.sweep.plan import Plan, arguments
from components.sweep.study import best_of, summary

if TYPE_CHECKING:
    from dvc.repo import Repo
    from optuna import Study
    from optuna.trial import FrozenTrial

PARAMS, LOCK = "params.yaml", "dvc.lock"
FOLDER = "trial"
"""Of the commit of a trial: what no stage makes."""


def experiment_name(folder: Path, number: int) -> str:
    """The name of a trial's experiment, after the folder of its sweep, in letters that Git and DVC take."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name).lstrip("-")
    return f"{name or 'sweep'}-{number:05d}"


def record(study: Study, plan: Plan, folder: Path) -> str:
    """Record the complete and the pruned trials that are not yet; returns what to say of it.

    A failed trial tells nothing of its parameters: its worker may have been lost, and its values tried again.

    Raises:
        GeoductError: there is no git, no DVC or no repository of theirs; the pipeline at HEAD does not read what the
            sweep has read; or a trial's name is that of another experiment.
    """
    from optuna.trial import TrialState

    repo = _repository()
    from dvc.exceptions import DvcException
    from dvc.repo.experiments.refs import ExpRefInfo
    from dvc.repo.experiments.utils import exp_refs

    there = {ref.name: repo.scm.resolve_commit(repo.scm.get_ref(str(ref))).message for ref in exp_refs(repo.scm)}
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    if not trials:
        return "sweep: no trial is complete or pruned yet"
    new = {experiment_name(folder, t.number): t for t in trials if _message(t) not in there.values()}
    if taken := min(new.keys() & there.keys(), default=None):
        raise GeoductError(
            f"{taken} is an experiment of DVC already, but not the trial of that number in {folder}; remove it "
            f"(dvc exp remove {taken}) or rename it (dvc exp rename {taken} NEW)"
        )
    if new:
        head, root = repo.scm.get_rev(), Path(repo.root_dir)
        try:
            with repo.switch(head):
                params, locks = _at_head(repo, plan, root)
        except DvcException as error:
            raise GeoductError(f"DVC cannot read the pipeline at HEAD: {first_line(error)}") from None
        author = _git(root, "var", "GIT_COMMITTER_IDENT").rsplit(maxsplit=2)[0]  # without time and zone
        inside = root.relative_to(repo.scm.root_dir)
        commits = []
        for name, trial in new.items():
            files = {str(inside / path): text for path, text in {**locks, **_files(plan, trial, params)}.items()}
            commits.append(_commit(str(ExpRefInfo(head, name)), author, trial, head, files))
        _git(root, "fast-import", "--quiet", given=b"".join(commits))
    repro = "dvc repro hpc/dvc.yaml" if plan.component == "finetune" else "dvc repro"
    order = "desc" if plan.direction == "maximize" else "asc"
    return (
        f"sweep: experiments of DVC: {len(new)} new, {len(trials) - len(new)} of before\n"
        f"show them: dvc exp show --only-changed --sort-by {plan.metric} --sort-order {order}\n"
        f"take one's parameters: dvc exp apply NAME; train with them: {repro}"
    )


def _repository() -> Repo:
    needs = "a sweep is recorded in a repository of git and DVC"
    elsewhere = "record it where they are, with the same folder"
    if shutil.which("git") is None:
        raise GeoductError(f"{needs}, but git is not installed here; {elsewhere}")
    try:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo
        from dvc.scm import NoSCM
    except ImportError:
        raise GeoductError(f"{needs}, but DVC is not installed here; {elsewhere}") from None
    try:
        repo = Repo()
        if isinstance(repo.scm, NoSCM) or repo.scm.no_commits:
            raise GeoductError(f"{needs}, and {repo.root_dir} has no commit of git")
    except DvcException as error:
        raise GeoductError(f"{needs}, and {Path.cwd()} is in none: {first_line(error)}") from None
    return repo


def _at_head(repo: Repo, plan: Plan, root: Path) -> tuple[str, dict[str, str]]:
    """The text of params.yaml, and of each dvc.lock without the stages that learn or depend on what was learned."""
    import networkx
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    def text(path: str) -> str | None:
        file = repo.fs.join(repo.root_dir, path)
        return str(repo.fs.read_text(file)) if repo.fs.exists(file) else None

    stage = next((stage for stage in repo.index.stages if getattr(stage, "name", None) == plan.component), None)
    params = text(PARAMS)
    if stage is None or params is None:
        raise GeoductError(
            f"the commit HEAD has no {PARAMS} and stage {plan.component!r} of DVC that a trial could change"
        )
    read = [repo.fs.relpath(dep.fs_path, repo.root_dir) if dep.is_in_repo else dep.def_path for dep in stage.deps]
    for name, place in plan.inputs.items():
        if place not in read and os.path.relpath(place, root) not in read:
            raise GeoductError(
                f"the sweep has read the {name} {place}, but stage {plan.component!r} at HEAD reads {', '.join(read)}; "
                f"commit the {PARAMS} of the sweep's experiment first (geoduct experiment NAME)"
            )
    locks: dict[str, Any] = {}
    for changed in (stage, *networkx.ancestors(repo.index.graph, stage)):
        path = repo.fs.join(repo.fs.parent(changed.path_in_repo), LOCK)
        if path not in locks and (lock := text(path)):
            locks[path] = parse_yaml_for_update(lock, path)
        if path in locks:
            locks[path]["stages"].pop(changed.name, None)
    return params, {path: dumps_yaml(lock) for path, lock in locks.items()}


def _files(plan: Plan, trial: FrozenTrial, params: str) -> dict[str, str]:
    """What the commit of a trial has otherwise than HEAD, by path: all but dvc.lock."""
    from pipelines.sections import change_section

    spec = load(plan.component).spec
    values = spec.bind({**arguments(plan, spec, trial.params), spec.outputs[0].name: "model"})[1]
    told = summary(trial)
    scores = {"state": told["state"], plan.metric: best_of(trial, plan), "epochs": told["epochs"]}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    inner = {name: value for name, value in trial.params.items() if name not in values}
    shown = {"metrics": ["metrics.json"], **({"params": [PARAMS]} if inner else {})}
    return {
        PARAMS: change_section(params, plan.component, plain, PARAMS),
        f"{FOLDER}/dvc.yaml": yaml.safe_dump(shown),
        f"{FOLDER}/metrics.json": json.dumps(scores, indent=2) + "\n",
        **({f"{FOLDER}/{PARAMS}": yaml.safe_dump(inner)} if inner else {}),
    }


def _message(trial: FrozenTrial) -> str:
    """What the commit of a trial says, which no other sweep's does."""
    return f"Trial {trial.number} of a sweep, begun {trial.datetime_start}"


def _commit(ref: str, author: str, trial: FrozenTrial, head: str, files: Mapping[str, str]) -> bytes:
    """A commit for git-fast-import(1), of the time when the trial ended."""
    assert trial.datetime_complete is not None, "it is complete or pruned"
    when = int(trial.datetime_complete.timestamp())

    def data(text: str) -> bytes:
        return b"data %d\n%s\n" % (len(text.encode()), text.encode())

    parts = [
        f"commit {ref}\ncommitter {author} {when} +0000\n".encode(),
        data(_message(trial)),
        f"from {head}\n".encode(),
    ]
    parts += [part for path, text in files.items() for part in (f"M 100644 inline {path}\n".encode(), data(text))]
    return b"".join(parts)


def _git(root: Path, *words: str, given: bytes = b"") -> str:
    done = subprocess.run(["git", "-C", str(root), *words], input=given, capture_output=True)
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise GeoductError(f"git {words[0]} refused to record the sweep: {said}")
    return done.stdout.decode()
