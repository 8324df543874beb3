"""Render the report as one self-contained HTML page, without scripts, network access or storage."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..analysis.best_so_far import AXES, FOREMOST, Axis, curve_set
from ..analysis.paper.claims import VERDICT_CLASS
from ..analysis.paper.tables import METHODS as PAPER_METHODS
from ..analysis.parallel_coordinates import ALWAYS_DRAWN, parallel
from ..analysis.results import Computed, DatasetResults, Results, ranked_names
from ..analysis.stats.effect_size import size
from ..analysis.stats.equivalence import too_often
from ..analysis.stats.paired_tests import ALPHA
from ..analysis.stats.statistics import Scope
from ..analysis.summaries import CellState, Confusion, mean_spent, most_confused
from ..analysis.trial_rows import TrialRow
from ..core import text as wording
from .figures import METHODS, THEME, Part, draw_curves, draw_family, draw_learning, draw_parallel, parallel_width, svg
from .headline import score_of, separation, system_sentences, twin_sentences, winner_sentences
from .statistics_figures import figure_anytime, figure_break_even, figure_critical_difference, figure_reached
from .statistics_text import CLOCKS, pair_said, recommendation_sentences, scope_sentences

MOST_BYTES = 4_900_000
"""The size limit of the page in bytes, because KFP shows it in an iframe. A larger page is rendered without its largest parts."""
MOST_PICTURE_BYTES = 400_000
MOST_PICTURES_BYTES = 1_500_000
MOST_MATRIX_CLASSES = 20
MOST_ROWS = 200
MOST_COLUMNS = 15
LARGE_PARTS = ("curve tables", "parallel", "ten best", "confusions", "families", "pictures", "statistics")
"""The parts that a page which is too large leaves out, in this order."""


@dataclass(frozen=True)
class Picture:
    """A PNG of the prepared data as a data: URI. If it is too large, `uri` is None and `note` says why it is left out."""

    name: str
    uri: str | None
    note: str


@dataclass(frozen=True)
class Drawing:
    """A figure as SVG with its title."""

    title: str
    svg: Markup


@dataclass(frozen=True)
class ParallelDrawing:
    """Parallel coordinates as SVG, with their width in CSS pixels and a note about the trials that they show."""

    svg: Markup
    width: int
    note: str


@dataclass(frozen=True)
class DatasetView:
    """The numbers and figures of one data set."""

    results: DatasetResults
    curves: tuple[Drawing, ...]
    parallel: ParallelDrawing | None
    learning: tuple[Drawing, ...]
    families: tuple[Drawing, ...]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class ScopeView:
    """The statistics of one data set or of all data sets together: sentences and figures."""

    scope: Scope
    said: tuple[str, ...]
    recommended: tuple[str, ...]
    curves: tuple[Drawing, ...]
    differences: Drawing | None
    reached: tuple[Drawing, ...]
    break_even: Drawing | None


def page(computed: Computed, pictures: Mapping[str, Sequence[tuple[str, bytes]]]) -> str:
    """Return the whole page as HTML.

    If the page would be larger than 4.9 MB, it leaves out parts until it fits, in the order of `LARGE_PARTS`, and says so.
    results.json always has all numbers.

    Args:
        computed: The results and the numbers of the figures.
        pictures: The PNG files of each data set, as pairs of file name and content.
    """
    colours = {m["label"]: i for i, m in enumerate(computed.results.study.study["methods"])}
    views, scopes = list(_views(computed, pictures, colours)), list(_scopes(computed, colours))
    text = ""
    for first in range(len(LARGE_PARTS) + 1):
        text = _render(computed, views, scopes, colours, LARGE_PARTS[first:])
        if len(text.encode()) <= MOST_BYTES:
            break
    return text


def _render(
    computed: Computed,
    views: Sequence[DatasetView],
    scopes: Sequence[ScopeView],
    colours: Mapping[str, int],
    parts: Sequence[str],
) -> str:
    results = computed.results
    text: str = _template().render(
        r=results,
        metric=results.study.metric,
        views=views,
        scopes=scopes,
        alone={d.dataset: d for d in results.statistics.datasets},
        clock_words=CLOCKS,
        pair_said=pair_said,
        colours=colours,
        parts=parts,
        anchors={d.name: f"data-{i}" for i, d in enumerate(results.datasets)},
        winner=partial(winner_sentences, results),
        separation=partial(separation, results),
        score_of=partial(score_of, results),
        settings=_settings(results),
        resolved=json.dumps(results.study.study, indent=2, ensure_ascii=False),
        counts=_counts(results.states),
        paper_methods=PAPER_METHODS,
        own_models={s.method for s in results.scores if s.own_models},
        systems=partial(system_sentences, results),
        twins=partial(twin_sentences, results),
    )
    return text.lstrip()


def _views(
    computed: Computed, pictures: Mapping[str, Sequence[tuple[str, bytes]]], colours: Mapping[str, int]
) -> Iterator[DatasetView]:
    embedded = _embedded(pictures)
    for i, d in enumerate(computed.results.datasets):
        yield DatasetView(
            results=d,
            curves=tuple(_curves(computed, d.name, colours, f"data-{i}")),
            parallel=_parallel(computed, d, colours, f"data-{i}"),
            learning=tuple(_learning(d, colours, f"data-{i}")),
            families=tuple(_families(d, colours, f"data-{i}")),
            pictures=tuple(embedded.get(d.name, [])),
        )


def _scopes(computed: Computed, colours: Mapping[str, int]) -> Iterator[ScopeView]:
    results = computed.results
    for i, scope in enumerate(results.statistics.scopes):
        yield ScopeView(
            scope=scope,
            said=tuple(scope_sentences(results, scope)),
            recommended=tuple(recommendation_sentences(results, scope)),
            curves=tuple(_anytime(computed, scope, colours, f"scope-{i}")),
            differences=_differences(scope, colours, f"scope-{i}"),
            reached=tuple(_reached(computed, scope, colours, f"scope-{i}")),
            break_even=_break_even(computed, scope, colours, f"scope-{i}"),
        )


def _anytime(computed: Computed, scope: Scope, colours: Mapping[str, int], name: str) -> list[Drawing]:
    """Draw the regret on every clock, and the mean rank by epochs."""
    by_clock = {a.clock: a for a in computed.figures.anytime if a.scope == scope.name}
    shown = [(by_clock[axis], "regret") for axis in AXES if axis in by_clock]
    shown += [(by_clock["epochs"], "rank")] * ("epochs" in by_clock)
    drawings = []
    for numbers, measure in shown:
        title = f"{'Regret' if measure == 'regret' else 'Mean rank'} {CLOCKS[numbers.clock]}"
        figure = figure_anytime(numbers, measure, colours)  # type: ignore[arg-type]
        drawings.append(Drawing(title, Markup(svg(figure, f"{name}-{measure}-{numbers.clock}", title))))
    return drawings


def _differences(scope: Scope, colours: Mapping[str, int], name: str) -> Drawing | None:
    clock = next((c for c in scope.clocks if c.clock == "epochs"), None)
    if clock is None or clock.critical_difference is None:
        return None
    figure = figure_critical_difference(clock.comparisons[-1].standings, clock.critical_difference, colours)
    title = "Mean ranks at the full budget of epochs, with the critical difference"
    return Drawing(title, Markup(svg(figure, f"{name}-differences", title)))


def _reached(computed: Computed, scope: Scope, colours: Mapping[str, int], name: str) -> list[Drawing]:
    course = next((c for c in computed.figures.courses if [c.dataset] == scope.datasets and c.clock == "epochs"), None)
    alone = next((d for d in computed.results.statistics.datasets if [d.dataset] == scope.datasets), None)
    if course is None or alone is None:
        return []
    metric, sign = computed.results.study.metric, computed.study.objective.sign
    drawings = []
    for index, goal in enumerate(t for t in alone.targets if t.clock == "epochs"):
        title = f"Seeds that reached {wording.score(goal.value, metric)}, {goal.name}"
        figure = figure_reached(course, sign * goal.value, colours)
        drawings.append(Drawing(title, Markup(svg(figure, f"{name}-reached-{index}", title))))
    return drawings


def _break_even(computed: Computed, scope: Scope, colours: Mapping[str, int], name: str) -> Drawing | None:
    alone = next((d for d in computed.results.statistics.datasets if [d.dataset] == scope.datasets), None)
    if alone is None or all(r.is_random for r in alone.break_even):
        return None
    title = "The budget from which each method beats random search"
    return Drawing(title, Markup(svg(figure_break_even(alone.break_even, colours), f"{name}-break-even", title)))


def _curves(computed: Computed, dataset: str, colours: Mapping[str, int], name: str) -> list[Drawing]:
    own = {s.method for s in computed.results.scores if s.dataset == dataset and s.own_models}
    numbers = curve_set(
        [c for c in computed.progress if c.dataset == dataset and c.method not in own],
        [b for b in computed.bands if b.dataset == dataset],
        computed.study.objective,
    )
    titles: dict[Axis, str] = {"trials": "against configurations", "epochs": "against epochs", "seconds": "against seconds"}
    if numbers is None:
        return []
    return [Drawing(titles[axis], Markup(draw_curves(numbers, axis, colours, f"{name}-{axis}"))) for axis in numbers.ends]


def _learning(dataset: DatasetResults, colours: Mapping[str, int], name: str) -> list[Drawing]:
    parts: tuple[tuple[Part, str], ...] = (("search", "in the search"), ("retrainings", "in the retrainings"))
    drawings = []
    for metric in ("accuracy", "loss"):
        for part, words in parts:
            title = f"{metric.capitalize()} {words}"
            if drawn := draw_learning(dataset.learning, metric, part, colours, f"{name}-{metric}-{part}", title):
                drawings.append(Drawing(title, Markup(drawn)))
    return drawings


def _families(dataset: DatasetResults, colours: Mapping[str, int], name: str) -> list[Drawing]:
    drawings = []
    for index, numbers in enumerate(dataset.families):
        title = f"{numbers.method}, seed {numbers.seed}"
        drawings.append(Drawing(title, Markup(draw_family(numbers, colours, f"{name}-family-{index}", f"Lineages of {title}"))))
    return drawings


def _parallel(computed: Computed, dataset: DatasetResults, colours: Mapping[str, int], name: str) -> ParallelDrawing | None:
    rows = [r for r in computed.rows if r.dataset == dataset.name and not r.own_models]
    numbers = parallel(rows, computed.study.space, computed.study.objective, ranked_names(dataset.importance))
    if numbers is None:
        return None
    drawn, whole = len(numbers.rows), numbers.trials
    note = f"{wording.plural(whole, 'trial')} with a score."
    if drawn < whole:
        note += f" Drawn: the best {ALWAYS_DRAWN}, and {drawn - ALWAYS_DRAWN} of the others, chosen evenly by rank."
    if numbers.axes_left_out:
        note += f" {wording.plural(numbers.axes_left_out, 'hyperparameter')} left out for lack of space."
    if unscored := len(rows) - whole:
        note += f" Not drawn, because they have no score: {wording.count(unscored)}."
    return ParallelDrawing(Markup(draw_parallel(numbers, colours, f"{name}-parallel")), parallel_width(numbers), note)


def _embedded(pictures: Mapping[str, Sequence[tuple[str, bytes]]]) -> dict[str, list[Picture]]:
    embedded: dict[str, list[Picture]] = {}
    total = 0
    for dataset, files in pictures.items():
        for name, data in files:
            fits = len(data) <= MOST_PICTURE_BYTES and total + len(data) <= MOST_PICTURES_BYTES
            total += len(data) if fits else 0
            uri = "data:image/png;base64," + base64.b64encode(data).decode() if fits else None
            note = "" if fits else f"{name} is left out because it is too large ({wording.count(len(data) / 1000)} kB)."
            embedded.setdefault(dataset, []).append(Picture(name, uri, note))
    return embedded


def _settings(results: Results) -> list[str]:
    """Return the hyperparameters that have their own column in the tables of trials; none if there are too many."""
    names = list(results.study.study["space"])
    return names if len(names) <= MOST_COLUMNS else []


def _counts(states: Sequence[CellState]) -> dict[str, int]:
    return {state: sum(s.state == state for s in states) for state in ("complete", "failed", "missing")}


def _heat(table: Confusion) -> list[list[tuple[int, int]]]:
    """Return each cell of the matrix with its colour strength in per cent: 65 for the most frequent confusion."""
    shares = [[n / max(sum(row), 1) if i != j else 0.0 for j, n in enumerate(row)] for i, row in enumerate(table.matrix)]
    top = max((s for row in shares for s in row), default=0.0) or 1.0
    return [[(n, round(65 * s / top)) for n, s in zip(*rows, strict=True)] for rows in zip(table.matrix, shares, strict=True)]


def _colour(index: int) -> str:
    """Return the CSS classes of the method with this index in the study: eight colours, then the same colours dashed."""
    return f"c{index % len(METHODS)}" + (f" dash{index // len(METHODS) % 3}" if index >= len(METHODS) else "")


def _compact(row: TrialRow) -> str:
    """Return a configuration as one text, for spaces with too many hyperparameters for columns."""
    return ", ".join(f"{k} = {wording.setting(v)}" for k, v in row.config.items())


def _template() -> Any:
    templates = PackageLoader(__name__.rpartition(".")[0], "templates")
    environment = Environment(
        loader=templates,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = {
        name: getattr(wording, name)
        for name in (
            "bare", "count", "difference", "duration", "listed", "metric_name", "percent", "plural", "score", "setting",
            "shortened", "spread",
        )
    }  # fmt: skip
    extra = {
        "p_value": wording.p_value,
        "too_often": too_often,
        "heat": _heat,
        "colour": _colour,
        "effect": size,
        "compact": _compact,
        "pairs": partial(most_confused, number=10),
        "spent": mean_spent,
    }
    environment.filters.update({**words, **extra})
    environment.globals.update(
        most_matrix_classes=MOST_MATRIX_CLASSES,
        most_rows=MOST_ROWS,
        most_named=wording.MOST_NAMED,
        most_seen=FOREMOST,
        theme=THEME,
        alpha=ALPHA,
        verdict_class=VERDICT_CLASS,
    )
    return environment.get_template("template.html")
