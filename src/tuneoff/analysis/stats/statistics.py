"""The statistics of a study as validated data: which differences are real, how sure, at which budget and on which clock.

The rules are on one page, docs/statistics.md; each number is made by the module of its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ...core.runtime.extras import importable
from ...core.space import Model
from ...core.store.study_store import StudyResult
from ...core.study import Study
from ..anytime import Anytime, anytime
from ..best_so_far import AXES, Axis, Floats, Progress
from ..break_even import BreakEven, break_even
from ..common_budget import Course, courses, ended_by_themselves, random_methods, the_same_with_every_seed
from ..recommend import Choice, Field, choose
from ..summaries import CellScore
from ..table_truth import TableFacts
from ..time_to_target import Target, target, target_losses
from ..trial_rows import TrialRow
from . import effect_size, significance
from .bootstrap import interval, means
from .winners_curse import WinnersCurse, winners_curse

SHARES = (0.25, 0.5, 1.0)
"""The budgets at which the methods are compared: shares of the common budget."""
ALL = "all data sets"
Case = Literal["worst", "best"]
_CASES: dict[Case, float] = {"worst": np.inf, "best": -np.inf}
"""What an unknown value counts as, within its block."""


class Standing(Model):
    """A method in one comparison. Ranks are means over blocks, under the worst and the best case of what is not known."""

    method: str
    rank: float  # the worst case
    rank_best_case: float
    regret: float | None  # the mean over blocks
    regret_low: float | None  # its 95 % bootstrap interval
    regret_high: float | None
    unknown: int  # blocks in which it is not known


class Comparison(Model):
    """All methods at one share of the common budget of one clock; budgets by data set."""

    share: float
    budgets: dict[str, float]
    standings: list[Standing]  # the best rank first
    friedman: float | None  # p that all rank alike; None with fewer than three methods or two blocks
    friedman_best_case: float | None


class Pair(Model):
    """Two methods at the full common budget: `first` has the better mean rank."""

    first: str
    second: str
    wins: int  # blocks in which the first is better
    ties: int
    losses: int
    p: float  # Wilcoxon's, adjusted by Holm over all pairs
    p_best_case: float
    superiority: float  # the share of seed pairs in which the first is better, ties half
    low: float  # its 95 % interval
    high: float
    more_seeds: int | None  # on each data set, until the two are told apart; 0 where they are, None where too many
    more_datasets: int | None


class ClockStatistics(Model):
    """One clock."""

    clock: Axis
    limited_by: dict[str, str]  # the method whose search decides the common budget, by data set
    comparisons: list[Comparison]
    pairs: list[Pair]
    critical_difference: float | None  # Nemenyi's, of mean ranks at the full budget


class Scope(Model):
    """The comparison on one data set, or on all of them together."""

    name: str
    datasets: list[str]
    blocks: int
    seeds: int  # of each data set
    fixed: list[str]  # methods that ask for the same with every seed
    clocks: list[ClockStatistics]
    choices: list[Choice]  # what the recommendation's rule says at each share of the epochs, and last of the seconds


class DatasetStatistics(Model):
    """What is said of one data set alone."""

    dataset: str
    best_known: float  # regret 0, in the metric's own direction
    ordinary: float  # regret 1
    break_even: list[BreakEven]
    targets: list[Target]
    winners_curse: WinnersCurse


class Statistics(Model):
    """The statistics, or why there are none."""

    refused: str | None
    alpha: float = significance.ALPHA
    power: float = significance.POWER
    random: list[str] = []
    scopes: list[Scope] = []
    datasets: list[DatasetStatistics] = []


@dataclass(frozen=True)
class Figures:
    """What the figures of the statistics show, beside the numbers."""

    anytime: tuple[Anytime, ...] = ()
    courses: tuple[Course, ...] = ()


def statistics(
    result: StudyResult,
    curves: Sequence[Progress],
    rows: Mapping[str, Sequence[TrialRow]],
    scores: Sequence[CellScore],
    facts: TableFacts,
) -> tuple[Statistics, Figures]:
    """All statistics of the study; `curves` and `rows` (by data set) are without systems that train models of their own."""
    study = result.study
    if not importable("scipy"):
        return _refusal("scipy is not installed where the report was made: pip install 'tuneoff[report]'.")
    if len(study.methods) < 2:
        return _refusal("The study has one method only.")
    ended = ended_by_themselves([s for c in result.cells for s in c.searches], study)
    found = courses(study, curves, ended, facts.best)
    fixed = the_same_with_every_seed(s for c in result.cells for s in c.searches)
    found = [replace(c, fixed=fixed & set(c.methods)) for c in found if len(c.methods) > 1]
    if not found:
        return _refusal("No search that can be compared has ended with a score yet.")
    scopes = _scopes(found)
    made = Statistics(
        refused=None,
        random=sorted(random_methods(study)),
        scopes=[_scope(name, together) for name, together in scopes.items()],
        datasets=[_dataset(study, name, found, rows, scores, curves, facts) for name in dict.fromkeys(c.dataset for c in found)],
    )
    clocks = [(name, [c for c in together if c.clock == axis]) for name, together in scopes.items() for axis in AXES]
    return made, Figures(tuple(anytime(name, mine) for name, mine in clocks if mine), tuple(found))


def _refusal(reason: str) -> tuple[Statistics, Figures]:
    return Statistics(refused=reason), Figures()


def _scopes(found: Sequence[Course]) -> dict[str, list[Course]]:
    """All data sets together first, where there are several with the same methods; then each alone."""
    names = list(dict.fromkeys(c.dataset for c in found))
    alone = {name: [c for c in found if c.dataset == name] for name in names}
    together = len(names) > 1 and len({c.methods for c in found}) == 1
    return {ALL: list(found), **alone} if together else alone


def _scope(name: str, found: Sequence[Course]) -> Scope:
    datasets = list(dict.fromkeys(c.dataset for c in found))
    by_clock: dict[Axis, list[Course]] = {axis: [c for c in found if c.clock == axis] for axis in AXES}
    whole: dict[Axis, list[Course]] = {axis: mine for axis, mine in by_clock.items() if len(mine) == len(datasets)}
    choices = [choose(fields(whole["epochs"], share)) for share in SHARES] if "epochs" in whole else []
    if "seconds" in whole and choices:
        choices.append(choose(fields(whole["seconds"], 1.0)))
    first = found[0]
    return Scope(
        name=name,
        datasets=datasets,
        blocks=len(first.seeds) * len(datasets),
        seeds=len(first.seeds),
        fixed=[m for m in first.methods if m in first.fixed],
        clocks=[_clock(axis, mine) for axis, mine in whole.items()],
        choices=choices,
    )


def fields(found: Sequence[Course], share: float) -> list[Field]:
    """What each course knows at a share of its common budget."""
    return [Field(c.dataset, c.methods, c.regret[:, :, c.place(share)].T, c.fixed) for c in found]


def _clock(axis: Axis, found: Sequence[Course]) -> ClockStatistics:
    seeds = [len(c.seeds) for c in found]
    matrix = _matrix(found, 1.0)
    blocks, methods = matrix.shape
    return ClockStatistics(
        clock=axis,
        limited_by={c.dataset: c.limited_by for c in found},
        comparisons=[_comparison(found, share, seeds) for share in SHARES],
        pairs=_pairs(found, matrix),
        critical_difference=significance.critical_difference(methods, blocks) if blocks > 1 and methods > 2 else None,
    )


def _matrix(found: Sequence[Course], share: float) -> Floats:
    """Regrets, one row a block, one column a method; NaN where not known."""
    return np.concatenate([f.regret for f in fields(found, share)])


def _cases(matrix: Floats) -> dict[Case, Floats]:
    return {case: np.where(np.isnan(matrix), value, matrix) for case, value in _CASES.items()}


def _comparison(found: Sequence[Course], share: float, seeds: Sequence[int]) -> Comparison:
    matrix = _matrix(found, share)
    cases = _cases(matrix)
    rank, best_case = (means(significance.ranks(cases[case]), seeds) for case in ("worst", "best"))
    finite = np.isfinite(matrix).all(axis=0)
    regret, low, high = (np.full(matrix.shape[1], np.nan) for _ in range(3))
    if finite.any():
        regret[finite] = means(matrix[:, finite], seeds)
        low[finite], high[finite] = interval(matrix[:, finite], seeds)
    return Comparison(
        share=share,
        budgets={c.dataset: float(c.budgets[c.place(share)]) for c in found},
        standings=[
            Standing(
                method=found[0].methods[i],
                rank=float(rank[i]),
                rank_best_case=float(best_case[i]),
                regret=_known(regret[i]),
                regret_low=_known(low[i]),
                regret_high=_known(high[i]),
                unknown=int(np.isnan(matrix[:, i]).sum()),
            )
            for i in np.argsort(rank, kind="stable")
        ],
        friedman=significance.friedman(cases["worst"]),
        friedman_best_case=significance.friedman(cases["best"]),
    )


def _pairs(found: Sequence[Course], matrix: Floats) -> list[Pair]:
    """Every pair at the full budget, the better mean rank first."""
    cases = _cases(matrix)
    worst = significance.pairs(cases["worst"])
    best = significance.pairs(cases["best"]) if np.isnan(matrix).any() else worst
    by_dataset = [np.where(np.isnan(f.regret), np.inf, f.regret).T for f in fields(found, 1.0)]
    seeds, datasets = len(found[0].seeds), len(found)
    above = effect_size.superiority(by_dataset)
    low, high = effect_size.interval(above, seeds, datasets)
    methods = found[0].methods
    order = np.argsort(means(significance.ranks(cases["worst"]), [seeds] * datasets), kind="stable")
    made = []
    for place, i in enumerate(order):
        for j in order[place + 1 :]:
            told_apart = worst.adjusted[i, j] <= significance.ALPHA
            more = _more(float(worst.needed[i, j]), len(matrix), told_apart)
            made.append(
                Pair(
                    first=methods[i],
                    second=methods[j],
                    wins=int(worst.wins[i, j]),
                    ties=int(worst.ties[i, j]),
                    losses=int(worst.wins[j, i]),
                    p=float(worst.adjusted[i, j]),
                    p_best_case=float(best.adjusted[i, j]),
                    superiority=float(above[i, j]),
                    low=float(low[i, j]),
                    high=float(high[i, j]),
                    more_seeds=None if more is None else -(-more // datasets),
                    more_datasets=None if more is None else -(-more // seeds),
                )
            )
    return made


def _more(needed: float, blocks: int, told_apart: bool) -> int | None:
    if told_apart:
        return 0
    if needed > significance.MOST_BLOCKS:
        return None
    return max(int(needed) - blocks, 1)


def _dataset(
    study: Study,
    name: str,
    found: Sequence[Course],
    rows: Mapping[str, Sequence[TrialRow]],
    scores: Sequence[CellScore],
    curves: Sequence[Progress],
    facts: TableFacts,
) -> DatasetStatistics:
    mine = {c.clock: c for c in found if c.dataset == name}
    random, sign = random_methods(study), study.objective.sign
    first = next(iter(mine.values()))
    goals = target_losses(mine.get("epochs", first), random)
    epochs = mine.get("epochs")
    budgets = {share: float(epochs.budgets[epochs.place(share)]) for share in SHARES} if epochs else {}
    return DatasetStatistics(
        dataset=name,
        best_known=sign * first.best,
        ordinary=sign * (first.best + first.scale),
        break_even=[row for course in mine.values() for row in break_even(course, random)],
        targets=[target(course, words, loss, sign, SHARES) for words, loss in goals.items() for course in mine.values()],
        winners_curse=winners_curse(
            rows[name],
            [s for s in scores if s.dataset == name],
            [c for c in curves if c.dataset == name],
            budgets,
            study.objective,
            facts.noise,
            {(method, seed): found for (dataset, method, seed), found in facts.tests.items() if dataset == name},
        ),
    )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
