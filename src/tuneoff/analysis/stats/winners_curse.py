"""The winner's curse: by how much the best of many noisy scores overestimates the true score, compared with the test accuracy.

The noise of one evaluation is the standard deviation of scores within configurations that several searches trained to the same
epoch, pooled over the better quarter of these configurations. If there are too few of them, the standard deviation of the
retrainings' test accuracies is used. In a table study, searches look up the same trainings, so the noise is measured within the
configurations that the table holds with several seeds.

The optimism of a search is the bias of its best score that is due to noise. It is estimated by a parametric bootstrap: Gaussian
noise is added to the scores of the search's trials many times, and the best noisy score is compared with the score of the same
trial without the added noise. The corrected score is the best score minus the optimism. The recorded scores already contain noise
once, so the correction tends to be too small.

Reference: J. E. Smith and R. L. Winkler, The optimizer's curse, Management Science 52 (2006).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from ...core.space import Model, key_of
from ...core.study import ObjectiveSettings
from ..best_so_far import Floats, Progress
from ..summaries import CellScore
from ..trial_rows import TrialRow

DRAWS = 200
"""Number of bootstrap draws."""
BETTER = 0.25
"""Share of the repeated configurations, the best ones, on which the noise is measured. A search chooses among good
configurations, and a poor one can vary far more because it may fail with one seed and not with another."""
FEWEST_REPEATS = 10
"""Smallest number of degrees of freedom for measuring the noise on repeated configurations."""
REACH = 6.0
"""A trial that is worse than the best by more than REACH standard deviations of the noise is ignored: noise cannot make it the
best."""


class Noise(Model):
    """The standard deviation of one evaluation of a configuration, and its source."""

    sd: float | None  # in units of the metric
    source: str
    freedom: int  # degrees of freedom


class Corrected(Model):
    """The mean over seeds of the best validation score at a budget, as recorded and corrected for optimism."""

    share: float  # of the common budget of epochs
    seen: float | None  # as recorded
    corrected: float | None
    test: float | None = None  # mean test accuracy of the same trials, if the study's table has it


class Curse(Model):
    """The validation and test scores of one method on one data set, in the metric's own direction."""

    method: str
    by_budget: list[Corrected]
    promised: float | None  # validation score of the evaluated trial
    promised_corrected: float | None
    test: float | None  # mean test accuracy of the same configuration
    rank_seen: float | None  # rank among the methods, by the mean over seeds
    rank_corrected: float | None
    rank_test: float | None  # in a table study by the mean over seeds, otherwise by the one evaluated trial


class WinnersCurse(Model):
    """All methods on one data set."""

    noise: Noise
    rows: list[Curse]

    @property
    def tested(self) -> bool:
        """Whether the study's table has test scores for every seed."""
        return any(x.test is not None for row in self.rows for x in row.by_budget)


def spread_within(groups: Sequence[Sequence[float]], sign: int) -> tuple[float, int, int] | None:
    """Return the standard deviation of scores within configurations, pooled over the better quarter of the configurations.

    More configurations are used, in the order of their mean score, until there are ten degrees of freedom.

    Args:
        groups: The scores of each configuration.
        sign: 1 if smaller scores are better, -1 if larger scores are better.

    Returns:
        The standard deviation, the number of configurations used and the degrees of freedom; None if no configuration has several
        scores.
    """
    repeated = sorted((g for g in groups if len(g) > 1), key=lambda g: sign * float(np.mean(g)))
    used: list[Sequence[float]] = []
    freedom = 0
    while len(used) < len(repeated) and (len(used) < BETTER * len(repeated) or freedom < FEWEST_REPEATS):
        used.append(repeated[len(used)])
        freedom += len(used[-1]) - 1
    if not used:
        return None
    return math.sqrt(sum(float(np.var(g)) * len(g) for g in used) / freedom), len(used), freedom


def noise(rows: Sequence[TrialRow], scores: Sequence[CellScore], goal: ObjectiveSettings) -> Noise:
    """Return the noise of one evaluation on a data set; its `sd` is None if it cannot be measured."""
    groups: dict[tuple[int, str], list[tuple[float, tuple[str, int]]]] = defaultdict(list)
    for r in rows:
        if r.objective is not None and r.parent is None and not r.own_models:
            groups[r.epochs, key_of(r.config)].append((r.objective, (r.method, r.seed)))
    repeated = [[v for v, _ in g] for g in groups.values() if len({search for _, search in g}) > 1]
    within = spread_within(repeated, goal.sign)
    if within and within[0] > 0 and within[2] >= FEWEST_REPEATS:
        sd, configurations, freedom = within
        return Noise(sd=sd, source=f"the {configurations} best configurations that were trained more than once", freedom=freedom)
    tests = [s.test.accuracy for s in scores if s.test and s.test.accuracy.sd is not None and not s.own_models]
    if goal.metric == "val_accuracy" and (freedom := sum(t.n - 1 for t in tests)):
        variance = sum((t.sd or 0.0) ** 2 * (t.n - 1) for t in tests) / freedom
        return Noise(sd=math.sqrt(variance), source="the test accuracies of the retrainings", freedom=freedom)
    missing = "too few configurations were trained more than once, and no retrainings measure this metric"
    return Noise(sd=None, source=missing, freedom=0)


