"""The winner's curse: how much better the best of many noisy scores looks than it is, and what the test images say of it.

Rule. The noise of one evaluation is the standard deviation within configurations that were trained anew to the same epoch by
several searches; where too few were, that of the retrainings' test accuracies. The optimism of a search is what the noise alone
does to its choice: its trials' scores are given fresh noise many times, and the best of the noisy scores is compared with what
that trial had without it (a parametric bootstrap; J. E. Smith and R. L. Winkler, The optimizer's curse, Management Science 52,
2006). The corrected score is the best less its optimism. The scores already hold noise once, so that the correction is, if
anything, too small.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from ..core.space import Model
from ..core.study import Goal
from .curves import Floats, Progress
from .numbers import TrialRow
from .tables import CellScore

DRAWS = 200
FEWEST_REPEATS = 10
"""Degrees of freedom that the noise must have to be measured from repeated configurations."""
REACH = 6.0
"""Trials that lie further behind the best than so many standard deviations cannot be chosen for their noise."""


class Noise(Model):
    """The standard deviation of one evaluation of a configuration, and where it comes from."""

    sd: float | None
    source: str
    freedom: int


class Corrected(Model):
    """The mean over seeds of the best validation score at a budget, as it looks and as it should be read."""

    share: float  # of the common budget of epochs
    seen: float | None
    corrected: float | None


class Curse(Model):
    """One method on one data set: validation against test. Scores are in the metric's own direction."""

    method: str
    by_budget: list[Corrected]
    promised: float | None  # validation score of the trial that was evaluated
    promised_corrected: float | None
    test: float | None  # the same configuration's mean test accuracy
    rank_seen: float | None  # among the methods, by the mean over seeds
    rank_corrected: float | None
    rank_test: float | None


class WinnersCurse(Model):
    """All methods on one data set."""

    noise: Noise
    rows: list[Curse]


def noise(rows: Sequence[TrialRow], scores: Sequence[CellScore], metric: str) -> Noise:
    """The noise of one evaluation on a data set; without a source its sd is None."""
    groups: dict[tuple[int, str], list[tuple[float, tuple[str, int]]]] = defaultdict(list)
    for r in rows:
        if r.objective is not None and r.parent is None and not r.own_models:
            groups[r.epochs, repr(sorted(r.config.items()))].append((r.objective, (r.method, r.seed)))
    repeated = [[v for v, _ in g] for g in groups.values() if len({search for _, search in g}) > 1]
    freedom = sum(len(g) - 1 for g in repeated)
    squares = sum(float(np.var(g)) * len(g) for g in repeated)
    if freedom >= FEWEST_REPEATS and squares > 0:
        source = f"{len(repeated)} configurations trained more than once"
        return Noise(sd=math.sqrt(squares / freedom), source=source, freedom=freedom)
    tests = [s.test.accuracy for s in scores if s.test and s.test.accuracy.sd is not None and not s.own_models]
    if metric == "val_accuracy" and (degrees := sum(t.n - 1 for t in tests)):
        pooled = sum((t.sd or 0.0) ** 2 * (t.n - 1) for t in tests) / degrees
        return Noise(sd=math.sqrt(pooled), source="the retrainings' test accuracies", freedom=degrees)
    return Noise(sd=None, source="no configuration was trained more than once, and none was retrained", freedom=0)


def optimism(losses: Floats, sd: float) -> float:
    """By how much the smallest of these losses is expected to be too small, where each has noise of this deviation."""
    near = losses[losses <= losses.min() + REACH * sd]
    if sd <= 0 or len(near) < 2:
        return 0.0
    drawn = near + sd * np.random.default_rng(len(near)).standard_normal((DRAWS, len(near)))
    chosen = drawn.argmin(axis=1)
    return max(0.0, float((near[chosen] - drawn[np.arange(DRAWS), chosen]).mean()))


def winners_curse(
    rows: Sequence[TrialRow],
    scores: Sequence[CellScore],
    curves: Sequence[Progress],
    budgets: Mapping[float, float],
    goal: Goal,
) -> WinnersCurse:
    """Validation, corrected and test of every method on one data set; `budgets` are epochs by share of the common budget."""
    found = noise(rows, scores, goal.metric)
    compared = [s for s in scores if not s.own_models]
    table = [_curse(s, [c for c in curves if c.method == s.method and c.ended], budgets, goal, found.sd) for s in compared]
    seen = [row.by_budget[-1].seen if row.by_budget else None for row in table]
    corrected = [row.by_budget[-1].corrected if row.by_budget else None for row in table]
    tests = [s.test.accuracy.mean if s.test else None for s in compared]
    ranked = zip(_ranks(seen, goal.sign), _ranks(corrected, goal.sign), _ranks(tests, -1), strict=True)
    return WinnersCurse(
        noise=found,
        rows=[
            row.model_copy(update={"rank_seen": a, "rank_corrected": b, "rank_test": c})
            for row, (a, b, c) in zip(table, ranked, strict=True)
        ],
    )


def _curse(score: CellScore, curves: Sequence[Progress], budgets: Mapping[float, float], goal: Goal, sd: float | None) -> Curse:
    test = score.test
    promised = test.validation.get(goal.metric) if test else None
    searched = next((c for c in curves if test and c.seed == test.seed), None)
    corrected = None
    if promised is not None and searched is not None and sd is not None:
        corrected = promised + goal.sign * optimism(_losses(searched, math.inf, goal), sd)
    return Curse(
        method=score.method,
        by_budget=[_corrected(share, [_losses(c, epochs, goal) for c in curves], goal, sd) for share, epochs in budgets.items()],
        promised=promised,
        promised_corrected=corrected,
        test=test.accuracy.mean if test else None,
        rank_seen=None,
        rank_corrected=None,
        rank_test=None,
    )


def _losses(curve: Progress, epochs: float, goal: Goal) -> Floats:
    within = (curve.epochs <= epochs) & np.isfinite(curve.objective)
    return np.asarray(goal.sign * curve.objective[within])


def _corrected(share: float, losses: Sequence[Floats], goal: Goal, sd: float | None) -> Corrected:
    if not losses or not all(len(x) for x in losses):
        return Corrected(share=share, seen=None, corrected=None)
    seen = float(np.mean([x.min() for x in losses]))
    too_small = None if sd is None else float(np.mean([optimism(x, sd) for x in losses]))
    return Corrected(share=share, seen=goal.sign * seen, corrected=None if too_small is None else goal.sign * (seen + too_small))


def _ranks(values: Sequence[float | None], sign: int) -> list[float | None]:
    """Ranks among the values that there are, 1 the best, ties at their mean."""
    known = [sign * v for v in values if v is not None]
    return [None if v is None else sum(k < sign * v for k in known) + (known.count(sign * v) + 1) / 2 for v in values]
