"""The reference of all components as Markdown, written from their signatures: `python -m components.reference`."""

from __future__ import annotations

from pathlib import Path

from components.parameters import Parameter
from components.registry import COMPONENTS, load
from components.spec import Spec

FILE = Path("docs") / "components.md"

_HEAD = """# Components

Written by `make docs` from the signatures in `components/`; a test keeps it true. Every component is run as
`geoduct <component> --flag value …` and takes its parameters from the section of `params.yaml` that has its name. Each
is a stage of `dvc.yaml` but `search` and `publish`, which are for runs where many branches share one search and one
collection, `pretrain`, whose weights many fine-tunings share, and `export`. `finetune` and `compare` are stages of
`hpc/dvc.yaml`.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(parameter: Parameter) -> str:
    value = parameter.default
    words = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    if value is None:
        return "none"
    return "nothing" if not words else f"`{words.lower() if isinstance(value, bool) else words}`"


def section(spec: Spec) -> str:
    """One component: what it does, what it reads and writes, its parameters."""
    lines = [f"## {spec.name}", "", spec.summary, ""]
    if spec.description:
        lines += [spec.description, ""]
    lines += [f"Image `{spec.image}`." + (" A killed run goes on where it stopped." if spec.resumable else ""), ""]
    lines += ["| artifact | kind | | |", "|---|---|---|---|"]
    for slot in spec.slots:
        does = "reads" if slot.direction == "input" else "writes"
        optional = " (may be left out)" if slot.optional else ""
        lines.append(f"| `{slot.flag}` | {slot.kind} | {does}{optional} | {_cell(slot.help)} |")
    if spec.parameters:
        lines += ["", "| parameter | default | expected | |", "|---|---|---|---|"]
        for p in spec.parameters:
            lines.append(f"| `{p.flag}` | {_default(p)} | {_cell(p.expected)} | {_cell(p.help)} |")
    return "\n".join(lines) + "\n"


def reference() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(section(load(name).spec) for name in COMPONENTS)])


if __name__ == "__main__":
    FILE.write_text(reference())
