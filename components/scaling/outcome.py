"""What a scaling study found: a table, the figures with all that they depend on, and a plot of both."""

from __future__ import annotations

import csv
import io
import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import GeoductError
from components.scaling.study import TIMES, Study, place_of, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TABLE, FIGURES, PLOT = "scaling.csv", "scaling.json", "scaling.png"
SHARES = ("data", "forward", "backward", "communication", "optimiser", "other")
_COLOURS = ("#c9a227", "#2c7fb8", "#7fcdbb", "#d7301f", "#756bb1", "#bdbdbd")
MODES = ("strong", "weak")
_HARDWARE = ("gpu", "cpu", "cores", "threads", "torch")


def write(study: Study, folder: Path) -> str:
    """Write table, figures and plot of the runs measured so far into `folder`; returns the table as text.

    Raises:
        GeoductError: one rank alone is not measured yet, to which the others are compared.
    """
    found = {run: place_of(folder, run) for run in study.runs() if (place_of(folder, run) / TIMES).exists()}
    told = {run: json.loads((place / TIMES).read_text()) for run, place in found.items()}
    for place in found.values():
        tidy(place)
    alone = told.get(study.run("weak", 1))
    if alone is None:
        raise GeoductError(f"{folder} has no measured run of one rank, which the others are compared with")
    base = speed(alone)["samples_per_second"]
    rows: list[dict[str, Any]] = []
    for mode in MODES:
        for ranks in study.ranks:
            if times := told.get(study.run(mode, ranks)):
                seen = speed(times)
                efficiency = seen["samples_per_second"] / (ranks * base)
                about = {"mode": mode, "ranks": ranks, "nodes": times["nodes"], "load": times["load"]}
                rows.append({**about, **seen, "efficiency": efficiency, **shares(times)})
    rows = [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    hardware = {name: alone[name] for name in _HARDWARE}
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    (folder / TABLE).write_text(text.getvalue())
    said = {"component": study.component, "arguments": study.arguments, "batch": study.batch, "steps": study.steps}
    (folder / FIGURES).write_text(json.dumps({"hardware": hardware, **said, "rows": rows}, indent=1) + "\n")
    (folder / PLOT).write_bytes(_plot(rows, f"{study.component} on {_named(hardware)}"))
    return _text(rows)


def _named(hardware: dict[str, Any]) -> str:
    return str(hardware["gpu"] or f"{hardware['cpu']}, {hardware['cores']} cores")


def _middle(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The middle half of the steps by duration: what else the machine did for a moment has no say."""
    ordered = sorted(rows, key=lambda row: float(row["seconds"]))
    quarter = len(ordered) // 4
    return ordered[quarter : len(ordered) - quarter]


def speed(times: dict[str, Any]) -> dict[str, float]:
    """Samples a second of all ranks, with quartiles over the steps, and the patches in a batch of one rank."""
    plain = times["steps"]["plain"]
    middle = _middle(plain)
    samples = sum(row["samples"] for row in middle)
    each = [row["samples"] / row["seconds"] for row in plain]
    low, _, high = statistics.quantiles(each, n=4) if len(each) > 1 else each * 3
    return {
        "batch": samples / len(middle) / times["ranks"],
        "samples_per_second": samples / sum(row["seconds"] for row in middle),
        "low": low,
        "high": high,
    }


def shares(times: dict[str, Any]) -> dict[str, float]:
    """Of the time of a step, the share of each of the `SHARES`, as rank 0 sees it.

    Communication is what forward and backward pass take longer while the ranks exchange gradients and the buffers of
    batch normalisation, and the question after each step whether to stop.
    """
    whole, apart = (_mean(_middle(times["steps"].get(kind, times["steps"]["parted"]))) for kind in ("parted", "apart"))
    computing = {part: min(whole[part], apart[part]) for part in ("forward", "backward")}
    exchanging = sum(whole[part] - seconds for part, seconds in computing.items()) + whole["agreement"]
    seconds = {
        "data": whole["data"],
        **computing,
        "communication": exchanging,
        "optimiser": whole["optimiser"],
    }
    seconds["other"] = max(0.0, whole["seconds"] - sum(seconds.values()))
    return {name: seconds[name] / whole["seconds"] for name in SHARES}


def _mean(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}


def _text(rows: list[dict[str, Any]]) -> str:
    head = f"{'':7s}{'ranks':>6s}{'nodes':>6s}{'batch':>7s}{'samples/s':>11s}{'efficiency':>11s}"
    lines = [head + "".join(f"{name:>{len(name) + 2}s}" for name in SHARES)]
    for row in rows:
        line = f"{row['mode']:7s}{row['ranks']:6d}{row['nodes']:6d}{row['batch']:7.1f}{row['samples_per_second']:11.1f}"
        line += f"{row['efficiency']:11.0%}" + "".join(f"{row[name]:{len(name) + 2}.0%}" for name in SHARES)
        lines.append(line)
    return "\n".join(lines)


def _plot(rows: list[dict[str, Any]], title: str) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    _speeds(left, rows)
    _stacks(right, rows)
    figure.suptitle(title, fontsize=11)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120)
    return out.getvalue()


def _speeds(axes: Axes, rows: list[dict[str, Any]]) -> None:
    ranks = sorted({row["ranks"] for row in rows})
    base = next(row["samples_per_second"] for row in rows if row["ranks"] == 1)
    axes.plot(ranks, [base * n for n in ranks], "--", color="#888888", label="ideal")
    for mode, marker in zip(MODES, "os", strict=True):
        mine = [row for row in rows if row["mode"] == mode]
        middle = [row["samples_per_second"] for row in mine]
        spread = [
            [max(0.0, m - row["low"]) for m, row in zip(middle, mine, strict=True)],
            [max(0.0, row["high"] - m) for m, row in zip(middle, mine, strict=True)],
        ]
        axes.errorbar([row["ranks"] for row in mine], middle, yerr=spread, marker=marker, capsize=3, label=mode)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:.3g}")
    axes.set_xticks(ranks)
    axes.set_yticks([base * n for n in ranks])  # so that the grid shows what one rank, two ranks … would ideally do
    axes.set_xlabel("ranks")
    axes.set_ylabel("samples a second (bars: quartiles)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def _stacks(axes: Axes, rows: list[dict[str, Any]]) -> None:
    places = [i + (row["mode"] == "weak") * 0.7 for i, row in enumerate(rows)]
    bottom = [0.0] * len(rows)
    for name, colour in zip(SHARES, _COLOURS, strict=True):
        heights = [100 * row[name] for row in rows]
        axes.bar(places, heights, bottom=bottom, color=colour, label=name, width=0.8)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    for place, row in zip(places, rows, strict=True):
        axes.text(place, 101.5, f"{row['efficiency']:.0%}", ha="center", fontsize=9)
    axes.set_xticks(places, [f"{row['mode']}\n{row['ranks']}" for row in rows])
    axes.set_xlabel("ranks")
    axes.set_ylim(0, 110)
    axes.set_ylabel("share of a step in % (above: efficiency)")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
