"""Charts of the report, drawn by matplotlib as SVG: the same numbers give the same bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from components.evaluate.calibration import Bins
from components.evaluate.history import History, best_epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SOFT, GRID = "#1f2933", "#66727f", "#e4e7eb"
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
"""Three of Okabe and Ito's colours, which every common colour blindness tells apart."""

STEEP = 10
"""Losses are drawn on a logarithmic axis where the largest is more than so many times the least."""

_STYLE: Any = {
    "svg.hashsalt": "geoduct",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


def draw_svg(width: float, height: float, rows: int, columns: int, ratios: tuple[float, ...], paint: Any) -> bytes:
    """Let `paint` fill the axes of a figure of so many inches, and return it as SVG, without date or version."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure((width, height), layout="constrained")
        FigureCanvasSVG(figure)
        sizes = {"height_ratios": ratios} if rows > 1 else {"width_ratios": ratios}
        paint(figure.subplots(rows, columns, squeeze=False, gridspec_kw=sizes).ravel())
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def reliability_chart(bins: Bins) -> bytes:
    """Share right against confidence, and below it how many samples have which confidence."""
    edges = np.linspace(0, 1, len(bins.number) + 1)
    filled = np.flatnonzero(bins.number)
    sure, right = (values[filled] / bins.number[filled] for values in (bins.confidence, bins.correct))

    def paint(axes: list[Axes]) -> None:
        above, below = axes
        above.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (4, 3)), label="perfectly calibrated")
        above.vlines(sure, np.minimum(sure, right), np.maximum(sure, right), color=ORANGE, linewidth=2, label="gap")
        above.plot(sure, right, color=BLUE, marker="o", markersize=4, label="model")
        above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share right", xticklabels=[])
        above.legend(loc="upper left")
        below.bar(
            edges[:-1], bins.number / bins.number.sum(), np.diff(edges), align="edge", color=BLUE, edgecolor="white"
        )
        below.set(xlim=(0, 1), xlabel="confidence", ylabel="share of samples")

    return draw_svg(4.8, 4.6, 2, 1, (3, 1), paint)


def training_chart(history: History) -> bytes:
    """Losses and validation scores by epoch; a dashed line marks the epoch whose weights were kept."""
    from matplotlib.ticker import MaxNLocator

    epochs = np.arange(1, len(next(iter(history.values()))) + 1)
    best = best_epoch(history)
    panels = (
        ("loss", (("train_loss", "training", SOFT), ("val_loss", "validation", BLUE))),
        (
            "validation score",
            (
                ("val_macro_f1", "macro-F1", BLUE),
                ("val_accuracy", "accuracy", GREEN),
                ("val_macro_ap", "mean average precision", ORANGE),
            ),
        ),
    )

    def paint(axes: list[Axes]) -> None:
        for place, (title, lines) in zip(axes, panels, strict=True):
            for name, label, colour in lines:
                if name in history:
                    mark = "o" if len(epochs) < 25 else None
                    place.plot(epochs, history[name], color=colour, label=label, marker=mark, markersize=3)
            if best is not None:
                place.axvline(best + 1, color=INK, linewidth=1, linestyle=(0, (4, 3)), label="kept")
            place.set(xlabel="epoch", ylabel=title)
            place.xaxis.set_major_locator(MaxNLocator(integer=True))
            if place.get_legend_handles_labels()[0]:
                place.legend()
        losses = np.array([history[name] for name, *_ in panels[0][1] if name in history])
        if losses.size and np.nanmin(losses) > 0 and np.nanmax(losses) > STEEP * np.nanmin(losses):
            axes[0].set_yscale("log")
        axes[1].set_ylim(top=1)

    return draw_svg(11, 3.3, 1, 2, (1, 1), paint)


def interval_chart(rows: list[tuple[str, list[tuple[str, float, float, float]]]]) -> bytes:
    """Scores of classifiers with their intervals: for each score, the classifiers' (name, value, low, high)."""
    colours = (BLUE, ORANGE, SOFT)

    def paint(axes: list[Axes]) -> None:
        for place, (title, values) in zip(axes, rows, strict=True):
            for y, (_, value, low, high) in enumerate(values):
                place.plot([low, high], [y, y], color=colours[y], linewidth=5, alpha=0.35, solid_capstyle="butt")
                place.plot([value], [y], color=colours[y], marker="o", markersize=7, clip_on=False)
            place.set(title=title, xlim=(0, 1), ylim=(len(values) - 0.5, -0.5), yticks=range(len(values)))
            place.set_yticklabels([name for name, *_ in values] if place is axes[0] else [])
            place.tick_params(axis="y", length=0)
            place.spines["left"].set_visible(False)
            place.grid(axis="y", visible=False)

    return draw_svg(11, 1.9, 1, len(rows), (1,) * len(rows), paint)
