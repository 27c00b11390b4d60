"""A scaling study: which runs it has, the arguments of each, and what is left of them in its folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from components.errors import STOPPED, GeoductError, nearest
from components.flags import parse
from components.launch.plan import command_line
from components.progress import TIMES_FILE, TIMES_STEPS, say
from components.registry import load
from components.storage import remove

STUDY, RUNS, TIMES, LOG = "study.json", "runs", "times.json", "log"
"""Files of a study's folder: what is studied, and a folder a run with its times and what it said."""

_EPOCHS = 100_000
"""More than any run gets through: it ends once its steps are measured."""
_FIXED: dict[str, dict[str, Any]] = {
    "train": {"epochs": _EPOCHS, "patience": 0},
    "pretrain": {"epochs": _EPOCHS},
    "finetune": {},
}
"""The components whose runs can be measured, and what their runs are told beside the size of a batch."""


@dataclass(frozen=True)
class Run:
    """One run: so many ranks, so many patches in a batch of each."""

    ranks: int
    batch: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.ranks}x{self.batch}"

    @property
    def size(self) -> str:
        """How many ranks, in words."""
        return "1 rank" if self.ranks == 1 else f"{self.ranks} ranks"


@dataclass(frozen=True)
class Study:
    """What is studied.

    `arguments` are the component's, as text by name; `batch` is that of one rank alone, of all ranks together in
    strong scaling, and of each rank in weak scaling; `steps` of each kind are counted in each run.
    """

    component: str
    arguments: dict[str, Any]
    ranks: tuple[int, ...]
    batch: int
    steps: int

    def run(self, mode: str, ranks: int) -> Run:
        """The run of `ranks` ranks in `strong` or `weak` scaling."""
        return Run(ranks, self.batch // ranks if mode == "strong" else self.batch)

    def runs(self) -> list[Run]:
        """All of them, each once."""
        return list(dict.fromkeys(self.run(mode, n) for n in self.ranks for mode in ("strong", "weak")))


def plan(words: list[str], ranks: tuple[int, ...], batch: int, steps: int) -> Study:
    """A study of what `words` say, a component and its flags.

    Raises:
        GeoductError: the component cannot be studied, sets what the study sets, or the numbers do not go together.
    """
    name = words[0] if words else ""
    if name not in _FIXED:
        raise GeoductError(f"scaling: there is no component {name!r} that learns{nearest(name, _FIXED)}")
    if 1 not in ranks or min(ranks) < 1 or len(set(ranks)) < len(ranks):
        raise GeoductError(f"scaling: --ranks is {_listed(ranks)}; expected numbers of ranks, 1 among them, each once")
    if odd := [n for n in ranks if batch % n]:
        raise GeoductError(f"scaling: --batch is {batch}, which {odd[0]} ranks cannot share; expected a multiple of it")
    if batch < 1 or steps < 1:
        raise GeoductError(f"scaling: --batch is {batch} and --steps {steps}; expected at least 1")
    spec = load(name).spec
    given = parse(spec, words[1:])
    own = {*_FIXED[name], spec.outputs[0].name, "devices", "dry_run", "batch_size"}
    if taken := sorted(own & given.keys()):
        flag = taken[0].replace("_", "-")
        raise GeoductError(f"scaling: --{flag} is set by the study itself; leave it out")
    study = Study(name, given, tuple(sorted(ranks)), batch, steps)
    spec.bind(_arguments(study, Run(1, batch), Path("runs")))
    return study


def _listed(ranks: tuple[int, ...]) -> str:
    return ",".join(map(str, ranks))


def _arguments(study: Study, run: Run, place: Path) -> dict[str, Any]:
    given = {**study.arguments, **_FIXED[study.component]}
    if study.component == "finetune":
        said = [f"trainer.max_epochs={_EPOCHS}", f"data.init_args.batch_size={run.batch}"]
        given["override"] = [*given.get("override", []), *said]
    else:
        given["batch_size"] = run.batch
    given[load(study.component).spec.outputs[0].name] = str(place / "nothing")
    return given


def keep(study: Study, folder: Path) -> None:
    """Write down what is studied in `folder`.

    Raises:
        GeoductError: it holds another study, or one that cannot be read.
    """
    file = folder / STUDY
    if file.exists():
        stored = kept(folder)
        study = replace(study, ranks=tuple(sorted({*stored.ranks, *study.ranks})))  # a study may be extended
        if changed := [
            name for name, value in asdict(stored).items() if name != "ranks" and value != getattr(study, name)
        ]:
            raise GeoductError(f"{folder} holds a study with another {changed[0]!r}; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(json.dumps(asdict(study), indent=1) + "\n")
    partial.replace(file)


def kept(folder: Path) -> Study:
    """The study of a folder.

    Raises:
        GeoductError: it holds none.
    """
    try:
        said = json.loads((folder / STUDY).read_text())
        return Study(**{**said, "ranks": tuple(said["ranks"])})
    except (OSError, ValueError, TypeError, KeyError):
        raise GeoductError(f"{folder} holds no scaling study; expected {STUDY} in it") from None


def place_of(folder: Path, run: Run) -> Path:
    """The folder of a run."""
    return folder.absolute() / RUNS / run.name


def prepare(folder: Path, run: Run) -> Path:
    """The folder of a run that is to begin, without what an earlier attempt has left."""
    place = place_of(folder, run)
    remove(place)
    place.mkdir(parents=True)
    return place


def outstanding(study: Study, folder: Path) -> list[Run]:
    """The runs that are not yet measured."""
    return [run for run in study.runs() if not (place_of(folder, run) / TIMES).exists()]


def words_of(study: Study, run: Run, folder: Path) -> list[str]:
    """The component and its flags for a run, with absolute paths; its times go into its folder."""
    return command_line(load(study.component).spec, _arguments(study, run, place_of(folder, run)))[1:]


def measure(study: Study, run: Run, folder: Path) -> None:
    """Measure one run, all of whose ranks are on this machine.

    Raises:
        GeoductError: it failed, with its last words.
    """
    place = prepare(folder, run)
    say(f"scaling: {run.size}, batches of {run.batch}")
    variables: Mapping[str, str] = {
        **os.environ,
        TIMES_FILE: str(place / TIMES),
        TIMES_STEPS: str(study.steps),
        "GEODUCT_LAUNCHER": "host",
    }
    words = [sys.executable, "-m", "components", *words_of(study, run, folder), "--devices", str(run.ranks)]
    with (place / LOG).open("w") as log:
        code = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT, env=variables).returncode
    said = (place / LOG).read_text(errors="replace").strip().splitlines()
    if code != STOPPED or not (place / TIMES).exists():
        raise GeoductError(
            f"scaling: the run with {run.size} ended with exit code {code}: {said[-1] if said else 'no word'}"
        )
    tidy(place)


def tidy(place: Path) -> None:
    """Remove what a measured run has left, a Model half-made, and keep its times and what it said."""
    for left in place.iterdir():
        if left.name not in (TIMES, LOG):
            remove(left)
