"""Draw the report's figures with matplotlib and turn them into SVG text for the page.

A `figure_…` function returns a matplotlib figure, and the `draw_…` function of the same name returns its SVG. The report's tables
give all numbers that the figures show. The SVG names its colours by the page's CSS variables, so that it follows the light and
dark themes.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..analysis.best_so_far import Axis, Band, CurveSet, Floats, Learning, Progress, foremost
from ..analysis.lineage import Family, Strand
from ..analysis.parallel_coordinates import Parallel, ParallelAxis
from ..analysis.trial_rows import TrialRow
from ..core.text import THIN, count, is_share, score, setting, shortened

Part = Literal["search", "retrainings"]

METHODS = ("#0072b2", "#d55e00", "#00875f", "#b0468a", "#8a6a00", "#2a93c9", "#5b5b5b", "#7b3ff2")
"""The colours of the methods, in the study's order. Further methods use the same colours with dashed lines."""
FIFTHS = ("#08306b", "#2171b5", "#6baed6", "#b3cfe6", "#d6dee6")
INK, SOFT, LINE = "#1c1f24", "#596170", "#dfe0dc"
THEME = {
    **{f"m{i}": colour for i, colour in enumerate(METHODS)},
    **{f"q{i}": colour for i, colour in enumerate(FIFTHS)},
    "ink": INK,
    "soft": SOFT,
    "line": LINE,
}
"""The colours of the light theme by CSS variable."""

THIN_LINE: dict[str, Any] = {"linestyle": "-", "linewidth": 0.8, "alpha": 0.45, "zorder": 3}
"""The line style of the weaker methods in a figure with too many methods to distinguish."""
_LETTER_ROW, _AXES_SHARE = 13, 0.8
"""The height of a row of small letters in CSS pixels; the share of a figure's height that its axes take."""
DOTTED, DASHED = (0, (1.5, 3)), (0, (3.5, 3))
DASHES = ((0, (4, 2)), (0, (4, 1.5, 1, 1.5)), (0, (1.5, 1.5)))
FIFTH_OPACITIES = (0.75, 0.55, 0.55, 0.65, 0.8)
MOST_MARKED_EPOCHS = 12
"""A learning curve of at most this many epochs has a marker at each epoch."""

ROUND = (1, 2, 2.5, 5, 10)
"""The allowed distances between ticks, times a power of ten."""

_SETTINGS: Any = {  # matplotlib's type for this argument lists every setting's name
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "figure.constrained_layout.w_pad": 0.02,
    "figure.constrained_layout.h_pad": 0.04,
    "font.size": 12,
    "text.color": SOFT,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 12,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.use_mathtext": False,
    "xtick.color": SOFT,
    "xtick.major.size": 4,
    "xtick.major.width": 1,
    "ytick.color": SOFT,
    "ytick.major.size": 0,
    "grid.color": LINE,
    "grid.linewidth": 1,
    "lines.solid_joinstyle": "round",
    "lines.solid_capstyle": "round",
    "lines.dash_capstyle": "round",
    "text.parse_math": False,
    "text.usetex": False,
}
STYLE: list[Any] = ["default", _SETTINGS]
"""Matplotlib's defaults and our settings. They override the settings of the machine."""


@style.context(STYLE)
def figure_curves(numbers: CurveSet, axis: Axis, colours: Mapping[str, int]) -> Figure:
    """Draw best-so-far curves against one axis: medians with quartile bands, and unfinished searches as dotted lines."""
    figure, axes = empty_axes(380, 260)
    per, label = axis_unit(axis, numbers.ends[axis])
    unit = _unit(numbers.metric)
    shown = [b for b in numbers.bands if b.axis == axis]
    for band in shown:
        strong = numbers.foremost is None or band.method in numbers.foremost
        _band(axes, band, per, unit, numbers.reach, colours[band.method], strong)
    for search in numbers.unfinished:
        _unfinished(axes, search, axis, per, unit, colours[search.method])
    axes.set(xlim=(0, numbers.ends[axis] / per), ylim=[v * unit for v in numbers.reach], xlabel=label)
    axes.set_ylabel(_score_label(numbers.metric))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND, integer=axis != "seconds"))
    if axis != "seconds":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    if numbers.foremost is not None:
        name_ends(axes, {b.method: unit * float(b.median[-1]) for b in shown if b.method in numbers.foremost}, colours)
    return figure


