"""Which hyperparameters matter: permutation importance of a random forest that predicts a trial's objective."""

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
    f"A random forest of {TREES} trees (scikit-learn) predicts the trials' objective from their hyperparameters;"
    f" a hyperparameter's importance is how much of the forest's R² is lost when its column is shuffled, the mean of {REPEATS}"
    " shuffles. R² out of bag says how well the forest predicts trials that it was not grown on: where it is low, the importances"
    " say little."
    " They describe the trials that the methods chose to make, all methods together, not the whole space."
)
COVARIATE = "epochs"


class ImportanceRow(Model):
    """One column's importance: mean loss of R² when it is shuffled, and its standard deviation over the shuffles."""

    name: str
    drop: float
    sd: float
    covariate: bool  # the epochs trained, which is no hyperparameter


class Importance(Model):
    """The importances on one data set, or why there are none."""

    trials: int  # with an objective
    used: int
    refused: str | None
    r2_oob: float | None
    rows: list[ImportanceRow]
    method: str = METHOD


def importance(rows: Sequence[TrialRow], space: Space) -> Importance:
    """Importances from all trials with an objective, the most important first; epochs reached are a covariate where they vary.

    More than 2000 trials are thinned to 2000 drawn with a fixed seed, and 500 of them are shuffled. Refused with fewer than 20
    trials, and where all trials scored the same.
    """
    scored = [r for r in rows if r.objective is not None]
    if len(scored) < FEWEST_TRIALS:
        return _refusal(
            scored, f"{len(scored)} trials have an objective, and fewer than {FEWEST_TRIALS} say nothing about importance."
        )
    if len({r.objective for r in scored}) == 1:
        return _refusal(scored, "All trials scored the same.")
    if not importable("sklearn"):
        return _refusal(scored, "scikit-learn is not installed where the report was made: pip install 'tuneoff[report]'.")
    used = _thinned(scored, MOST_TRIALS)
    names, columns = _columns(used, space)
    if not set(names) & set(space):
        return _refusal(scored, "No hyperparameter takes more than one value.")
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
    """Names and values, shape (trials, columns), of what varies between the trials."""
    columns = {name: [code(space, name, r.config.get(name)) for r in rows] for name in space}
    reached = "epochs (as a covariate)" if COVARIATE in columns else COVARIATE
    columns[reached] = [float(r.epochs) for r in rows]
    varied = {name: values for name, values in columns.items() if len(set(values)) > 1}
    return list(varied), np.array(list(varied.values()), dtype=float).T


def code(space: Space, name: str, value: Value | None) -> float:
    """A value as a number that keeps its order: a category's place, a logarithm on log scales; below all where inactive."""
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
    """Mean and deviation of each column's loss of R², and the forest's R² out of bag."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    forest = RandomForestRegressor(n_estimators=TREES, oob_score=True, min_samples_leaf=2, random_state=0, n_jobs=1)
    forest.fit(columns, objective)
    share = min(1.0, MOST_PERMUTED / len(objective))
    found = permutation_importance(forest, columns, objective, n_repeats=REPEATS, random_state=0, n_jobs=1, max_samples=share)
    return found.importances_mean, found.importances_std, float(forest.oob_score_)
