"""Hyperparameter importance: permutation importance (Breiman, 2001) of a random forest that predicts a trial's objective.

Reference: L. Breiman, Random forests, Machine Learning 45 (2001).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..core.runtime.extras import importable
from ..core.space import Categorical, Model, Space, Value
from .trial_rows import TrialRow

FEWEST_TRIALS = 20
MOST_TRIALS = 2000
MOST_PERMUTED = 500
TREES = 100
REPEATS = 5
METHOD = (
    f"A random forest of {TREES} trees (scikit-learn) predicts the trials' objective from their hyperparameters."
    " The importance of a hyperparameter is the decrease of the forest's R² when the hyperparameter's column is shuffled, as the"
    f" mean of {REPEATS} shuffles. The out-of-bag R² measures how well the forest predicts trials that its trees were not grown"
    " on. If it is low, the importances are unreliable."
    " The importances describe the trials that all methods together chose to run, not the whole search space."
)
COVARIATE = "epochs"


class ImportanceRow(Model):
    """The importance of one column: the decrease of R² when it is shuffled."""

    name: str
    drop: float  # mean over the shuffles
    sd: float  # standard deviation over the shuffles
    covariate: bool  # the column is the number of epochs, not a hyperparameter


class Importance(Model):
    """The importances on one data set, or the reason why they are not computed."""

    trials: int  # trials with an objective
    used: int  # trials that the forest was grown on
    refused: str | None  # why no importances are computed
    r2_oob: float | None  # out-of-bag R² of the forest
    rows: list[ImportanceRow]
    method: str = METHOD


def importance(rows: Sequence[TrialRow], space: Space) -> Importance:
    """Return the importances computed from all trials with an objective, the most important hyperparameter first.

    If the number of epochs varies between trials, it is a covariate. Of more than 2000 trials, 2000 are drawn with a fixed seed,
    and at most 500 of them are used for the shuffles. Importances are refused for fewer than 20 trials, and if all trials have
    the same objective or the same configuration.
    """
    scored = [r for r in rows if r.objective is not None]
    if len(scored) < FEWEST_TRIALS:
        return _refusal(
            scored, f"Only {len(scored)} trials have an objective; at least {FEWEST_TRIALS} are needed to estimate importance."
        )
    if len({r.objective for r in scored}) == 1:
        return _refusal(scored, "All trials have the same objective.")
    if not importable("sklearn"):
        return _refusal(scored, "scikit-learn is not installed where the report was made: pip install 'tuneoff[report]'.")
    used = _thinned(scored, MOST_TRIALS)
    names, columns = _columns(used, space)
    if not set(names) & set(space):
        return _refusal(scored, "No hyperparameter has more than one value.")
    drops, deviations, r2 = _forest(columns, np.array([r.objective for r in used], dtype=float))
    table = [
        ImportanceRow(name=n, drop=float(d), sd=float(s), covariate=n not in space.root)
        for n, d, s in zip(names, drops, deviations, strict=True)
    ]
    table.sort(key=lambda row: (row.covariate, -row.drop))
    return Importance(trials=len(scored), used=len(used), refused=None, r2_oob=r2, rows=table)


def _refusal(scored: Sequence[TrialRow], reason: str) -> Importance:
    return Importance(trials=len(scored), used=0, refused=reason, r2_oob=None, rows=[])


def _thinned(rows: Sequence[TrialRow], most: int) -> list[TrialRow]:
    if len(rows) <= most:
        return list(rows)
    chosen = np.random.default_rng(0).choice(len(rows), size=most, replace=False)
    return [rows[i] for i in np.sort(chosen)]


def _columns(rows: Sequence[TrialRow], space: Space) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Return the names and values of the columns that vary between trials; the values have shape (trials, columns)."""
    columns = {name: [code(space, name, r.config.get(name)) for r in rows] for name in space}
    epochs_name = "epochs (as a covariate)" if COVARIATE in columns else COVARIATE
    columns[epochs_name] = [float(r.epochs) for r in rows]
    varied = {name: values for name, values in columns.items() if len(set(values)) > 1}
    return list(varied), np.array(list(varied.values()), dtype=float).T


def code(space: Space, name: str, value: Value | None) -> float:
    """Return a hyperparameter's value as a number that keeps its order.

    A category becomes its index, and a value on a log scale its decimal logarithm. An inactive hyperparameter (None) becomes a
    number below all others.
    """
    parameter = space[name]
    if isinstance(parameter, Categorical):
        return -1.0 if value is None else float(parameter.index(value))
    low, high = (math.log10(v) if parameter.log else float(v) for v in (parameter.low, parameter.high))
    if value is None:
        return low - 0.25 * (high - low)
    return math.log10(float(value)) if parameter.log else float(value)


def _forest(
    columns: npt.NDArray[np.float64], objective: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Return the mean and the standard deviation of each column's decrease of R², and the forest's out-of-bag R²."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    forest = RandomForestRegressor(n_estimators=TREES, oob_score=True, min_samples_leaf=2, random_state=0, n_jobs=1)
    forest.fit(columns, objective)
    share = min(1.0, MOST_PERMUTED / len(objective))
    drops = permutation_importance(forest, columns, objective, n_repeats=REPEATS, random_state=0, n_jobs=1, max_samples=share)
    return drops.importances_mean, drops.importances_std, float(forest.oob_score_)
