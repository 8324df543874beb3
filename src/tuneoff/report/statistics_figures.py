"""Draw the figures of the statistics: anytime curves, critical differences, time to target and the break-even map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ..analysis.anytime import Anytime, Trace
from ..analysis.best_so_far import FOREMOST, Axis, Floats, foremost
from ..analysis.break_even import BreakEven
from ..analysis.common_budget import Course
from ..analysis.stats.significance import cliques
from ..analysis.stats.statistics import Standing
from ..analysis.time_to_target import reached
from ..core.text import count, shortened
from .figures import INK, LINE, ROUND, SOFT, STYLE, THIN_LINE, axis_unit, colour_of, dashes_of, empty_axes, mark, name_ends

Measure = Literal["regret", "rank"]
LEAST_REGRET = 1e-3
"""Smaller regrets are drawn at this value, because the axis is logarithmic and the best known result has a regret of 0."""
MOST_ON_A_LINE = 16
_ROW = 19
"""The distance between the labels of two methods in CSS pixels."""
_LABEL = 24
"""The largest number of letters of a method's label."""


@style.context(STYLE)
def figure_anytime(numbers: Anytime, measure: Measure, colours: Mapping[str, int]) -> Figure:
    """Draw means over blocks with their 95 % bootstrap intervals, as steps."""
    figure, axes = empty_axes(380, 260)
    alone = len(numbers.full) == 1
    end = numbers.full[0] if alone else 100.0
    per, label = axis_unit(numbers.clock, end) if alone else (1.0, f"{_clock_said(numbers.clock)}, % of the common budget")
    traces = numbers.regret if measure == "regret" else numbers.rank
    for trace in traces:
        strong = len(traces) <= FOREMOST or trace.low is not None
        _trace(axes, trace, numbers.shares * end / per, measure, colours[trace.method], strong)
    axes.set(xlim=(0, end / per), xlabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    if numbers.clock != "seconds":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    if measure == "rank":
        axes.set(ylabel="mean rank", ylim=_rank_limits(traces))
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    else:
        axes.set_ylabel("normalised regret")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if len(traces) > FOREMOST:
        least = LEAST_REGRET if measure == "regret" else 0.0
        ends = {t.method: max(float(t.mean[-1]), least) for t in traces if t.low is not None and np.isfinite(t.mean[-1])}
        name_ends(axes, ends, colours)
    return figure


def _rank_limits(traces: Sequence[Trace]) -> tuple[float, float]:
    """Return the limits of the rank axis, worst first: all ranks, or with many methods those after the first twentieth."""
    if len(traces) <= FOREMOST:
        return len(traces) + 0.2, 0.8
    late = [v for t in traces for v in (t.mean, t.low, t.high) if v is not None]
    values = np.concatenate([v[len(v) // 20 :] for v in late])
    values = values[np.isfinite(values)]
    return (float(values.max()) + 0.5, float(values.min()) - 0.5) if len(values) else (len(traces) + 0.2, 0.8)


@style.context(STYLE)
def figure_critical_difference(standings: Sequence[Standing], difference: float, colours: Mapping[str, int]) -> Figure:
    """Draw mean ranks on a line, the best at the left. A bar joins methods within Nemenyi's critical difference.

    More than 16 methods get a row each, because their lines would cross all others.
    """
    ordered = sorted(standings, key=lambda s: s.rank)
    bars = cliques(np.array([s.rank for s in ordered]), difference)
    if len(ordered) > MOST_ON_A_LINE:
        return _ranks_below_each_other(ordered, bars, difference, colours)
    methods, half = len(ordered), (len(ordered) + 1) // 2
    top = 30.0 + 9 * len(bars)
    height = top + _ROW * half + 52
    figure = Figure(figsize=(700 / 72, height / 72), dpi=72)
    figure.patch.set_visible(False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, 700), ylim=(height - 48, -48))
    left, right = 215.0, 485.0

    def at(rank: float) -> float:
        return left + (rank - 1) / (methods - 1) * (right - left)

    axes.plot([left, right], [0, 0], color=INK, linewidth=1)
    for rank in _rank_ticks(methods):
        axes.plot([at(rank)] * 2, [-5, 0], color=INK, linewidth=1)
        axes.text(at(rank), -8, str(rank), ha="center", va="bottom")
    width = min(difference / (methods - 1), 1.0) * (right - left)
    axes.plot([left, left + width], [-34, -34], color=INK, linewidth=2)
    axes.text(left + width + 6, -34, f"critical difference {difference:.2f}", va="center")
    for number, (first, last) in enumerate(bars):
        axes.plot([at(first) - 2, at(last) + 2], [12.0 + 9 * number] * 2, color=INK, linewidth=4, solid_capstyle="butt")
    for position, standing in enumerate(ordered):
        on_left = position < half
        row = top + _ROW * (position if on_left else methods - 1 - position)
        edge, words = (left - 22, "right") if on_left else (right + 22, "left")
        index = colours[standing.method]
        (line,) = axes.plot(
            [at(standing.rank)] * 2 + [edge], [0, row, row], color=colour_of(index), linewidth=1.4, linestyle=dashes_of(index)
        )
        mark(line, f"m{index}", f"{standing.method}, mean rank {standing.rank:.2f}")
        label = (shortened(standing.method, _LABEL), f"{standing.rank:.2f}")
        text = axes.text(edge + (-5 if on_left else 5), row, "  ".join(label if on_left else label[::-1]), ha=words, va="center")
        text.set(color=INK, parse_math=False)
        mark(text, f"m{index}")
    return figure


def _ranks_below_each_other(
    ordered: Sequence[Standing], bars: Sequence[tuple[float, float]], difference: float, colours: Mapping[str, int]
) -> Figure:
    """Draw one row per method with a dot at its mean rank; bars at the right join rows within the critical difference."""
    methods, left, right = len(ordered), 215.0, 700 - 30 - 9.0 * len(bars)
    height = 60 + _ROW * methods
    figure = Figure(figsize=(700 / 72, height / 72), dpi=72)
    figure.patch.set_visible(False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, 700), ylim=(height - 48, -48))
    low, high = ordered[0].rank, ordered[-1].rank
    reach = max(high - low, difference)

    def at(rank: float) -> float:
        return left + (rank - low) / reach * (right - left)

    axes.plot([left, right], [0, 0], color=INK, linewidth=1)
    for rank in MaxNLocator(8, integer=True).tick_values(low, low + reach):
        if low <= rank <= low + reach:
            axes.plot([at(rank)] * 2, [-5, 0], color=INK, linewidth=1)
            axes.text(at(rank), -8, f"{rank:g}", ha="center", va="bottom")
    axes.plot([left, at(low + difference)], [-34, -34], color=INK, linewidth=2)
    axes.text(left - 8, -34, f"critical difference {difference:.2f}", va="center", ha="right")
    rows = {s.method: 18.0 + _ROW * place for place, s in enumerate(ordered)}
    for standing in ordered:
        index, row = colours[standing.method], rows[standing.method]
        axes.plot([left, right], [row, row], color=LINE, linewidth=1, zorder=1)
        (line,) = axes.plot(
            [left, at(standing.rank)], [row, row], color=colour_of(index), linewidth=1.4, linestyle=dashes_of(index), zorder=2
        )
        (dot,) = axes.plot([at(standing.rank)], [row], color=colour_of(index), marker="o", markersize=6, zorder=3)
        for artist in (line, dot):
            mark(artist, f"m{index}", f"{standing.method}, mean rank {standing.rank:.2f}")
        text = axes.text(left - 8, row, f"{shortened(standing.method, _LABEL)}  {standing.rank:.2f}", ha="right", va="center")
        text.set(color=INK, parse_math=False)
        mark(text, f"m{index}")
    for place, (first, last) in enumerate(bars):
        within = [rows[s.method] for s in ordered if first <= s.rank <= last]
        axes.plot([right + 16 + 9 * place] * 2, [within[0] - 5, within[-1] + 5], color=INK, linewidth=4, solid_capstyle="butt")
    return figure


@style.context(STYLE)
def figure_reached(course: Course, loss: float, colours: Mapping[str, int]) -> Figure:
    """Draw the share of each method's seeds that had reached a loss, against the budget."""
    figure, axes = empty_axes(380, 240)
    per, label = axis_unit(course.clock, course.full)
    shares_by_method = reached(course, loss)
    seen = foremost(course.methods, list(-shares_by_method.mean(axis=1)))
    for method, shares in zip(course.methods, shares_by_method, strict=True):
        index, keep = colours[method], _changed(shares)
        at, height = np.append(course.budgets[keep], course.full), np.append(shares[keep], shares[-1])
        strong = seen is None or method in seen
        looks = {"linestyle": dashes_of(index), "linewidth": 1.8, "zorder": 4} if strong else THIN_LINE
        (line,) = axes.step(at / per, 100 * height, where="post", color=colour_of(index), **looks)
        mark(line, f"m{index}", method)
    axes.set(xlim=(0, course.full / per), ylim=(-3, 103), xlabel=label, ylabel="seeds that reached it, %")
    if course.clock != "seconds":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    if seen is not None:
        ends = {m: 100 * float(v[-1]) for m, v in zip(course.methods, shares_by_method, strict=True) if m in seen}
        name_ends(axes, ends, colours)
    return figure


@style.context(STYLE)
def figure_break_even(rows: Sequence[BreakEven], colours: Mapping[str, int]) -> Figure:
    """Draw the break-even map of one data set: a row per method, a column per clock, a bar from the break-even budget on."""
    clocks = list(dict.fromkeys(r.clock for r in rows))
    methods = [m for m in dict.fromkeys(r.method for r in rows) if not any(r.is_random for r in rows if r.method == m)]
    height = 58 + 22 * max(len(methods), 1)
    figure = Figure(figsize=(1120 / 72, height / 72), dpi=72, layout="constrained")
    figure.patch.set_visible(False)
    for column, clock in enumerate(clocks):
        axes = figure.add_subplot(1, len(clocks), column + 1)
        axes.patch.set_visible(False)
        by_method = {r.method: r for r in rows if r.clock == clock}
        full = next(iter(by_method.values())).full
        per, label = axis_unit(clock, full)
        for row, method in enumerate(methods):
            _break_even(axes, row, by_method[method], per, colours[method])
        labels = [shortened(m, _LABEL) for m in methods] if column == 0 else [""] * len(methods)
        axes.set_yticks(range(len(methods)), labels, color=INK, parse_math=False)
        axes.set(xlim=(0, full / per), ylim=(len(methods) - 0.5, -0.5), xlabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND, integer=clock != "seconds"))
        if clock != "seconds":
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    return figure


def _break_even(axes: Axes, row: int, result: BreakEven, per: float, index: int) -> None:
    full = result.full / per
    if result.budget is None:
        label = f"never (wins {result.at_full:.0%} of the pairs at the end)"
        text = axes.text(full / 2, row, label, ha="center", va="center", color=SOFT, size=10)
        mark(text, f"m{index}", f"{result.method}: does not beat random search within this budget")
        return
    at = result.budget / per
    (bar,) = axes.plot([at, full], [row, row], color=colour_of(index), linewidth=9, alpha=0.35, solid_capstyle="butt")
    (dot,) = axes.plot([at], [row], color=colour_of(index), marker="o", markersize=7)
    for artist in (bar, dot):
        mark(artist, f"m{index}", f"{result.method}: beats random search from {at:.3g} on")


def _trace(axes: Axes, trace: Trace, at: Floats, measure: Measure, index: int, strong: bool) -> None:
    least = LEAST_REGRET if measure == "regret" else 0.0
    finite = np.isfinite(trace.mean)
    if not finite.any():
        return
    mean, x = np.maximum(trace.mean[finite], least), at[finite]
    if trace.low is not None and trace.high is not None:
        low, high = (np.maximum(v[finite], least) for v in (trace.low, trace.high))
        keep = _changed(low, high)
        area = axes.fill_between(x[keep], low[keep], high[keep], step="post", color=colour_of(index), alpha=0.14, linewidth=0)
        mark(area, f"m{index}", f"{trace.method}, 95 % interval of the mean")
    keep = _changed(mean)
    looks = {"linestyle": dashes_of(index), "linewidth": 1.8, "zorder": 4} if strong else THIN_LINE
    (line,) = axes.step(x[keep], mean[keep], where="post", color=colour_of(index), **looks)
    mark(line, f"m{index}", f"{trace.method}, mean")


def _changed(*values: Floats) -> npt.NDArray[np.intp]:
    """Return the indices of the steps at which a value changes, and always the first and the last."""
    stacked = np.stack(values)
    new = np.concatenate([[True], (stacked[:, 1:] != stacked[:, :-1]).any(axis=0)])
    new[-1] = True
    return np.flatnonzero(new)


def _rank_ticks(methods: int) -> list[int]:
    step = max(1, round(methods / 10))
    return [*range(1, methods + 1, step)]


def _clock_said(clock: Axis) -> str:
    return {"trials": "configurations", "epochs": "epochs trained", "seconds": "seconds"}[clock]