def draw_curves(numbers: CurveSet, axis: Axis, colours: Mapping[str, int], name: str) -> str:
    """Return the SVG of `figure_curves`; `name` must be unique among the figures of the page."""
    return svg(figure_curves(numbers, axis, colours), name, f"Best so far against {axis}")


@style.context(STYLE)
def figure_learning(curves: Sequence[Learning], metric: str, part: Part, colours: Mapping[str, int]) -> Figure | None:
    """Draw the winners' learning curves in the search or in the retrainings.

    With many methods, only those of the ten best validation accuracies are drawn.

    Returns:
        The figure, or None if the curves have no values.
    """
    figure, axes = empty_axes(430, 260)
    best = [-max((v for v in c.metrics["val_accuracy"] if v is not None), default=0.0) for c in curves]
    seen = foremost([c.method for c in curves], best)
    for curve in (c for c in curves if seen is None or c.method in seen):
        if part == "search":
            _epochs(axes, curve, "training", metric, colours, curve.epochs, curve.metrics[metric])
            _epochs(axes, curve, "validation", metric, colours, curve.epochs, curve.metrics["val_" + metric])
            continue
        for number, values in enumerate(r[metric] for r in curve.retrainings if r.get(metric)):
            _epochs(axes, curve, f"retraining {number + 1}", metric, colours, range(1, len(values) + 1), values)
    if not axes.lines:
        return None
    axes.set(xlabel="epoch", ylabel=_score_label(metric))
    axes.margins(x=0.03, y=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(10, steps=ROUND, integer=True, min_n_ticks=1))
    return figure


def draw_learning(
    curves: Sequence[Learning], metric: str, part: Part, colours: Mapping[str, int], name: str, label: str
) -> str | None:
    """Return the SVG of `figure_learning`; `label` describes it for screen readers."""
    figure = figure_learning(curves, metric, part, colours)
    return svg(figure, name, label) if figure else None


@style.context(STYLE)
def figure_family(numbers: Family, colours: Mapping[str, int]) -> Figure:
    """Draw each trial as a line from its parent's objective to its own. The winner's line is strong, changed ones are dashed."""
    figure, axes = empty_axes(700, 300)
    unit, index = _unit(numbers.metric), colours[numbers.method]
    for strand in (s for s in numbers.strands if s.objective is not None):
        ends = [(strand.first_epoch, strand.start)] if strand.start is not None else []
        at, values = zip(*ends, (strand.last_epoch, strand.objective), strict=True)
        (line,) = axes.plot(
            at,
            [unit * v for v in values],
            color=colour_of(index) if strand.of_winner else SOFT,
            linestyle=DASHED if strand.changed else "-",
            linewidth=2 if strand.of_winner else 0.8,
            marker="o",
            markevery=[len(at) - 1],
            markersize=4 if strand.of_winner else 2.5,
            zorder=4 if strand.of_winner else 3,
        )
        mark(line, f"strand m{index}", _strand_title(strand))
    axes.set(xlabel="epoch", ylabel=_score_label(numbers.metric))
    axes.margins(x=0.03, y=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(10, steps=ROUND, integer=True, min_n_ticks=1))
    return figure


def draw_family(numbers: Family, colours: Mapping[str, int], name: str, label: str) -> str:
    """Return the SVG of `figure_family`; `label` describes it for screen readers."""
    return svg(figure_family(numbers, colours), name, label)


def _strand_title(strand: Strand) -> str:
    head = f"trial {strand.trial}" + ("" if strand.parent is None else f", continues {strand.parent}")
    return head + "".join(f", {name} → {setting(value)}" for name, value in strand.changed.items())


