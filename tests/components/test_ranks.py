"""How the processes of one run find each other, and that they end together. Here each rank is a thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.errors import GeoductError, Halted
from components.ranks import LOST, Place, Ranks, here, together
from tests.components.toys import toys
from tests.makers import labelmap
from tests.ports import free_port

MASTER = {"MASTER_ADDR": "n0", "MASTER_PORT": "29500"}
STEP = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1"}


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, Place()),
        ({**STEP, **MASTER}, Place(3, 4, 1, "n0", 29500)),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", **MASTER}, Place(1, 2, 0, "n0", 29500)),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", **STEP, **MASTER}, Place(1, 2, 0, "n0", 29500)),
        ({**STEP, "SLURM_STEP_NUM_TASKS": "1"}, Place()),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}, Place()),  # a batch script outside srun
    ],
)
def test_the_place_is_read_from_srun_or_torchrun(environment: dict[str, str], place: Place) -> None:
    assert here(environment) == place


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is not set; expected the host of rank 0"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT is 'http'; expected a number"),
        ({"SLURM_PROCID": ""}, "SLURM_PROCID is ''; expected a number"),
    ],
)
def test_a_place_that_is_told_badly_is_refused(change: dict[str, str], words: str) -> None:
    with pytest.raises(GeoductError, match=words):
        here({**STEP, **MASTER, **change})


def test_a_component_of_one_process_is_not_run_by_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = labelmap(tmp_path / "source", np.zeros((3, 4), np.uint8))
    for name, value in {**STEP, **MASTER}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(GeoductError, match="toys runs as one process, but 4 were started"):
        toys.run({"source": source.path, "result": tmp_path / "result"})
    assert not (tmp_path / "result").exists()


def play(*parts: Callable[[Ranks], Any]) -> list[Any]:
    """Run each part as a rank; what it returned, or how it ended."""
    port = free_port()

    def rank(number: int) -> Any:
        try:
            with together(Place(number, len(parts), number, "127.0.0.1", port)) as ranks:
                return parts[number](ranks)
        except BaseException as error:
            return error

    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(rank, range(len(parts))))


def worker(ranks: Ranks) -> Any:
    ranks.meet("key")
    return ranks.share(f"of rank {ranks.rank}")


def ends(found: list[Any]) -> list[tuple[type, int]]:
    return [(type(end), end.code) for end in found]


def test_every_rank_gets_what_rank_0_gives() -> None:
    assert play(worker, worker, worker) == ["of rank 0"] * 3


def refuse(ranks: Ranks) -> None:
    raise GeoductError("the file is not there")


def test_what_one_rank_refuses_rank_0_tells_and_all_end() -> None:
    found = play(worker, refuse, worker)
    assert str(found[0]) == "the file is not there"
    assert ends(found) == [(GeoductError, 2), (SystemExit, 2), (SystemExit, 2)]


def test_what_rank_0_refuses_ends_the_others_in_silence() -> None:
    assert ends(play(refuse, worker, worker)) == [(GeoductError, 2), (SystemExit, 2), (SystemExit, 2)]


def test_what_all_refuse_is_told_by_rank_0_alone() -> None:
    assert ends(play(refuse, refuse)) == [(GeoductError, 2), (SystemExit, 2)]


def test_ranks_of_different_runs_do_not_work_together() -> None:
    found = play(worker, lambda ranks: ranks.meet("another") or ranks.share(None))
    assert "rank 1 of 2 has other parameters or inputs than rank 0" in str(found[0])
    assert ends(found) == [(GeoductError, 2), (SystemExit, 2)]


def die(ranks: Ranks) -> None:
    raise ZeroDivisionError


def test_the_death_of_a_rank_is_noticed() -> None:
    found = play(worker, die, worker)
    assert "rank 1 of 3 has died" in str(found[0])
    assert (type(found[0]), found[0].code) == (Halted, LOST)
    assert (type(found[2]), found[2].code) == (SystemExit, LOST)


def test_the_death_of_rank_0_is_noticed_and_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    found = play(die, worker, worker)
    assert ends(found[1:]) == [(SystemExit, LOST)] * 2
    assert capsys.readouterr().err.count("rank 0 of 3 has died") == 1


def test_an_error_that_follows_from_anothers_end_is_blamed_on_that() -> None:
    def collective(ranks: Ranks) -> None:
        with ranks.blaming():
            raise RuntimeError("connection reset by peer")

    found = play(collective, refuse)
    assert str(found[0]) == "the file is not there"
