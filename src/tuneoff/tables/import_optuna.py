"""Read the runs of a finished Optuna study."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..core.credentials import without_credentials
from ..core.errors import StudyError, first_line
from .imports import Run, numbered, parameter_name


def from_optuna(storage: str, name: str | None) -> Iterator[Run]:
    """Yield the complete and pruned trials of an Optuna study as runs.

    The intermediate values of a trial are its curve; a trial without any has a curve of one epoch. A maximised objective is read
    as val_accuracy, and a minimised one as val_loss.

    Args:
        storage: A SQLite file, or the URL of an Optuna storage.
        name: The study's name. It may be None if the storage holds a single study.

    Raises:
        StudyError: The storage cannot be read, does not hold the study, or the study has several objectives.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    named = without_credentials(storage)
    uri = storage if "://" in storage else f"sqlite:///{storage}"
    try:
        names = optuna.get_all_study_names(uri)
    except Exception as error:
        said = without_credentials(first_line(error))[:200]
        raise StudyError(f"{named} cannot be read as an Optuna storage ({said}).") from error
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        raise StudyError(f"{named} holds the studies {', '.join(names) or '(none)'}. Give one of them as --study.")
    study = optuna.load_study(study_name=name, storage=uri)
    if len(study.directions) > 1:
        raise StudyError(f"The Optuna study {name!r} has several objectives, but a table has one. Give another study.")
    metric = "val_accuracy" if study.direction is optuna.study.StudyDirection.MAXIMIZE else "val_loss"
    for trial in study.get_trials(deepcopy=False):
        curve = dict(trial.intermediate_values)
        if trial.state is optuna.trial.TrialState.COMPLETE and not curve:
            curve = {1: float(trial.value)}
        if trial.state in (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED) and curve:
            seconds = trial.duration.total_seconds() if trial.duration else 0.0
            values = {step: {metric: float(value)} for step, value in curve.items()}
            yield Run({parameter_name(n): _plain(v) for n, v in trial.params.items()}, numbered(values, seconds))


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | bool | int | float) else str(value)
