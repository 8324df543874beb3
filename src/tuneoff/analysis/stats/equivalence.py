"""Compare implementations of the same algorithm in different frameworks: equivalence of their results, and their draws.

Two methods are equivalent if the mean paired difference of their incumbents lies within a margin (two one-sided tests, TOST). The
margin is the standard deviation of incumbents over seeds. If an algorithm claims to sample the whole space uniformly, its draws
are tested against the uniform distribution.
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
"""Confidence level of the interval that corresponds to two one-sided tests, each at level ALPHA."""
FEWEST_EXPECTED = 5
"""Expected number of draws of every value below which the chi-square test is not used."""
FEWEST_DRAWS = 20


class Pair(Model):
    """Two methods of one algorithm on one data set.

    `difference` is the mean over common seeds of the first method's incumbent minus the second's, in units of the metric.
    """

    first: str
    second: str
    seeds: int
    difference: float
    low: float | None
    high: float | None
    margin: float
    p_equivalent: float | None  # p-value of the two one-sided tests; None with too few seeds
    p_different: float | None  # p-value of the paired t-test, Bonferroni-corrected for the algorithm's pairs
    verdict: Literal["equivalent", "different", "different, within the margin", "undecided", "too few seeds"]


class Evenness(Model):
    """A test of one hyperparameter's draws for uniformity, over its values or over its range on its own scale."""

    parameter: str
    test: Literal["chi-square", "Kolmogorov-Smirnov"]
    p: float
    most: str  # the value drawn most often; "" for a range
    share: float | None  # share of draws with that value
    expected: float | None  # its expected share


class Drawn(Model):
    """The configurations that one method started on one data set, over all seeds; continued trials are left out."""

    method: str
    configurations: int
    repeated: float | None  # share of configurations that the same search had proposed before, mean over seeds
    evenly: list[Evenness]  # tests of uniform sampling; empty unless the algorithm claims to sample uniformly


class Algorithm(Model):
    """The methods of one algorithm on one data set."""

    dataset: str
    name: str
    methods: list[str]
    deviation: float | None  # standard deviation of incumbents over seeds, pooled over the methods
    pairs: list[Pair]
    drawn: list[Drawn]
    settings: dict[str, dict[str, object]]  # settings in the study, by method


def algorithms(space: Space, scores: Sequence[CellScore], rows: Sequence[TrialRow]) -> list[Algorithm]:
    """Return, by data set, every algorithm for which the study has more than one method; empty if scipy is not installed."""
    result: list[Algorithm] = []
    if not importable("scipy"):
        return result
    for dataset in dict.fromkeys(s.dataset for s in scores):
        for algorithm in Shared:
            members = [s for s in scores if s.dataset == dataset and algorithm_of(s.name) == algorithm and s.by_seed]
            if len(members) > 1:
                dataset_rows = [r for r in rows if r.dataset == dataset]
                result.append(_algorithm(space, dataset, algorithm.value, members, dataset_rows))
    return result


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
    """Return the standard deviation of incumbents over seeds, pooled over the methods; None if no method has several seeds."""
    spreads = [s.incumbents for s in members if s.incumbents.sd is not None]
    degrees_of_freedom = sum(s.n - 1 for s in spreads)
    if not degrees_of_freedom:
        return None
    return math.sqrt(sum((s.n - 1) * (s.sd or 0.0) ** 2 for s in spreads) / degrees_of_freedom)


def pair(first: CellScore, second: CellScore, margin: float | None, pairs: int) -> Pair:
    """Test whether the incumbents of two methods are equivalent within the margin, and whether they differ.

    Args:
        first: One method's scores.
        second: The other method's scores.
        margin: The equivalence margin, in units of the metric; None if it is not known.
        pairs: The number of pairs tested, for the Bonferroni correction of the test for a difference.
    """
    values = differences(first.by_seed, second.by_seed)
    enough = len(values) >= FEWEST_SEEDS and margin is not None
    bounds = interval(values, LEVEL) if enough else None
    p_equivalent = within(values, margin) if enough and margin is not None else None
    p_different = min(1.0, pairs * apart(values)) if enough else None
    return Pair(
        first=first.method,
        second=second.method,
        seeds=len(values),
        difference=statistics.fmean(values) if values else 0.0,
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        margin=margin or 0.0,
        p_equivalent=p_equivalent,
        p_different=p_different,
        verdict=_verdict(p_equivalent, p_different),
    )