def optimism(losses: Floats, sd: float) -> float:
    """Return the expected bias of the smallest loss that is due to Gaussian noise with standard deviation `sd`; at least 0.

    Args:
        losses: The losses of a search's trials, shape (trials,).
        sd: The standard deviation of the noise of one evaluation.
    """
    near = losses[losses <= losses.min() + REACH * sd]
    if sd <= 0 or len(near) < 2:
        return 0.0
    noisy = near + sd * np.random.default_rng(len(near)).standard_normal((DRAWS, len(near)))
    chosen = noisy.argmin(axis=1)
    return max(0.0, float((near[chosen] - noisy[np.arange(DRAWS), chosen]).mean()))


def winners_curse(
    rows: Sequence[TrialRow],
    scores: Sequence[CellScore],
    curves: Sequence[Progress],
    budgets: Mapping[float, float],
    goal: ObjectiveSettings,
    known_noise: Noise | None = None,
    known_tests: Mapping[tuple[str, int], Mapping[int, float]] | None = None,
) -> WinnersCurse:
    """Return the validation, corrected and test scores of every method on one data set, with their ranks.

    Args:
        rows: The trials on the data set.
        scores: The scores of the data set's cells.
        curves: The best-so-far curves of the data set's searches.
        budgets: The epochs of each share of the common budget.
        goal: The study's objective.
        known_noise: The noise according to the study's table, if there is one.
        known_tests: The test accuracy of each trial according to the study's table, by method and seed of the search.
    """
    evaluation_noise = known_noise or noise(rows, scores, goal)
    compared = [s for s in scores if not s.own_models]
    tested = known_tests or {}
    table = [
        _curse(s, [c for c in curves if c.method == s.method and c.ended], budgets, goal, evaluation_noise.sd, tested)
        for s in compared
    ]
    seen = [row.by_budget[-1].seen if row.by_budget else None for row in table]
    corrected = [row.by_budget[-1].corrected if row.by_budget else None for row in table]
    every_seed = [row.by_budget[-1].test if row.by_budget else None for row in table]
    tests = every_seed if any(t is not None for t in every_seed) else [row.test for row in table]
    ranked = zip(_ranks(seen, goal.sign), _ranks(corrected, goal.sign), _ranks(tests, -1), strict=True)
    return WinnersCurse(
        noise=evaluation_noise,
        rows=[
            row.model_copy(update={"rank_seen": a, "rank_corrected": b, "rank_test": c})
            for row, (a, b, c) in zip(table, ranked, strict=True)
        ],
    )


def _curse(
    score: CellScore,
    curves: Sequence[Progress],
    budgets: Mapping[float, float],
    goal: ObjectiveSettings,
    sd: float | None,
    tested: Mapping[tuple[str, int], Mapping[int, float]],
) -> Curse:
    test = score.test
    promised = test.validation.get(goal.metric) if test else None
    searched = next((c for c in curves if test and c.seed == test.seed), None)
    corrected = None
    if promised is not None and searched is not None and sd is not None:
        corrected = promised + goal.sign * optimism(_losses(searched, math.inf, goal), sd)
    return Curse(
        method=score.method,
        by_budget=[
            _corrected(share, [_losses(c, epochs, goal) for c in curves], goal, sd).model_copy(
                update={"test": _test(curves, epochs, tested)}
            )
            for share, epochs in budgets.items()
        ],
        promised=promised,
        promised_corrected=corrected,
        test=test.accuracy.mean if test else None,
        rank_seen=None,
        rank_corrected=None,
        rank_test=None,
    )


def _losses(curve: Progress, epochs: float, goal: ObjectiveSettings) -> Floats:
    """Return the losses of the search's scored trials within a budget of epochs."""
    within = (curve.epochs <= epochs) & np.isfinite(curve.objective)
    return np.asarray(goal.sign * curve.objective[within])


def _test(curves: Sequence[Progress], epochs: float, tested: Mapping[tuple[str, int], Mapping[int, float]]) -> float | None:
    """Return the mean test accuracy of the searches' incumbents after `epochs`; None if any of them has no test accuracy."""
    accuracies = []
    for curve in curves:
        index = int(np.searchsorted(curve.epochs, epochs, side="right")) - 1
        best = int(curve.incumbent[index]) if index >= 0 else -1
        accuracies.append(tested.get((curve.method, curve.seed), {}).get(best))
    known = [a for a in accuracies if a is not None]
    return float(np.mean(known)) if known and len(known) == len(accuracies) else None


def _corrected(share: float, losses: Sequence[Floats], goal: ObjectiveSettings, sd: float | None) -> Corrected:
    if not losses or not all(len(x) for x in losses):
        return Corrected(share=share, seen=None, corrected=None)
    seen = float(np.mean([x.min() for x in losses]))
    bias = None if sd is None else float(np.mean([optimism(x, sd) for x in losses]))
    return Corrected(share=share, seen=goal.sign * seen, corrected=None if bias is None else goal.sign * (seen + bias))


def _ranks(values: Sequence[float | None], sign: int) -> list[float | None]:
    """Return the ranks of the values that are not None: 1 is the best, ties share their mean rank."""
    known = [sign * v for v in values if v is not None]
    return [None if v is None else sum(k < sign * v for k in known) + (known.count(sign * v) + 1) / 2 for v in values]