@style.context(STYLE)
def figure_parallel(numbers: Parallel, colours: Mapping[str, int]) -> Figure:
    """Draw the trials as lines over one axis per hyperparameter and a last axis for the objective; the best are drawn on top."""
    scales = (*numbers.axes, numbers.objective)
    figure, axes = empty_axes(parallel_width(numbers), 380)
    places = np.arange(len(scales))
    heights = np.array([[_apart(p, i, a.categorical) for i, p in enumerate(a.positions)] for a in scales])
    for i, (row, fifth) in enumerate(zip(numbers.rows, numbers.fifths, strict=True)):
        (line,) = axes.plot(
            places,
            heights[:, i],
            color=FIFTHS[fifth],
            alpha=FIFTH_OPACITIES[fifth],
            linewidth=1 if fifth else 1.2,
            in_layout=False,
        )
        mark(line, f"trial m{colours[row.method]}", _trial_title(row, numbers.metric))
    floor = min(0.0, *(p for a in scales for p in a.positions))
    axes.vlines(places, floor, 1, color=SOFT, linewidth=1, zorder=3)
    for place, scale in zip(places, scales, strict=True):
        _scale(axes, float(place), scale)
    labels = [_safe(shortened(a.name, _letters(numbers))) for a in scales[:-1]] + [_score_label(numbers.metric)]
    axes.set_xticks(places, labels, color=INK, weight="bold", parse_math=False)
    axes.set(xlim=(-0.25, len(scales) - 0.35), ylim=(floor - 0.03, 1.03), yticks=[])
    axes.tick_params(top=False, labeltop=True, bottom=False, labelbottom=False, pad=6)
    axes.spines["bottom"].set_visible(False)
    return figure


def draw_parallel(numbers: Parallel, colours: Mapping[str, int], name: str) -> str:
    """Return the SVG of `figure_parallel`."""
    return svg(figure_parallel(numbers, colours), name, "Trials over their hyperparameters, coloured by objective")


def parallel_width(numbers: Parallel) -> int:
    """Return the width of the parallel coordinates in CSS pixels."""
    return int(max(1120, 100 * (len(numbers.axes) + 1)))


