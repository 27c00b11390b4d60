"""`geoduct scaling`: measure training with 1, 2, 4 … ranks, and write a table and a plot of it."""

from __future__ import annotations

import shlex
from argparse import REMAINDER, ArgumentParser, ArgumentTypeError
from pathlib import Path

from components.errors import GeoductError
from components.flags import Parser
from components.launch.plan import Mount
from components.scaling.study import TIMES, keep, kept, measure, outstanding, plan, prepare, words_of


def _ranks(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ArgumentTypeError(f"it is {text!r}; expected numbers with commas, such as 1,2,4") from None


def _parser() -> ArgumentParser:
    parser = Parser(
        prog="geoduct scaling",
        description="Train for a few steps with several numbers of ranks, once with the whole batch constant (strong "
        "scaling) and once with the batch of each rank (weak), and say how efficient that is and where the time goes. "
        "No Model is made. What has been measured is not measured again.",
        allow_abbrev=False,
    )
    parser.add_argument("--ranks", type=_ranks, default=(1, 2), help="how many, with commas, 1 among them [1,2]")
    parser.add_argument("--batch", type=int, default=16, help="patches in the batch of one rank alone [16]")
    parser.add_argument("--steps", type=int, default=12, help="steps of each kind that count, in each run [12]")
    parser.add_argument("--list", action="store_true", help="a line for each run left: ranks, steps, file, command")
    parser.add_argument("--show", action="store_true", help="only write and say what was found so far")
    parser.add_argument("folder", type=Path, help="of the study")
    parser.add_argument("words", nargs=REMAINDER, metavar="component --flag value …", help="train, finetune, pretrain")
    return parser


def main(words: list[str]) -> None:
    """Measure on this machine what is not yet measured, then write and say what was found.

    Raises:
        GeoductError: for anything that the user can mend.
    """
    given = _parser().parse_args(words)
    folder: Path = given.folder
    if not given.show:
        study = plan(given.words, given.ranks, given.batch, given.steps)
        keep(study, folder)
        left = outstanding(study, folder)
        if given.list:
            for run in left:
                file = prepare(folder, run) / TIMES
                print(shlex.join([str(run.ranks), str(study.steps), str(file), *words_of(study, run, folder)]))
            return
        for run in left:
            measure(study, run, folder)
    from components.scaling.outcome import PLOT, TABLE, write

    print(write(kept(folder), folder))
    print(f"table: {folder / TABLE}\nplot: {folder / PLOT}")


def contained(words: list[str]) -> tuple[list[str], list[Mount]]:
    """The words with absolute paths, and what they need to see, for a container in which `--show` runs.

    Raises:
        GeoductError: the words are wrong, or ask for more than to show.
    """
    given = _parser().parse_args(words)
    if not given.show:
        raise GeoductError("scaling: only --show runs in a container; its runs are containers of their own")
    folder = given.folder.absolute()
    return ["--show", str(folder)], [Mount(folder, True)]
