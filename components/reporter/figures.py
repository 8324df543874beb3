"""From numbers to shapes: what the template draws as SVG. No number is computed here that a table does not also give."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.study import Goal
from .curves import Axis, Band, Floats, Learning, Progress
from .numbers import TrialRow
from .parallel import Parallel
from .wording import THIN, bare, count, is_share, metric_name, score, setting, shortened

WIDTH, HEIGHT = 380, 260
WIDE = 460
LEFT, RIGHT, TOP, BOTTOM = 60, 10, 10, 40
PARALLEL_HEIGHT = 380
EARLY = 0.05
"""The first share of an axis that does not decide how far the vertical axis reaches."""


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in the picture's units, and what stands there."""

    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """An SVG path in a method's colour. `style` is a CSS class."""

    path: str
    colour: int
    style: str
    title: str


@dataclass(frozen=True)
class Chart:
    """A picture with two linear axes; the paths' coordinates count from the plot's upper left corner."""

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    areas: tuple[Line, ...]
    lines: tuple[Line, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    top: int = TOP

    @property
    def inner_width(self) -> int:
        return self.width - self.left - RIGHT

    @property
    def inner_height(self) -> int:
        return self.height - self.top - BOTTOM


@dataclass(frozen=True)
class PlotAxis:
    """One vertical axis of a parallel-coordinates plot."""

    x: float
    label: str
    name: str
    ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class PlotLine:
    """One trial as a line over the axes."""

    path: str
    colour: int  # of its method
    fifth: int
    title: str


@dataclass(frozen=True)
class ParallelChart:
    """A parallel-coordinates plot; the last axis is the objective."""

    width: int
    height: int
    top: float
    bottom: float
    axes: tuple[PlotAxis, ...]
    lines: tuple[PlotLine, ...]


Scale = Callable[[float], float]


def curve_charts(
    bands: Sequence[Band], unfinished: Sequence[Progress], ends: Mapping[Axis, float], goal: Goal, colours: Mapping[str, int]
) -> list[Chart]:
    """Best-so-far against each axis, all with the same vertical axis: medians with quartile bands, and searches that have not
    ended as thin lines. No charts where nothing has been found yet."""
    bands = [b for b in bands if np.isfinite(b.median).any()]
    unfinished = [c for c in unfinished if len(c.trial) and np.isfinite(c.best[-1])]
    if not (bands or unfinished):
        return []
    reach = _curves_reach(bands, unfinished, ends, goal)
    return [
        _curve_chart([b for b in bands if b.axis == axis], unfinished, axis, end, reach, goal.metric, colours)
        for axis, end in ends.items()
        if end > 0
    ]


def _curve_chart(
    bands: Sequence[Band],
    unfinished: Sequence[Progress],
    axis: Axis,
    end: float,
    reach: tuple[float, float],
    metric: str,
    colours: Mapping[str, int],
) -> Chart:
    unit, x_label = _axis_unit(axis, end)
    x, y = _scale(0, end, 0, WIDTH - LEFT - RIGHT), _scale(*reach, HEIGHT - TOP - BOTTOM, 0)
    areas = [Line(_area(b, x, y), colours[b.method], "band", f"{b.method}, quartiles over {b.seeds} seeds") for b in bands]
    lines = [
        Line(_steps(c.spent(axis), c.best, x, y, None), colours[c.method], "open", f"{c.method}, seed {c.seed}, not ended")
        for c in unfinished
    ]
    lines += [Line(_steps(b.x, b.median, x, y, b.end), colours[b.method], "median", f"{b.method}, median") for b in bands]
    return Chart(
        title=f"against {'configurations' if axis == 'trials' else axis}",
        x_label=x_label,
        y_label=_score_label(metric),
        x_ticks=tuple(Tick(x(v * unit), _plain(v)) for v in ticks(0, end / unit, 5)),
        y_ticks=_score_ticks(*reach, y, metric),
        areas=tuple(areas),
        lines=tuple(lines),
    )


def _curves_reach(
    bands: Sequence[Band], unfinished: Sequence[Progress], ends: Mapping[Axis, float], goal: Goal
) -> tuple[float, float]:
    """One vertical range for all axes: up to the best, and down to the worst that any chart must show after its start."""
    worst, best = [], []
    for axis, end in ends.items():
        shown = [v for b in bands if b.axis == axis for v in _shown(b, end)]
        losses = [goal.sign * v for v in shown + [v for c in unfinished for v in _seen(c, axis, end)]]
        if losses:
            worst.append(max(losses))
            best.append(min(losses))
    return _reach([goal.sign * min(worst), goal.sign * min(best)])


def learning_charts(curves: Sequence[Learning], colours: Mapping[str, int]) -> list[Chart]:
    """The winners' learning curves: accuracy and loss in the search, then in the retrainings."""
    charts = []
    for metric in ("accuracy", "loss"):
        searched: list[tuple[str, str, str, Sequence[int], Sequence[float | None]]] = []
        retrained: list[tuple[str, str, str, Sequence[int], Sequence[float | None]]] = []
        for c in curves:
            searched.append((c.method, "training", f"{c.method}, training", c.epochs, c.metrics[metric]))
            searched.append((c.method, "median", f"{c.method}, validation", c.epochs, c.metrics["val_" + metric]))
            for number, values in enumerate(r[metric] for r in c.retrainings if r.get(metric)):
                title = f"{c.method}, retraining {number + 1}"
                retrained.append((c.method, "retrained", title, range(1, len(values) + 1), values))
        for title, found in (
            (f"{metric.capitalize()} in the search", searched),
            (f"{metric.capitalize()} in the retrainings", retrained),
        ):
            if chart := _learning_chart(title, metric, found, colours):
                charts.append(chart)
    return charts


def _learning_chart(
    title: str,
    metric: str,
    curves: Sequence[tuple[str, str, str, Sequence[int], Sequence[float | None]]],
    colours: Mapping[str, int],
) -> Chart | None:
    values = [v for *_, found in curves for v in found if v is not None]
    if not values:
        return None
    low, high = _reach(values)
    last = max(epoch for *_, epochs, _ in curves for epoch in epochs)
    x, y = _scale(min(1, last - 1), last, 0, WIDE - LEFT - RIGHT), _scale(low, high, HEIGHT - TOP - BOTTOM, 0)
    return Chart(
        title=title,
        x_label="epoch",
        y_label=_score_label(metric),
        x_ticks=tuple(Tick(x(v), _plain(v)) for v in _epoch_ticks(last)),
        y_ticks=_score_ticks(low, high, y, metric),
        areas=(),
        lines=tuple(Line(_polyline(epochs, found, x, y), colours[m], style, name) for m, style, name, epochs, found in curves),
        width=WIDE,
    )


def parallel_chart(numbers: Parallel, metric: str, colours: Mapping[str, int]) -> ParallelChart:
    """The trials as lines over one axis a hyperparameter and one for the objective."""
    top, bottom, margin = 42.0, PARALLEL_HEIGHT - 36.0, 46.0
    step = max(92.0, 1000.0 / len(numbers.axes))
    width = int(step * len(numbers.axes) + 2 * margin + 20)
    worst, best = numbers.objectives
    place = _scale(worst, best, 0, 1) if worst != best else lambda _: 0.5
    y = _scale(0, 1, bottom, top)
    axes = [
        PlotAxis(
            margin + i * step, shortened(a.name, int(step / 7)), a.name, tuple(Tick(y(t), shortened(s, 11)) for t, s in a.ticks)
        )
        for i, a in enumerate(numbers.axes)
    ]
    levels = [worst + (best - worst) * i / 4 for i in range(5)] if worst != best else [best]
    goal_ticks = tuple(Tick(y(place(v)), bare(v, metric)) for v in levels)
    axes.append(PlotAxis(margin + len(axes) * step, _score_label(metric), metric_name(metric), goal_ticks))
    lines = []
    for i, row in enumerate(numbers.rows):
        heights = [_apart(a.positions[i], i, a.categorical) for a in numbers.axes] + [place(row.objective or 0.0)]
        path = "M" + "L".join(f"{a.x:.0f} {y(h):.1f}" for a, h in zip(axes, heights, strict=True))
        lines.append(PlotLine(path, colours[row.method], numbers.fifths[i], _trial_title(row, metric)))
    return ParallelChart(width, PARALLEL_HEIGHT, top, bottom, tuple(axes), tuple(lines))


def ticks(low: float, high: float, number: int) -> list[float]:
    """Round values between low and high, about as many as asked for, 1, 2, 2.5 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    rough = (high - low) / number
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _epoch_ticks(last: int) -> list[float]:
    """Every epoch where they are few, else round ones."""
    return [float(e) for e in range(1, last + 1)] if last <= 10 else [v for v in ticks(0, last, 6) if v >= 1 and v == int(v)]


def _axis_unit(axis: Axis, end: float) -> tuple[float, str]:
    """How many of the axis's own units make one of the shown, and the label."""
    if axis == "trials":
        return 1.0, "configurations"
    if axis == "epochs":
        return 1.0, "epochs trained"
    size, name = (3600.0, "hours") if end >= 3 * 3600 else (60.0, "minutes") if end >= 300 else (1.0, "seconds")
    return size, f"{name}, training and method"


def _score_label(metric: str) -> str:
    short = metric.replace("val_", "val. ")
    return f"{short},{THIN}%" if is_share(metric) else short


def _score_ticks(low: float, high: float, y: Scale, metric: str) -> tuple[Tick, ...]:
    unit = 0.01 if is_share(metric) else 1.0
    return tuple(Tick(y(v * unit), _plain(v)) for v in ticks(low / unit, high / unit, 5))


def _plain(value: float) -> str:
    return count(value) if abs(value) >= 1000 else f"{value:.6g}".replace("-", "−")


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    factor = (end - start) / (high - low) if high != low else 0.0
    return lambda value: start + (value - low) * factor


def _reach(values: Sequence[float]) -> tuple[float, float]:
    """From where to where the vertical axis goes: what is shown, and a little air."""
    finite = [v for v in values if math.isfinite(v)]
    low, high = min(finite), max(finite)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - air, high + air


def _shown(band: Band, end: float) -> list[float]:
    late = band.x >= EARLY * end
    late[-1] = True
    values = np.concatenate([band.median[late], band.lower[late], band.upper[late]])
    return [float(v) for v in values[np.isfinite(values)]]


def _seen(curve: Progress, axis: Axis, end: float) -> list[float]:
    late = curve.spent(axis) >= EARLY * end
    late[-1] = True
    return [float(v) for v in curve.best[late] if np.isfinite(v)]


def _steps(at: Floats, values: Floats, x: Scale, y: Scale, end: float | None) -> str:
    """A step function as a path: level from each place to the next, and to `end` where it is held."""
    known = np.isfinite(values)
    at, values = at[known], values[known]
    path = [f"M{x(at[0]):.1f} {y(values[0]):.1f}"]
    for i in range(1, len(at)):
        if values[i] != values[i - 1]:
            path.append(f"H{x(at[i]):.1f}V{y(values[i]):.1f}")
    return "".join(path) + f"H{x(at[-1] if end is None else end):.1f}"


def _area(band: Band, x: Scale, y: Scale) -> str:
    """The space between the quartiles; where a quartile is worse than any value it reaches beyond the picture."""
    known = np.isfinite(band.median)
    at = [*band.x[known], band.end]
    upper, lower = ([y(v) if math.isfinite(v) else (-1e4 if v > 0 else 1e4) for v in q[known]] for q in (band.upper, band.lower))
    forth = "".join(f"H{x(at[i + 1]):.1f}" + (f"V{upper[i + 1]:.1f}" if i + 1 < len(upper) else "") for i in range(len(upper)))
    back = "".join(f"V{lower[i]:.1f}H{x(at[i]):.1f}" for i in reversed(range(len(lower))))
    return f"M{x(at[0]):.1f} {upper[0]:.1f}{forth}{back}Z"


def _polyline(epochs: Sequence[int], values: Sequence[float | None], x: Scale, y: Scale) -> str:
    """Points joined by lines, broken where a value is missing; a lone point is a dot."""
    path, joined = "", False
    for epoch, value in zip(epochs, values, strict=True):
        if value is None:
            joined = False
            continue
        path += f"{'L' if joined else 'M'}{x(epoch):.1f} {y(value):.1f}"
        joined = True
    return path if "L" in path else path + "h0.01"


def _apart(position: float, line: int, categorical: bool) -> float:
    """A place beside the level, the same on all of a line's categorical axes, so that lines through one level are seen apart."""
    crowded = categorical or position < 0
    return position + (0.05 * ((line * 0.618034) % 1 - 0.5) if crowded else 0.0)


def _trial_title(row: TrialRow, metric: str) -> str:
    head = f"{row.method}, seed {row.seed}, trial {row.trial}: {score(row.objective, metric)} after {row.epochs} epochs"
    settings = ", ".join(f"{k} {shortened(setting(v), 24)}" for k, v in list(row.config.items())[:12])
    return f"{head}\n{settings}"
