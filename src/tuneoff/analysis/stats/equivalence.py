"""The same algorithm in different frameworks: whether they find the same, and what they draw.

Two methods are equivalent where the mean difference of their incumbents, seed by seed, lies within a margin: the deviation that
another seed makes anyway. Where an algorithm claims to draw from the whole space evenly, its draws are tested against that.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

from ...core.runtime.extras import importable
from ...core.space import Categorical, Float, Int, Model, Space, Value, key_of
from ...methods.registry import algorithm_of
from ...methods.spec import Algorithm as Shared
from ..summaries import CellScore
from ..trial_rows import TrialRow
from .paired_tests import ALPHA, FEWEST_SEEDS, apart, differences, interval, within

LEVEL = 1 - 2 * ALPHA
"""The confidence interval that goes with two one-sided tests at ALPHA."""
FEWEST_EXPECTED = 5
"""A chi-square test needs so many draws of every value."""
FEWEST_DRAWS = 20


class Pair(Model):
    """Two methods of a family on one data set; `difference` is the first's incumbents less the second's, in the metric."""

    first: str
    second: str
    seeds: int
    difference: float
    low: float | None
    high: float | None
    margin: float
    p_equivalent: float | None  # two one-sided tests; None with too few seeds
    p_different: float | None  # corrected for the family's pairs (Bonferroni)
    verdict: Literal["equivalent", "different", "different, within the margin", "undecided", "too few seeds"]


class Evenness(Model):
    """One hyperparameter's draws against an even distribution over its values, or over its range on its own scale."""

    parameter: str
    test: Literal["chi-square", "Kolmogorov-Smirnov"]
    p: float
    most: str  # the value drawn most often, or "" for a range
    share: float | None  # of it
    expected: float | None


class Drawn(Model):
    """What one method proposed on one data set, over all seeds: configurations started, not continued ones."""

    method: str
    configurations: int
    repeated: float | None  # the share of a search's configurations that it had proposed before, the mean over seeds
    evenly: list[Evenness]  # tests of that; only where the algorithm claims to draw evenly


class Algorithm(Model):
    """The methods of one algorithm on one data set."""

    dataset: str
    name: str
    methods: list[str]
    deviation: float | None  # of incumbents over seeds, within the methods
    pairs: list[Pair]
    drawn: list[Drawn]
    settings: dict[str, dict[str, object]]  # those that the study gives


def algorithms(space: Space, scores: Sequence[CellScore], rows: Sequence[TrialRow]) -> list[Algorithm]:
    """Every algorithm that the study has in more than one method, by data set; none where scipy is missing."""
    found: list[Algorithm] = []
    if not importable("scipy"):
        return found
    for dataset in dict.fromkeys(s.dataset for s in scores):
        for algorithm in Shared:
            members = [s for s in scores if s.dataset == dataset and algorithm_of(s.name) == algorithm and s.by_seed]
            if len(members) > 1:
                mine = [r for r in rows if r.dataset == dataset]
                found.append(_algorithm(space, dataset, algorithm.value, members, mine))
    return found


def _algorithm(space: Space, dataset: str, algorithm: str, members: Sequence[CellScore], rows: Sequence[TrialRow]) -> Algorithm:
    deviation = seed_deviation(members)
    pairs = list(combinations(members, 2))
    return Algorithm(
        dataset=dataset,
        name=algorithm,
        methods=[m.method for m in members],
        deviation=deviation,
        pairs=[pair(a, b, deviation, len(pairs)) for a, b in pairs],
        drawn=[
            drawn(space, m.method, [r for r in rows if r.method == m.method], algorithm == Shared.RANDOM_SEARCH) for m in members
        ],
        settings={m.method: m.settings for m in members},
    )


def seed_deviation(members: Sequence[CellScore]) -> float | None:
    """The standard deviation of incumbents over seeds, pooled over the methods; None where each has one seed only."""
    known = [s.incumbents for s in members if s.incumbents.sd is not None]
    degrees = sum(s.n - 1 for s in known)
    return math.sqrt(sum((s.n - 1) * (s.sd or 0.0) ** 2 for s in known) / degrees) if degrees else None


