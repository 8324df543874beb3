"""Draw the README's picture from a finished run: `python tools/docs/readme_picture.py [runs/quickstart]`."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import tuneoff

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "quickstart.svg"
COLOURS = ("#4477aa", "#cc6677", "#228833", "#aa7700", "#aa3377", "#33bbee")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1.5, 2)), "-", "-")
INK, LINE = "#222222", "#dddddd"
COLUMNS = ("data set", "method", "trials", "epochs", "validation", "test")
POSITIONS = (0.0, 0.27, 0.56, 0.70, 0.88, 1.0)
"""Left edges of the two columns of text, then right edges of the four columns of numbers."""


def picture(run: Path) -> Figure:
    """Draw the table of scores and one best-so-far chart per data set.

    Args:
        run: The output folder of a finished study on accuracies.
    """
    results = tuneoff.load(run)
    curves = pd.read_csv(run / "report" / "curves.csv")
    datasets = [dataset.name for dataset in results.study.datasets]
    methods = [method.label for method in results.study.methods]
    figure = Figure(figsize=(10.4, 3.3), facecolor="white", layout="constrained")
    table, *charts = figure.subplots(1, 1 + len(datasets), width_ratios=[1.55, *[1] * len(datasets)])
    _draw_table(table, results.status)
    for chart, dataset in zip(charts, datasets, strict=True):
        _draw_curves(chart, curves[curves["dataset"] == dataset], methods)
        chart.set_title(dataset, fontsize=9, color=INK, loc="left")
    charts[0].set_ylabel("best validation accuracy so far", fontsize=8, color=INK)
    handles, labels = charts[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=len(labels), frameon=False, fontsize=8)
    return figure


def _draw_table(axes: Axes, status: pd.DataFrame) -> None:
    """Write one row per cell: trials, epochs, best validation accuracy, and test accuracy of the retrained winner."""
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(len(status) + 0.6, -0.9))
    rows = [
        (row.dataset, row.method, f"{row.trials}", f"{row.epochs}", f"{row.best:.1%}", f"{row.test_accuracy:.1%}")
        for row in status.itertuples()
    ]
    for line, cells in enumerate([COLUMNS, *rows]):
        for column, (cell, x) in enumerate(zip(cells, POSITIONS, strict=True)):
            axes.text(
                x,
                line - 0.4,
                cell,
                ha="left" if column < 2 else "right",
                va="center",
                fontsize=8,
                color=INK,
                weight="bold" if line == 0 else "normal",
            )
        if line == 0 or (line < len(rows) and rows[line - 1][0] != rows[line][0]):
            axes.plot([0, 1], [line + 0.1] * 2, color=LINE if line else INK, linewidth=0.8)


def _draw_curves(axes: Axes, curves: pd.DataFrame, methods: list[str]) -> None:
    """Draw each method's best value over the epochs trained, as steps."""
    for index, method in enumerate(methods):
        curve = curves[(curves["method"] == method) & (curves["seed"] == curves["seed"].min())]
        epochs, best = curve["epochs"].tolist(), curve["best"].tolist()
        axes.step(epochs, best, where="post", label=method, color=COLOURS[index], linestyle=DASHES[index], linewidth=1.8)
    axes.set_xlabel("epochs trained", fontsize=8, color=INK)
    axes.set(ylim=(0, 1), xlim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(color=LINE, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    with matplotlib.rc_context({"svg.hashsalt": "tuneoff", "svg.fonttype": "path"}):
        PICTURE.parent.mkdir(exist_ok=True)
        picture(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart")).savefig(PICTURE, metadata={"Date": None})
