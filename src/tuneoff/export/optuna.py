"""Export a study as an Optuna storage: a SQLite file with one Optuna study per search, for plots and optuna-dashboard."""

from __future__ import annotations

import json
import math
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from ..analysis.frames import HYPERPARAMETER
from ..analysis.trial_rows import METRICS, trial_row
from ..core.record.state import SearchRecord, TrialRecord
from ..core.space import Categorical, Float, Int, Space, Value
from ..core.store.study_store import CellResult, StudyResult
from ..core.study import ObjectiveSettings
from ..core.study import Study as OurStudy

_STATES = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}
_FACTS = (
    *("seed", "config_id", "parent", "inherit", "status", "reason", "first_epoch", "epochs", "trained_epochs", "counted_epoch"),
    *(*METRICS, "seconds", "method_seconds", "attempts", "device", "peak_memory_bytes"),
)


def write_storage(result: StudyResult, file: Path) -> None:
    """Write a storage with one Optuna study per search, including searches that have not begun.

    Searches of systems that train their own models are left out.
    """
    with _quiet(), _storage(file) as storage:
        for cell in result.cells:
            for search in (s for s in cell.searches if not s.is_system):
                _add(storage, result, cell, search)


def study_name(study: OurStudy, search: SearchRecord) -> str:
    """Return the name of a search's Optuna study: NAME/DATASET/METHOD/seed-SEED."""
    return f"{study.name}/{search.dataset}/{search.method}/seed-{search.seed}"


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Convert the space to Optuna's distributions. Optuna has no conditions, so a trial leaves out inactive parameters."""
    return {name: _distribution(parameter) for name, parameter in space.items()}


def _distribution(parameter: Categorical | Int | Float) -> BaseDistribution:
    if isinstance(parameter, Categorical):
        return CategoricalDistribution([_choice(v, parameter) for v in parameter.values])
    if isinstance(parameter, Int):  # Optuna needs an upper bound that a whole number of steps reaches
        return IntDistribution(parameter.low, parameter.nearest(parameter.high), log=parameter.log, step=parameter.step or 1)
    return FloatDistribution(parameter.low, parameter.nearest(parameter.high), log=parameter.log, step=parameter.step)


def _choice(value: Value, parameter: Categorical) -> Value:
    """Return a category. It is written as JSON if Optuna would confuse it with another one, because there 1 equals true."""
    return value if len(set(parameter.values)) == len(parameter.values) else json.dumps(value)


def _add(storage: optuna.storages.RDBStorage, result: StudyResult, cell: CellResult, search: SearchRecord) -> None:
    goal, space = result.study.objective, result.study.space
    direction = StudyDirection.MAXIMIZE if goal.sign < 0 else StudyDirection.MINIMIZE
    study = optuna.create_study(storage=storage, study_name=study_name(result.study, search), direction=direction)
    study.set_metric_names([goal.metric])
    for name, fact in _study_facts(result, cell, search).items():
        study.set_user_attr(name, fact)
    known = distributions(space)
    for record in search.trials:
        study.add_trial(_trial(search, record, goal, space, known, _incumbent_facts(cell, search, record)))


def _study_facts(result: StudyResult, cell: CellResult, search: SearchRecord) -> dict[str, Any]:
    return {
        "tuneoff_id": result.id,
        "study": result.study.name,
        "dataset": search.dataset,
        "method": search.method,
        "method_name": cell.cell.method.name,
        "seed": search.seed,
        "epochs_per_trial": result.study.budget.epochs_per_trial,
        "ended": None if search.ended is None else search.ended["reason"],
    }


def _incumbent_facts(cell: CellResult, search: SearchRecord, record: TrialRecord) -> dict[str, Any]:
    """Return the test scores of the cell's incumbent, the one trial that was retrained and tested; else nothing."""
    found = cell.evaluation
    if found is None or (found.seed, found.trial) != (search.seed, record.trial.id):
        return {}
    scores = [r.test_accuracy for r in found.retrainings]
    return {"incumbent": True, "test_accuracy": sum(scores) / len(scores), "test_accuracies": scores}


def _trial(
    search: SearchRecord,
    record: TrialRecord,
    goal: ObjectiveSettings,
    space: Space,
    known: Mapping[str, BaseDistribution],
    facts: Mapping[str, Any],
) -> FrozenTrial:
    """Convert a trial. Its number stays the same. Values of its configuration outside the space become user attributes."""
    row = trial_row(search, record, goal)
    active = [name for name, parameter in space.items() if name in row.config and parameter.contains(row.config[name])]
    own = {name: getattr(row, name) for name in _FACTS}
    other = {HYPERPARAMETER + name: value for name, value in row.config.items() if name not in active}
    trial = create_trial(
        state=_STATES[row.status],
        value=row.objective,
        params={name: _param(row.config[name], space[name]) for name in active},
        distributions={name: known[name] for name in active},
        user_attrs={k: v for k, v in {**own, **other, **facts}.items() if v is not None},
        intermediate_values={e.number: e.metrics.get(goal.metric, math.nan) for e in record.curve},
    )
    trial.datetime_start = datetime.fromtimestamp(row.asked_at if row.started_at is None else row.started_at)
    trial.datetime_complete = None if row.told_at is None else datetime.fromtimestamp(row.told_at)
    return trial


def _param(value: Value, parameter: Categorical | Int | Float) -> Value:
    return _choice(value, parameter) if isinstance(parameter, Categorical) else value


@contextmanager
def _storage(file: Path) -> Iterator[optuna.storages.RDBStorage]:
    """Create a SQLite storage. It opens its own connections, because a URL cannot name every path.

    The files are not synced to the disk, because an export can be written again.
    """

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(file, check_same_thread=False)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    storage = optuna.storages.RDBStorage("sqlite:///optuna.db", engine_kwargs={"creator": connect})
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's log line per study and its warnings about experimental features."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