def pair(first: CellScore, second: CellScore, margin: float | None, pairs: int) -> Pair:
    """Whether two methods find the same within the margin, and whether they differ at all."""
    values = differences(first.by_seed, second.by_seed)
    enough = len(values) >= FEWEST_SEEDS and margin is not None
    bounds = interval(values, LEVEL) if enough else None
    same = within(values, margin) if enough and margin is not None else None
    other = min(1.0, pairs * apart(values)) if enough else None
    return Pair(
        first=first.method,
        second=second.method,
        seeds=len(values),
        difference=statistics.fmean(values) if values else 0.0,
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        margin=margin or 0.0,
        p_equivalent=same,
        p_different=other,
        verdict=_verdict(same, other),
    )


def _verdict(
    same: float | None, other: float | None
) -> Literal["equivalent", "different", "different, within the margin", "undecided", "too few seeds"]:
    if same is None or other is None:
        return "too few seeds"
    if same < ALPHA:
        return "different, within the margin" if other < ALPHA else "equivalent"
    return "different" if other < ALPHA else "undecided"


def drawn(space: Space, method: str, rows: Sequence[TrialRow], even: bool) -> Drawn:
    """How often a method repeats itself and, where it claims to draw evenly, what it draws too often."""
    started = [r for r in rows if r.parent is None]
    seeds = dict.fromkeys(r.seed for r in started)
    shares = [_repeated([r for r in started if r.seed == seed]) for seed in seeds]
    return Drawn(
        method=method,
        configurations=len(started),
        repeated=statistics.fmean(shares) if shares else None,
        evenly=[e for name in space if (e := evenness(name, space[name], started))] if even else [],
    )


def _repeated(rows: Sequence[TrialRow]) -> float:
    distinct = {key_of(r.config) for r in rows}
    return 1 - len(distinct) / len(rows)


def evenness(name: str, parameter: Categorical | Int | Float, rows: Sequence[TrialRow]) -> Evenness | None:
    """A test of the draws of one hyperparameter; None where there are too few of them."""
    return evenness_of(name, parameter, [r.config[name] for r in rows if name in r.config])


def evenness_of(name: str, parameter: Categorical | Int | Float, values: Sequence[Value]) -> Evenness | None:
    """The same of its values alone."""
    if isinstance(parameter, Categorical):
        return _by_value(name, list(parameter.values), values)
    few = _values(parameter)
    return _over_range(name, parameter, values) if few is None else _by_value(name, few, values)


def _by_value(name: str, few: Sequence[Value], values: Sequence[Value]) -> Evenness | None:
    if len(few) < 2 or len(values) < FEWEST_EXPECTED * len(few):
        return None
    from scipy import stats

    counted = Counter(map(repr, values))
    observed = [counted[repr(v)] for v in few]
    return Evenness(
        parameter=name,
        test="chi-square",
        p=float(stats.chisquare(observed).pvalue),
        most=str(few[observed.index(max(observed))]),
        share=max(observed) / len(values),
        expected=1 / len(few),
    )


def _over_range(name: str, parameter: Int | Float, values: Sequence[Value]) -> Evenness | None:
    if len(values) < FEWEST_DRAWS:
        return None
    from scipy import stats

    p = float(stats.kstest([_place(parameter, v) for v in values], "uniform").pvalue)
    return Evenness(parameter=name, test="Kolmogorov-Smirnov", p=p, most="", share=None, expected=None)


def _values(parameter: Int | Float) -> list[Value] | None:
    """All values of a range with steps, or of whole numbers; None for one on which places are compared instead."""
    if isinstance(parameter, Int):
        return None if parameter.log else list(range(parameter.low, parameter.high + 1, parameter.step or 1))
    return (
        None
        if parameter.step is None
        else [parameter.nearest(parameter.low + i * parameter.step) for i in range(parameter.steps + 1)]
    )


def _place(parameter: Int | Float, value: Value) -> float:
    """Where a value lies in its range, from 0 to 1, on the range's own scale."""
    number = float(value)
    if parameter.log:
        return math.log(number / parameter.low) / math.log(parameter.high / parameter.low)
    return (number - parameter.low) / (parameter.high - parameter.low)


def too_often(found: Drawn) -> list[Evenness]:
    """The hyperparameters that are not drawn evenly, corrected for their number (Bonferroni)."""
    return [e for e in found.evenly if e.p * len(found.evenly) < ALPHA]
