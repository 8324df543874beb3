"""The winner's curse: how much better the best of many noisy scores looks than it is, and what the test images say of it.

Rule. The noise of one evaluation is the standard deviation within configurations that were trained anew to the same epoch by
several searches, of the better quarter of them; where too few were, that of the retrainings' test accuracies. On a table it is
that within the configurations that were recorded with several seeds: there two searches read the same trainings. The optimism of
a search is what the noise alone does to its choice: its trials' scores are given fresh noise many times, and the best of the
noisy scores is compared with what that trial had without it (a parametric bootstrap; J. E. Smith and R. L. Winkler, The
optimizer's curse, Management Science 52, 2006). The corrected score is the best less its optimism. The scores already hold noise
once, so that the correction is, if anything, too small.
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
BETTER = 0.25
"""The noise is that of this share of the repeated configurations, the best of them: the choice is made among their like, and poor
ones may fail with one seed and not with another, by far more."""
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
    test: float | None = None  # the same trials' mean test accuracy, where a table has it


class Curse(Model):
    """One method on one data set: validation against test. Scores are in the metric's own direction."""

    method: str
    by_budget: list[Corrected]
    promised: float | None  # validation score of the trial that was evaluated
    promised_corrected: float | None
    test: float | None  # the same configuration's mean test accuracy
    rank_seen: float | None  # among the methods, by the mean over seeds
    rank_corrected: float | None
    rank_test: float | None  # on a table by the mean over seeds too, otherwise by the one trial that was evaluated


class WinnersCurse(Model):
    """All methods on one data set."""

    noise: Noise
    rows: list[Curse]

    @property
    def tested(self) -> bool:
        """Whether a table has the test scores of every seed."""
        return any(x.test is not None for row in self.rows for x in row.by_budget)


def spread_within(groups: Sequence[Sequence[float]], sign: int) -> tuple[float, int, int] | None:
    """The standard deviation within configurations, from the scores of each, pooled over the better quarter of them.

    Of more than those where they have fewer than ten degrees of freedom. Returns it with the number of configurations and the
    degrees of freedom; None without a configuration that has several scores.
    """
    several = sorted((g for g in groups if len(g) > 1), key=lambda g: sign * float(np.mean(g)))
    used: list[Sequence[float]] = []
    freedom = 0
    while len(used) < len(several) and (len(used) < BETTER * len(several) or freedom < FEWEST_REPEATS):
        used.append(several[len(used)])
        freedom += len(used[-1]) - 1
    if not used:
        return None
    return math.sqrt(sum(float(np.var(g)) * len(g) for g in used) / freedom), len(used), freedom


def noise(rows: Sequence[TrialRow], scores: Sequence[CellScore], goal: ObjectiveSettings) -> Noise:
    """The noise of one evaluation on a data set; without a source its sd is None."""
    groups: dict[tuple[int, str], list[tuple[float, tuple[str, int]]]] = defaultdict(list)
    for r in rows:
        if r.objective is not None and r.parent is None and not r.own_models:
            groups[r.epochs, key_of(r.config)].append((r.objective, (r.method, r.seed)))
    repeated = [[v for v, _ in g] for g in groups.values() if len({search for _, search in g}) > 1]
    found = spread_within(repeated, goal.sign)
    if found and found[0] > 0 and found[2] >= FEWEST_REPEATS:
        sd, configurations, freedom = found
        return Noise(sd=sd, source=f"the {configurations} best configurations trained more than once", freedom=freedom)
    tests = [s.test.accuracy for s in scores if s.test and s.test.accuracy.sd is not None and not s.own_models]
    if goal.metric == "val_accuracy" and (degrees := sum(t.n - 1 for t in tests)):
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
    goal: ObjectiveSettings,
    known_noise: Noise | None = None,
    known_tests: Mapping[tuple[str, int], Mapping[int, float]] | None = None,
) -> WinnersCurse:
    """Validation, corrected and test of every method on one data set; `budgets` are epochs by share of the common budget.

    A study's table knows the noise, and every trial's test accuracy, here by the method and seed of the search.
    """
    found = known_noise or noise(rows, scores, goal)
    compared = [s for s in scores if not s.own_models]
    tested = known_tests or {}
    table = [
        _curse(s, [c for c in curves if c.method == s.method and c.ended], budgets, goal, found.sd, tested) for s in compared
    ]
    seen = [row.by_budget[-1].seen if row.by_budget else None for row in table]
    corrected = [row.by_budget[-1].corrected if row.by_budget else None for row in table]
    every_seed = [row.by_budget[-1].test if row.by_budget else None for row in table]
    tests = every_seed if any(t is not None for t in every_seed) else [row.test for row in table]
    ranked = zip(_ranks(seen, goal.sign), _ranks(corrected, goal.sign), _ranks(tests, -1), strict=True)
    return WinnersCurse(
        noise=found,
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
    within = (curve.epochs <= epochs) & np.isfinite(curve.objective)
    return np.asarray(goal.sign * curve.objective[within])


def _test(curves: Sequence[Progress], epochs: float, tested: Mapping[tuple[str, int], Mapping[int, float]]) -> float | None:
    """The mean test accuracy of the searches' best trials so far; None where one of them has none."""
    found = []
    for curve in curves:
        place = int(np.searchsorted(curve.epochs, epochs, side="right")) - 1
        best = int(curve.incumbent[place]) if place >= 0 else -1
        found.append(tested.get((curve.method, curve.seed), {}).get(best))
    known = [f for f in found if f is not None]
    return float(np.mean(known)) if known and len(known) == len(found) else None


def _corrected(share: float, losses: Sequence[Floats], goal: ObjectiveSettings, sd: float | None) -> Corrected:
    if not losses or not all(len(x) for x in losses):
        return Corrected(share=share, seen=None, corrected=None)
    seen = float(np.mean([x.min() for x in losses]))
    too_small = None if sd is None else float(np.mean([optimism(x, sd) for x in losses]))
    return Corrected(share=share, seen=goal.sign * seen, corrected=None if too_small is None else goal.sign * (seen + too_small))


def _ranks(values: Sequence[float | None], sign: int) -> list[float | None]:
    """Ranks among the values that there are, 1 the best, ties at their mean."""
    known = [sign * v for v in values if v is not None]
    return [None if v is None else sum(k < sign * v for k in known) + (known.count(sign * v) + 1) / 2 for v in values]
