"""The statistics of a study as validated data: comparisons of methods at several budgets and on several clocks.

docs/statistics.md states the rules. This module collects the numbers that the other modules compute.
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
from ..common_budget import CommonBudget, common_budgets, ended_by_themselves, random_methods, the_same_with_every_seed
from ..recommend import Choice, Field, choose
from ..summaries import CellScore
from ..table_truth import TableFacts
from ..time_to_target import Target, target, target_losses
from ..trial_rows import TrialRow
from . import effect_size, significance
from .bootstrap import interval, means
from .winners_curse import WinnersCurse, winners_curse

SHARES = (0.25, 0.5, 1.0)
"""Shares of the common budget at which the methods are compared."""
ALL = "all data sets"
Case = Literal["worst", "best"]
_CASES: dict[Case, float] = {"worst": np.inf, "best": -np.inf}
"""The regret that replaces an unknown value, by case."""


class Standing(Model):
    """One method in a comparison. Ranks are means over blocks."""

    method: str
    rank: float  # every unknown value counts as the worst of its block
    rank_best_case: float  # every unknown value counts as the best of its block
    regret: float | None  # mean over blocks; None if any block has no score
    regret_low: float | None  # lower bound of the 95 % bootstrap interval
    regret_high: float | None
    unknown: int  # number of blocks in which the regret is unknown


class Comparison(Model):
    """All methods at one share of the common budget of one clock."""

    share: float
    budgets: dict[str, float]  # by data set, in units of the clock
    standings: list[Standing]  # the best rank first
    friedman: float | None  # p-value of Friedman's test; None with fewer than three methods or two blocks
    friedman_best_case: float | None


class Pair(Model):
    """Two methods at the full common budget; `first` has the better mean rank."""

    first: str
    second: str
    wins: int  # number of blocks in which `first` is better
    ties: int
    losses: int
    p: float  # p-value of Wilcoxon's signed-rank test, adjusted by Holm over all pairs
    p_best_case: float  # the same with every unknown value as the best of its block
    superiority: float  # Vargha and Delaney's A: share of seed pairs in which `first` is better, ties count half
    low: float  # bounds of its 95 % interval
    high: float
    more_seeds: int | None  # additional seeds per data set for a significant difference; 0 if significant, None if too many
    more_datasets: int | None  # the same for additional data sets


class ClockStatistics(Model):
    """The statistics on one clock."""

    clock: Axis
    limited_by: dict[str, str]  # the method whose search determines the common budget, by data set
    comparisons: list[Comparison]
    pairs: list[Pair]
    critical_difference: float | None  # Nemenyi's critical difference of mean ranks at the full budget


class Scope(Model):
    """The comparison on one data set, or on all data sets together."""

    name: str
    datasets: list[str]
    blocks: int
    seeds: int  # number of seeds of each data set
    fixed: list[str]  # methods that propose the same configurations with every seed
    clocks: list[ClockStatistics]
    choices: list[Choice]  # the recommendation at each share of the epochs, then the one at the full budget of seconds


class DatasetStatistics(Model):
    """The statistics that exist only for single data sets."""

    dataset: str
    best_known: float  # the score of regret 0, in the metric's own direction
    ordinary: float  # the score of regret 1
    break_even: list[BreakEven]
    targets: list[Target]
    winners_curse: WinnersCurse


class Statistics(Model):
    """The statistics of a study, or the reason why they are not computed."""

    refused: str | None  # why no statistics are computed
    alpha: float = significance.ALPHA
    power: float = significance.POWER
    random: list[str] = []  # labels of the random searches
    scopes: list[Scope] = []
    datasets: list[DatasetStatistics] = []


@dataclass(frozen=True)
class Figures:
    """The curves that the figures of the statistics show."""

    anytime: tuple[Anytime, ...] = ()
    common_budgets: tuple[CommonBudget, ...] = ()


def statistics(
    result: StudyResult,
    curves: Sequence[Progress],
    rows: Mapping[str, Sequence[TrialRow]],
    scores: Sequence[CellScore],
    facts: TableFacts,
) -> tuple[Statistics, Figures]:
    """Compute all statistics of a study.

    Args:
        result: The study with its records.
        curves: The best-so-far curves of all searches, without systems that train their own models.
        rows: The trials by data set, without systems that train their own models.
        scores: The scores of the study's cells.
        facts: The facts that the study's table provides; empty without a table.
    """
    study = result.study
    if not importable("scipy"):
        return _refusal("scipy is not installed where the report was made: pip install 'tuneoff[report]'.")
    if len(study.methods) < 2:
        return _refusal("The study has only one method.")
    ended_early = ended_by_themselves([s for c in result.cells for s in c.searches], study)
    all_budgets = common_budgets(study, curves, ended_early, facts.best)
    fixed = the_same_with_every_seed(s for c in result.cells for s in c.searches)
    compared = [replace(c, fixed=fixed & set(c.methods)) for c in all_budgets if len(c.methods) > 1]
    if not compared:
        return _refusal("No comparable search has ended with a score yet.")
    scopes = _scopes(compared)
    names = dict.fromkeys(c.dataset for c in compared)
    numbers = Statistics(
        refused=None,
        random=sorted(random_methods(study)),
        scopes=[_scope(name, members) for name, members in scopes.items()],
        datasets=[_dataset(study, name, compared, rows, scores, curves, facts) for name in names],
    )
    by_clock = [(name, [c for c in members if c.clock == axis]) for name, members in scopes.items() for axis in AXES]
    return numbers, Figures(tuple(anytime(name, members) for name, members in by_clock if members), tuple(compared))


def _refusal(reason: str) -> tuple[Statistics, Figures]:
    return Statistics(refused=reason), Figures()


def _scopes(group: Sequence[CommonBudget]) -> dict[str, list[CommonBudget]]:
    """Return the common budgets of each comparison: all data sets with the same methods together, then each data set."""
    names = list(dict.fromkeys(c.dataset for c in group))
    single = {name: [c for c in group if c.dataset == name] for name in names}
    can_pool = len(names) > 1 and len({c.methods for c in group}) == 1
    return {ALL: list(group), **single} if can_pool else single


def _scope(name: str, group: Sequence[CommonBudget]) -> Scope:
    datasets = list(dict.fromkeys(c.dataset for c in group))
    by_clock: dict[Axis, list[CommonBudget]] = {axis: [c for c in group if c.clock == axis] for axis in AXES}
    complete: dict[Axis, list[CommonBudget]] = {
        axis: members for axis, members in by_clock.items() if len(members) == len(datasets)
    }
    choices = [choose(fields(complete["epochs"], share)) for share in SHARES] if "epochs" in complete else []
    if "seconds" in complete and choices:
        choices.append(choose(fields(complete["seconds"], 1.0)))
    first = group[0]
    return Scope(
        name=name,
        datasets=datasets,
        blocks=len(first.seeds) * len(datasets),
        seeds=len(first.seeds),
        fixed=[m for m in first.methods if m in first.fixed],
        clocks=[_clock(axis, members) for axis, members in complete.items()],
        choices=choices,
    )


def fields(found: Sequence[CommonBudget], share: float) -> list[Field]:
    """Return the regrets of each course at a share of its common budget."""
    return [Field(c.dataset, c.methods, c.regret[:, :, c.place(share)].T, c.fixed) for c in found]


def _clock(axis: Axis, group: Sequence[CommonBudget]) -> ClockStatistics:
    seeds = [len(c.seeds) for c in group]
    matrix = _matrix(group, 1.0)
    blocks, methods = matrix.shape
    return ClockStatistics(
        clock=axis,
        limited_by={c.dataset: c.limited_by for c in group},
        comparisons=[_comparison(group, share, seeds) for share in SHARES],
        pairs=_pairs(group, matrix),
        critical_difference=significance.critical_difference(methods, blocks) if blocks > 1 and methods > 2 else None,
    )


def _matrix(group: Sequence[CommonBudget], share: float) -> Floats:
    """Return the regrets of shape (blocks, methods); NaN if unknown."""
    return np.concatenate([f.regret for f in fields(group, share)])


def _cases(matrix: Floats) -> dict[Case, Floats]:
    """Return the matrix with every unknown value replaced by the worst, and by the best."""
    return {case: np.where(np.isnan(matrix), value, matrix) for case, value in _CASES.items()}


def _comparison(group: Sequence[CommonBudget], share: float, seeds: Sequence[int]) -> Comparison:
    matrix = _matrix(group, share)
    cases = _cases(matrix)
    rank, best_case = (means(significance.ranks(cases[case]), seeds) for case in ("worst", "best"))
    finite = np.isfinite(matrix).all(axis=0)
    regret, low, high = (np.full(matrix.shape[1], np.nan) for _ in range(3))
    if finite.any():
        regret[finite] = means(matrix[:, finite], seeds)
        low[finite], high[finite] = interval(matrix[:, finite], seeds)
    return Comparison(
        share=share,
        budgets={c.dataset: float(c.budgets[c.place(share)]) for c in group},
        standings=[
            Standing(
                method=group[0].methods[i],
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


def _pairs(group: Sequence[CommonBudget], matrix: Floats) -> list[Pair]:
    """Return every pair of methods at the full budget, the method with the better mean rank first."""
    cases = _cases(matrix)
    worst = significance.pairs(cases["worst"])
    best = significance.pairs(cases["best"]) if np.isnan(matrix).any() else worst
    by_dataset = [np.where(np.isnan(f.regret), np.inf, f.regret).T for f in fields(group, 1.0)]
    seeds, datasets = len(group[0].seeds), len(group)
    superiority = effect_size.superiority(by_dataset)
    low, high = effect_size.interval(superiority, seeds, datasets)
    methods = group[0].methods
    order = np.argsort(means(significance.ranks(cases["worst"]), [seeds] * datasets), kind="stable")
    rows = []
    for index, i in enumerate(order):
        for j in order[index + 1 :]:
            significant = worst.adjusted[i, j] <= significance.ALPHA
            more = _more(float(worst.needed[i, j]), len(matrix), significant)
            rows.append(
                Pair(
                    first=methods[i],
                    second=methods[j],
                    wins=int(worst.wins[i, j]),
                    ties=int(worst.ties[i, j]),
                    losses=int(worst.wins[j, i]),
                    p=float(worst.adjusted[i, j]),
                    p_best_case=float(best.adjusted[i, j]),
                    superiority=float(superiority[i, j]),
                    low=float(low[i, j]),
                    high=float(high[i, j]),
                    more_seeds=None if more is None else -(-more // datasets),
                    more_datasets=None if more is None else -(-more // seeds),
                )
            )
    return rows


def _more(needed: float, blocks: int, significant: bool) -> int | None:
    """Return the number of additional blocks for a significant difference; 0 if it is significant, None if too many."""
    if significant:
        return 0
    if needed > significance.MOST_BLOCKS:
        return None
    return max(int(needed) - blocks, 1)


def _dataset(
    study: Study,
    name: str,
    group: Sequence[CommonBudget],
    rows: Mapping[str, Sequence[TrialRow]],
    scores: Sequence[CellScore],
    curves: Sequence[Progress],
    facts: TableFacts,
) -> DatasetStatistics:
    by_clock = {c.clock: c for c in group if c.dataset == name}
    random, sign = random_methods(study), study.objective.sign
    first = next(iter(by_clock.values()))
    goals = target_losses(by_clock.get("epochs", first), random)
    epochs = by_clock.get("epochs")
    budgets = {share: float(epochs.budgets[epochs.place(share)]) for share in SHARES} if epochs else {}
    return DatasetStatistics(
        dataset=name,
        best_known=sign * first.best,
        ordinary=sign * (first.best + first.scale),
        break_even=[row for budget in by_clock.values() for row in break_even(budget, random)],
        targets=[target(budget, label, loss, sign, SHARES) for label, loss in goals.items() for budget in by_clock.values()],
        winners_curse=winners_curse(
            rows[name],
            [s for s in scores if s.dataset == name],
            [c for c in curves if c.dataset == name],
            budgets,
            study.objective,
            facts.noise,
            {(method, seed): tests for (dataset, method, seed), tests in facts.tests.items() if dataset == name},
        ),
    )


def _known(value: float) -> float | None:
    """Return the value, or None if it is not finite."""
    return float(value) if np.isfinite(value) else None
