"""Write each figure of the report with its legend into its own PDF, PNG or SVG file, for use in a paper."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..analysis.best_so_far import AXES, curve_set
from ..analysis.parallel_coordinates import parallel
from ..analysis.results import Computed, DatasetResults, compute, ranked_names
from ..analysis.table_truth import table_facts
from ..core.store.study_store import StudyResult
from .figures import INK, STYLE, Part, colour_of, dashes_of, figure_curves, figure_family, figure_learning, figure_parallel
from .statistics_figures import Measure, figure_anytime, figure_break_even, figure_critical_difference, figure_reached

FORMS = ("pdf", "png", "svg")
_DPI = 300
_UNDATED: dict[str, dict[str, str | None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
_LEGEND_ROW = 20
"""The height of a row of the legend in CSS pixels."""


def write_figures(result: StudyResult, folder: Path, form: str | None = None) -> None:
    """Make a folder with one file per figure.

    Args:
        result: The study with its record.
        folder: The folder to make. It must not exist.
        form: "pdf", "png" or "svg"; by default "pdf".

    Raises:
        FileExistsError: The folder exists.
    """
    folder.mkdir()
    kind = form or FORMS[0]
    facts, _ = table_facts(result)
    with style.context([*STYLE, {"pdf.fonttype": 42, "svg.hashsalt": result.study.name}]):
        for name, figure in figures(compute(result, {}, facts)):
            figure.patch.set_visible(True)
            figure.savefig(folder / f"{name}.{kind}", format=kind, dpi=_DPI, facecolor="white", metadata=_UNDATED[kind])


def figures(computed: Computed) -> Iterator[tuple[str, Figure]]:
    """Yield each figure of the report with its name."""
    colours = {m["label"]: i for i, m in enumerate(computed.results.study.study["methods"])}
    for dataset in computed.results.datasets:
        yield from _of_dataset(computed, dataset, colours)
    yield from _of_statistics(computed, colours)


def _of_dataset(computed: Computed, dataset: DatasetResults, colours: Mapping[str, int]) -> Iterator[tuple[str, Figure]]:
    name, goal = dataset.name, computed.study.objective
    own = {s.method for s in computed.results.scores if s.dataset == name and s.own_models}
    curves = [c for c in computed.progress if c.dataset == name and c.method not in own]
    shown = curve_set(curves, [b for b in computed.bands if b.dataset == name], goal)
    for axis in shown.ends if shown else ():
        assert shown is not None
        methods = {b.method for b in shown.bands} | {c.method for c in shown.unfinished}
        yield f"{name}-best-so-far-{axis}", _with_legend(figure_curves(shown, axis, colours), methods, colours)
    parts: tuple[Part, ...] = ("search", "retrainings")
    for metric in ("accuracy", "loss"):
        for part in parts:
            if figure := figure_learning(dataset.learning, metric, part, colours):
                methods = {c.method for c in dataset.learning}
                yield f"{name}-learning-{metric}-{part}", _with_legend(figure, methods, colours)
    for family in dataset.families:
        yield f"{name}-lineages-{family.method}-seed-{family.seed}", figure_family(family, colours)
    rows = [r for r in computed.rows if r.dataset == name and not r.own_models]
    if numbers := parallel(rows, computed.study.space, goal, ranked_names(dataset.importance)):
        yield f"{name}-trials", figure_parallel(numbers, colours)


def _of_statistics(computed: Computed, colours: Mapping[str, int]) -> Iterator[tuple[str, Figure]]:
    statistics = computed.results.statistics
    for numbers in computed.figures.anytime:
        methods = [t.method for t in numbers.rank]
        measures: tuple[Measure, ...] = ("regret", "rank")
        for measure in measures:
            figure = figure_anytime(numbers, measure, colours)
            yield f"{_file(numbers.scope)}-{measure}-{numbers.clock}", _with_legend(figure, methods, colours)
    for scope in statistics.scopes:
        for clock in (c for c in scope.clocks if c.critical_difference is not None):
            figure = figure_critical_difference(clock.comparisons[-1].standings, clock.critical_difference or 0.0, colours)
            yield f"{_file(scope.name)}-critical-difference-{clock.clock}", figure
    courses = {(c.dataset, c.clock): c for c in computed.figures.courses}
    for alone in statistics.datasets:
        for axis in AXES:
            for index, goal in enumerate(t for t in alone.targets if t.clock == axis):
                course = courses[alone.dataset, axis]
                figure = figure_reached(course, computed.study.objective.sign * goal.value, colours)
                yield f"{alone.dataset}-target-{index + 1}-{axis}", _with_legend(figure, course.methods, colours)
        if any(not r.is_random for r in alone.break_even):
            yield f"{alone.dataset}-break-even", figure_break_even(alone.break_even, colours)


def _with_legend(figure: Figure, methods: Sequence[str] | set[str], colours: Mapping[str, int]) -> Figure:
    """Make the figure higher and add a legend below it. On the page, one legend serves all figures."""
    named = sorted(methods, key=lambda m: colours[m])
    widest = max(125, 42 + 6.2 * max(map(len, named)))  # line, name and gap, in points
    columns = max(1, min(len(named), int(figure.get_figwidth() * 72 / widest)))
    rows = math.ceil(len(named) / columns)
    figure.set_figheight(figure.get_figheight() + (rows * _LEGEND_ROW + 8) / 72)
    lines = [Line2D([], [], color=colour_of(colours[m]), linestyle=dashes_of(colours[m]), linewidth=2, label=m) for m in named]
    legend = figure.legend(handles=lines, loc="outside lower center", ncols=columns, frameon=False, fontsize=10, handlelength=1.6)
    for text in legend.get_texts():
        text.set(color=INK, parse_math=False)
    return figure


def _file(scope: str) -> str:
    return scope.replace(" ", "-")
