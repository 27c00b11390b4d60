"""Experiments: the same pipeline at another place. An experiment is a small YAML of what differs from the defaults.

`params.yaml` is the active experiment, spelled out: every parameter of every component, defaults from the
signatures with the experiment's values laid over. It is written by `geoduct experiment <name>` and read by
`dvc.yaml`; each experiment has its own folder under `data/`, so going back to one recomputes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from components.errors import GeoductError, nearest
from components.registry import COMPONENTS, load
from pipelines.sections import check_section, read_sections

FOLDER = "experiments"
PARAMS = "params.yaml"
OWN = ("description", "needs", "inputs")
INPUTS = ("catalog", "labels")


def known(root: Path) -> list[str]:
    """Names of the experiments in `root`/experiments."""
    return sorted(p.stem for p in (root / FOLDER).glob("*.yaml"))


def read(root: Path, name: str) -> dict[str, Any]:
    """Read an experiment as written.

    Raises:
        GeoductError: there is none of that name, or it is not a YAML mapping.
    """
    file = root / FOLDER / f"{name}.yaml"
    if not file.is_file():
        raise GeoductError(f"there is no experiment {name!r} in {root / FOLDER}{nearest(name, known(root))}")
    return read_sections(file)


def compose(root: Path, name: str) -> dict[str, Any]:
    """All parameters of an experiment: the signatures' defaults, and the experiment's values over them.

    Raises:
        GeoductError: a component or parameter is unknown, or a value is refused; the file is named.
    """
    overlay = read(root, name)
    file = f"{FOLDER}/{name}.yaml"
    for key in overlay:
        if key not in (*COMPONENTS, *OWN):
            raise GeoductError(f"{file} has no use for {key!r}{nearest(str(key), [*COMPONENTS, *OWN])}")
    inputs = overlay.get("inputs")
    if not isinstance(inputs, dict) or set(inputs) != set(INPUTS):
        raise GeoductError(f"{file}: inputs is {inputs!r}; expected a mapping with {' and '.join(INPUTS)}")
    composed: dict[str, Any] = {"experiment": name, "inputs": {key: str(inputs[key]) for key in INPUTS}}
    for component in COMPONENTS:
        values = check_section(load(component).spec, overlay.get(component), file)
        composed[component] = {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
    return composed


def render(root: Path, name: str) -> str:
    """The text of `params.yaml` for an experiment."""
    about = " ".join(str(read(root, name).get("description", "")).split())
    origin = f"Written by `geoduct experiment {name}` from {FOLDER}/{name}.yaml; change it there."
    text = yaml.safe_dump(compose(root, name), sort_keys=False, default_flow_style=None, width=110)
    return f"# Experiment {name!r}: {about}\n# {origin}\n{text}"


def activate(root: Path, name: str) -> str:
    """Write `params.yaml` for an experiment and say what to do next.

    Raises:
        GeoductError: it is unknown or faulty, or data that it needs are not here; `params.yaml` is then unchanged.
    """
    text = render(root, name)
    for place, remedy in (read(root, name).get("needs") or {}).items():
        if not (root / place).exists():
            raise GeoductError(f"experiment {name!r} needs {place}, which is not here; {remedy}")
    partial = root / f".{PARAMS}.partial"
    partial.write_text(text)
    partial.replace(root / PARAMS)
    return f"{PARAMS} now describes experiment {name!r}; run it with: dvc repro"


def active(root: Path) -> str:
    """Say which experiment `params.yaml` describes, and where its report and map are.

    Raises:
        GeoductError: there is no readable `params.yaml`.
    """
    try:
        name = str(yaml.safe_load((root / PARAMS).read_text())["experiment"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        raise GeoductError(f"{root / PARAMS} names no experiment; write it with: geoduct experiment <name>") from None
    lines = [f"experiment {name!r} is active; known: {', '.join(known(root))}"]
    for what, file in {"report": "report/report.html", "map": "map/classes.tif"}.items():
        place = Path("data") / name / file
        lines.append(f"{what}: {place}" if (root / place).exists() else f"{what}: not made yet (dvc repro)")
    return "\n".join(lines)