def _verdict(
    p_equivalent: float | None, p_different: float | None
) -> Literal["equivalent", "different", "different, within the margin", "undecided", "too few seeds"]:
    if p_equivalent is None or p_different is None:
        return "too few seeds"
    if p_equivalent < ALPHA:
        return "different, within the margin" if p_different < ALPHA else "equivalent"
    return "different" if p_different < ALPHA else "undecided"


def drawn(space: Space, method: str, rows: Sequence[TrialRow], even: bool) -> Drawn:
    """Return how often a method repeats a configuration and, if `even` is set, tests of uniform sampling.

    Args:
        space: The search space.
        method: The method's label.
        rows: The method's trials on one data set, over all seeds.
        even: Whether the algorithm claims to sample uniformly.
    """
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
    """Return the share of trials whose configuration an earlier trial already had."""
    distinct = {key_of(r.config) for r in rows}
    return 1 - len(distinct) / len(rows)


def evenness(name: str, parameter: Categorical | Int | Float, rows: Sequence[TrialRow]) -> Evenness | None:
    """Test the draws of one hyperparameter for uniformity; None if there are too few draws."""
    return evenness_of(name, parameter, [r.config[name] for r in rows if name in r.config])


def evenness_of(name: str, parameter: Categorical | Int | Float, values: Sequence[Value]) -> Evenness | None:
    """Test a list of drawn values of one hyperparameter for uniformity; None if there are too few.

    A categorical parameter, or a range with finitely many values, is tested by Pearson's chi-square test. A continuous range is
    tested by the Kolmogorov-Smirnov test on the parameter's own scale.
    """
    if isinstance(parameter, Categorical):
        return _by_value(name, list(parameter.values), values)
    possible = _values(parameter)
    return _over_range(name, parameter, values) if possible is None else _by_value(name, possible, values)


def _by_value(name: str, possible: Sequence[Value], values: Sequence[Value]) -> Evenness | None:
    if len(possible) < 2 or len(values) < FEWEST_EXPECTED * len(possible):
        return None
    from scipy import stats

    counts = Counter(map(repr, values))
    observed = [counts[repr(v)] for v in possible]
    return Evenness(
        parameter=name,
        test="chi-square",
        p=float(stats.chisquare(observed).pvalue),
        most=str(possible[observed.index(max(observed))]),
        share=max(observed) / len(values),
        expected=1 / len(possible),
    )


def _over_range(name: str, parameter: Int | Float, values: Sequence[Value]) -> Evenness | None:
    if len(values) < FEWEST_DRAWS:
        return None
    from scipy import stats

    p = float(stats.kstest([_place(parameter, v) for v in values], "uniform").pvalue)
    return Evenness(parameter=name, test="Kolmogorov-Smirnov", p=p, most="", share=None, expected=None)


def _values(parameter: Int | Float) -> list[Value] | None:
    """Return all values of an integer range or a range with steps; None for a continuous or an integer log-scaled range."""
    if isinstance(parameter, Int):
        return None if parameter.log else list(range(parameter.low, parameter.high + 1, parameter.step or 1))
    return (
        None
        if parameter.step is None
        else [parameter.nearest(parameter.low + i * parameter.step) for i in range(parameter.steps + 1)]
    )


def _place(parameter: Int | Float, value: Value) -> float:
    """Return the position of a value in its range, from 0 to 1, on the range's own scale."""
    number = float(value)
    if parameter.log:
        return math.log(number / parameter.low) / math.log(parameter.high / parameter.low)
    return (number - parameter.low) / (parameter.high - parameter.low)


def too_often(found: Drawn) -> list[Evenness]:
    """Return the hyperparameters that are not drawn uniformly, Bonferroni-corrected for the number of hyperparameters tested."""
    return [e for e in found.evenly if e.p * len(found.evenly) < ALPHA]