def svg(figure: Figure, name: str, label: str) -> str:
    """Return a figure as an SVG element for an HTML page. It takes the width of its container.

    Args:
        figure: The figure.
        name: A name that is unique among the figures of the page. It keeps matplotlib's element ids apart.
        label: The description for screen readers.
    """
    target = io.StringIO()
    unnamed = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with style.context([*STYLE, {"svg.hashsalt": name}]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the reader's browser draws the text, so fonts missing here do not matter
        figure.savefig(target, format="svg", metadata=unnamed)
    root = ElementTree.fromstring(target.getvalue())
    for parent in list(root.iter()):
        for child in [c for c in parent if _local(c.tag) in ("style", "metadata")]:
            parent.remove(child)
        _in_page(parent)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


_LONG = re.compile(r"-?\d+\.\d{3,}")


def _in_page(element: ElementTree.Element) -> None:
    """Adapt one element to the page: apply its marks, use the page's colours, and drop the ids that nothing refers to."""
    element.tag = _local(element.tag)
    element.text, element.tail = ((text or "").strip() or None for text in (element.text, element.tail))
    element.attrib = {_local(key): value for key, value in element.attrib.items()}
    if element.tag == "g" and "id" in element.attrib:
        _unmark(element, element.attrib.pop("id"))
    if path := element.get("d"):
        element.set("d", _LONG.sub(lambda match: f"{float(match[0]):.2f}", path))  # a hundredth of a pixel is enough
    if looks := element.get("style"):
        element.set("style", re.sub("#[0-9a-f]{6}", _variable, looks))


def mark(artist: Artist, classes: str, title: str = "") -> None:
    """Give an artist a CSS class and a tooltip. They travel in the gid, the only text that matplotlib copies into the SVG."""
    artist.set_gid(json.dumps([classes, title]))


def _unmark(element: ElementTree.Element, gid: str) -> None:
    if not gid.startswith("["):
        return  # matplotlib made this id, not `mark`
    classes, title = json.loads(gid)
    element.set("class", classes)
    if title:
        child = ElementTree.Element("title")
        child.text = title
        element.insert(0, child)


def _variable(colour: re.Match[str]) -> str:
    name = next((name for name, value in THEME.items() if value == colour[0]), None)
    return f"var(--{name})" if name else colour[0]


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def empty_axes(width: int, height: int) -> tuple[Figure, Axes]:
    """Return an empty figure with this width and height in CSS pixels, and its axes."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    axes.grid(axis="y")
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    return figure, axes


def name_ends(axes: Axes, ends: Mapping[str, float], colours: Mapping[str, int]) -> None:
    """Write the methods' names at the right of the axes, each next to the end of its line and without overlaps.

    This is for figures with more methods than a legend can distinguish. Set the limits of the axes first.

    Args:
        axes: The axes.
        ends: The last value of each method's line.
        colours: The index of each method in the study.
    """
    to_share = axes.transScale + axes.transLimits
    shares = {m: float(np.clip(to_share.transform((axes.get_xlim()[1], v))[1], 0, 1)) for m, v in ends.items()}
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    gap = _LETTER_ROW / (figure.get_figheight() * 72 * _AXES_SHARE)
    order = sorted(shares, key=lambda m: shares[m])
    for method, place in zip(order, apart_by(gap, [shares[m] for m in order]), strict=True):
        index = colours[method]
        (line,) = axes.plot(
            [1, 1.04],
            [shares[method], place],
            transform=axes.transAxes,
            color=colour_of(index),
            linestyle=dashes_of(index),
            linewidth=1.2,
            clip_on=False,
        )
        mark(line, f"m{index}")
        text = axes.text(1.05, place, shortened(method, 24), transform=axes.transAxes, va="center", size=10)
        text.set(color=INK, parse_math=False)
        mark(text, f"m{index}")


def apart_by(gap: float, ascending: Sequence[float]) -> list[float]:
    """Move ascending positions as little as possible so that neighbours are at least `gap` apart, and return them.

    Positions that would overlap are spread around their common middle, within 0 and 1.
    """
    crowds: list[list[float]] = []
    for place in ascending:
        crowds.append([place])
        while len(crowds) > 1 and _bounds(crowds[-2], gap)[1] + gap > _bounds(crowds[-1], gap)[0]:
            crowds[-2:] = [crowds[-2] + crowds[-1]]
    return [_bounds(crowd, gap)[0] + i * gap for crowd in crowds for i in range(len(crowd))]


def _bounds(crowd: Sequence[float], gap: float) -> tuple[float, float]:
    reach = gap * (len(crowd) - 1) / 2
    middle = min(max(sum(crowd) / len(crowd), reach), 1 - reach)  # within the axes
    return middle - reach, middle + reach


def _band(axes: Axes, band: Band, per: float, unit: float, reach: tuple[float, float], index: int, strong: bool) -> None:
    """Draw the median and the quartiles up to the end of the axis; a quartile worse than every value is clipped."""
    at = np.append(band.x, band.end) / per
    lower, median, upper = (np.append(v, v[-1]) for v in (band.lower, band.median, band.upper))
    finite = np.isfinite(median)
    if strong:
        low, high = (unit * np.clip(v[finite], *reach) for v in (lower, upper))
        area = axes.fill_between(at[finite], low, high, step="post", color=colour_of(index), alpha=0.14, linewidth=0)
        mark(area, f"m{index}", f"{band.method}, quartiles over {band.seeds} seeds")
    looks = {"linestyle": dashes_of(index), "linewidth": 2, "zorder": 4} if strong else THIN_LINE
    (line,) = axes.step(at[finite], unit * median[finite], where="post", color=colour_of(index), **looks)
    mark(line, f"m{index}", f"{band.method}, median")


def _unfinished(axes: Axes, search: Progress, axis: Axis, per: float, unit: float, index: int) -> None:
    at, finite = search.spent(axis) / per, np.isfinite(search.best)
    (line,) = axes.step(
        at[finite], unit * search.best[finite], where="post", color=colour_of(index), linestyle=DOTTED, linewidth=1.4
    )
    line.set_zorder(3)
    mark(line, f"m{index}", f"{search.method}, seed {search.seed}, unfinished")


def _epochs(
    axes: Axes,
    curve: Learning,
    which: str,
    metric: str,
    colours: Mapping[str, int],
    epochs: Sequence[int],
    recorded: Sequence[float | None],
) -> None:
    """Draw one learning curve, with a gap at each missing value."""
    values: Floats = _unit(metric) * np.array([np.nan if v is None else v for v in recorded], dtype=float)
    if not np.isfinite(values).any():
        return
    index = colours[curve.method]
    looks = {"training": (DASHED, 1.4, 1.0), "validation": (dashes_of(index), 2, 1.0)}
    dashes, width, opacity = looks.get(which, ("-", 1.3, 0.75))
    marker = "o" if len(epochs) <= MOST_MARKED_EPOCHS else ""
    (line,) = axes.plot(
        epochs,
        values,
        color=colour_of(index),
        linestyle=dashes,
        linewidth=width,
        alpha=opacity,
        marker=marker,
        markersize=1.6 * width,
    )
    mark(line, f"m{index}", f"{curve.method}, {which}")


def _scale(axes: Axes, place: float, scale: ParallelAxis) -> None:
    """Write the levels of one of the parallel axes next to it."""
    for height, label in scale.ticks:
        text = axes.annotate(_safe(shortened(label, 11)), (place, height), (5, 0), textcoords="offset points", va="center")
        text.set(color=INK, parse_math=False, in_layout=False, zorder=5)
        mark(text, "tick")


def colour_of(index: int) -> str:
    """Return the colour of the method with this index in the study; after eight methods the colours repeat."""
    return METHODS[index % len(METHODS)]


def dashes_of(index: int) -> Any:
    """Return the line style of the method with this index: solid for the first eight, then dashed styles."""
    return "-" if index < len(METHODS) else DASHES[index // len(METHODS) % len(DASHES)]


def axis_unit(axis: Axis, end: float) -> tuple[float, str]:
    """Return the size of the displayed unit in the axis's own unit, and the axis label."""
    if axis == "trials":
        return 1.0, "configurations"
    if axis == "epochs":
        return 1.0, "epochs trained"
    size, name = (3600.0, "hours") if end >= 3 * 3600 else (60.0, "minutes") if end >= 300 else (1.0, "seconds")
    return size, f"{name} of training and method"


def _unit(metric: str) -> float:
    """Return the factor for the axis: shares are drawn in per cent."""
    return 100.0 if is_share(metric) else 1.0


def _score_label(metric: str) -> str:
    short = metric.replace("val_", "val. ")
    return f"{short},{THIN}%" if is_share(metric) else short


def _letters(numbers: Parallel) -> int:
    """Return the largest number of letters of a name above its axis."""
    return int(parallel_width(numbers) / (len(numbers.axes) + 1) / 8)


def _apart(position: float, line: int, categorical: bool) -> float:
    """Return a position slightly off its level, so that lines through the same categorical level stay visible.

    The offset of a line is the same on all its categorical axes.
    """
    crowded = categorical or position < 0
    return position + (0.05 * ((line * 0.618034) % 1 - 0.5) if crowded else 0.0)


def _safe(text: str) -> str:
    """Return the text on one line, without the characters that SVG cannot hold."""
    return "".join(c if c.isprintable() else " " for c in text)


def _trial_title(row: TrialRow, metric: str) -> str:
    head = f"{row.method}, seed {row.seed}, trial {row.trial}: {score(row.objective, metric)} after {row.epochs} epochs"
    settings = ", ".join(f"{k} {shortened(setting(v), 24)}" for k, v in list(row.config.items())[:12])
    return f"{head}\n{settings}"
