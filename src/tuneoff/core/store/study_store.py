"""The files of a study in its store: the study itself, its claim and its results, as every step and view reads them."""

from __future__ import annotations

import sys
import time
import uuid
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from .. import layout
from ..errors import CellFailed, RecordError, ReplayError, StoreAway, StudyError, plain
from ..prepared_data import Prepared
from ..record.state import SearchRecord, read_search
from ..space import Model
from ..study import Cell, Study
from ..study_diff import changes
from .protocol import Store
from .stop_request import requested


class ClassScore(Model):
    """The test accuracy of one class: the mean over the retrainings."""

    name: str
    accuracy: float
    images: int


class Retraining(Model):
    """One retraining of the incumbent on train + validation. Curves hold one value per epoch."""

    seed: int
    test_accuracy: float
    test_loss: float
    curves: dict[str, list[float]]  # loss, accuracy
    seconds: float


class Period(Model):
    """The epochs of a retraining under one configuration, up to and including `last_epoch`."""

    config: dict[str, Any]
    last_epoch: int


MODEL_FILE = "model.zip"
"""The packed folder with the kept model of a system that trains its own models."""


class SystemModel(Model):
    """The note on the kept model of a system that trains its own models. It is written after the model."""

    trial: int
    predictor: str  # a module: `python -m PREDICTOR TARGET FOLDER IMAGES.npy OUT.npy` writes probabilities (N, classes)
    target: str


class Evaluation(Model):
    """The evaluation of a cell: its incumbent over all seeds, retrained and scored on the test images once.

    Nothing is trained if the incumbent is the model of a system that trains its own models: `retrained` is then false,
    `epochs` is 0, and `retrainings` has one entry with the score of that model. In a table study nothing is trained either: the
    one entry of `retrainings` is the recorded training up to the counted epoch (none if the table has no test scores), and
    `classes` and `confusion` are empty.
    """

    dataset: str
    method: str
    seed: int  # the search that found the incumbent
    trial: int
    config: dict[str, Any]
    schedule: list[Period] = []  # the configurations in order, if they changed while the incumbent trained
    epochs: int
    validation: dict[str, float]  # the trial's metrics at the counted epoch, as the search saw them
    retrainings: list[Retraining]
    confusion: list[list[int]]  # rows: true class, columns: predicted class; of the first retraining, whose model is kept
    classes: list[ClassScore]
    evaluated_at: float
    retrained: bool = True
    recorded: bool = False  # read from a table


class Failure(Model):
    """Why a step ended without a result: a sentence, and the end of the traceback."""

    step: str
    reason: str
    detail: str = ""
    time: float
    passing: bool = False  # the store was unavailable: the same step may succeed later


class Delivered(Model):
    """What the tracking server had of a cell after the last delivery, starting with the number of ended trials."""

    trials: int = Field(ge=0)
    trouble: str | None  # why not more, if the server could not be used
    time: float
    searches: int = Field(default=0, ge=0)  # searches that the server shows as finished or failed
    evaluated_at: float | None = None  # the time of the evaluation that the server has


@dataclass(frozen=True)
class CellResult:
    """Everything that the store has of one cell. Each field is read independently of the others."""

    cell: Cell
    searches: tuple[SearchRecord, ...]  # one per seed of the study, also if it is empty
    evaluation: Evaluation | None
    failures: tuple[Failure, ...]
    delivered: Delivered | None = None  # None if nothing has been sent

    @property
    def is_system(self) -> bool:
        """Return whether the method is a system that trains its own models, according to the records."""
        return any(search.is_system for search in self.searches)

    @property
    def backlog(self) -> int:
        """Return the number of ended trials that the tracking server does not have yet."""
        return max(0, sum(len(s.told) for s in self.searches) - (self.delivered.trials if self.delivered else 0))


@dataclass(frozen=True)
class StudyResult:
    """A study and all its results in the store."""

    id: str  # unique to this output folder or prefix
    created_at: float
    study: Study
    cells: tuple[CellResult, ...]
    prepared: dict[str, Prepared]  # by data set; absent if its preparation has not succeeded
    stopping: bool = False  # the user has asked it to stop and has not started it again


class _Former(Model):
    """An earlier state of a study that was extended, and the time of the extension."""

    study: Study
    until: float
    changes: list[str]


class _Holder(Model):
    """The file study.json: the study that owns the store, and its states before it was extended."""

    id: str
    created_at: float
    study: Study
    former: list[_Former] = []


def _holder(store: Store) -> _Holder:
    try:
        return _Holder.model_validate_json(store.read(layout.STUDY))
    except ValidationError:
        raise StudyError(f"{store.uri}/{layout.STUDY} is damaged: move the folder away, and run the study again.") from None


def claim(store: Store, study: Study) -> str:
    """Claim the store for this study, or extend the stored study to this one.

    Returns:
        The id of the study in this store.

    Raises:
        StudyError: The store holds another study; the message names the differences.
    """
    entry = _Holder(id=uuid.uuid4().hex, created_at=time.time(), study=study)
    store.create(layout.STUDY, entry.model_dump_json(indent=1).encode())
    holder = _holder(store)
    study = study.keeping(holder.study)
    refuse_another(store, holder.study, study)
    found = changes(holder.study, study)
    if found:
        former = _Former(study=holder.study, until=time.time(), changes=[change.said for change in found])
        extended = holder.model_copy(update={"study": study, "former": [*holder.former, former]})
        store.write(layout.STUDY, extended.model_dump_json(indent=1).encode())
    return holder.id


def refuse_another(store: Store, held: Study, study: Study) -> None:
    """Raise StudyError with the differences if `study` is neither the study in the store nor an extension of it."""
    refused = [change.said for change in changes(held, study.keeping(held)) if not change.extends]
    if refused:
        raise StudyError(
            f"{store.uri} holds another study: {'; '.join(refused)}."
            " Give another --out (on a cluster, another place in artifacts), or the study file that it was begun with:"
            " more budget, seeds, methods and data sets extend it."
        )


def extensions(store: Store, study: Study) -> list[str]:
    """Return what `claim` would change in the stored study, as sentences without a full stop."""
    held = held_study(store)
    return [] if held is None else [change.said for change in changes(held, study.keeping(held)) if change.extends]


def held_study(store: Store) -> Study | None:
    """Return the study in the store, or None if the store holds none."""
    try:
        return _holder(store).study
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_study(store: Store) -> StudyResult:
    """Read a study and all its results. Raise StudyError if the store holds no study."""
    try:
        holder = _holder(store)
    except (FileNotFoundError, NotADirectoryError):
        raise StudyError(
            f"{store.uri} holds no study: {layout.STUDY} is missing. Give the folder that `tuneoff run` wrote."
        ) from None
    study = holder.study
    return StudyResult(
        id=holder.id,
        created_at=holder.created_at,
        study=study,
        cells=tuple(read_cell(store, study, cell) for cell in study.cells),
        prepared={d.name: p for d in study.datasets if (p := read_prepared(store, d.name))},
        stopping=requested(store),
    )


def read_cell(store: Store, study: Study, cell: Cell) -> CellResult:
    """Read everything that the store has of one cell. A damaged record becomes one of its failures."""
    searches, damaged = [], []
    for seed in study.seeds:
        try:
            searches.append(read_search(store, cell.dataset, cell.method.label, seed))
        except RecordError as error:
            searches.append(SearchRecord(cell.dataset, cell.method.label, seed))
            damaged.append(Failure(step="record", reason=f"seed {seed}: {error}", time=0.0))
    failures = (*read_failures(store, cell), *damaged)
    return CellResult(cell, tuple(searches), read_evaluation(store, cell), failures, read_delivered(store, cell))


def read_evaluation(store: Store, cell: Cell) -> Evaluation | None:
    """Read the evaluation of a cell. None if it does not exist or is damaged; it is then made again."""
    return _read(store, layout.evaluation(cell.dataset, cell.method.label) + "evaluation.json", Evaluation)


def write_evaluation(store: Store, evaluation: Evaluation) -> None:
    """Write the evaluation of a cell."""
    folder = layout.evaluation(evaluation.dataset, evaluation.method)
    store.write(folder + "evaluation.json", evaluation.model_dump_json(indent=1).encode())


def read_delivered(store: Store, cell: Cell) -> Delivered | None:
    """Read what the tracking server has of a cell. None if no note exists or the note is damaged."""
    return _read(store, layout.delivered(cell.dataset, cell.method.label), Delivered)


def write_delivered(store: Store, cell: Cell, delivered: Delivered) -> None:
    """Write what the tracking server has of a cell, so that commands do not have to ask the server."""
    store.write(layout.delivered(cell.dataset, cell.method.label), delivered.model_dump_json().encode())


def read_system_model(store: Store, dataset: str, label: str, seed: int) -> SystemModel | None:
    """Read the note on the kept model of a system, or None if none exists."""
    try:
        note = SystemModel.model_validate_json(store.read(layout.system(dataset, label, seed) + "model.json"))
    except FileNotFoundError:
        return None
    target = reduce(lambda text, moved: text.replace(*moved), _MOVED_MODULES.items(), note.target)
    return note.model_copy(update={"predictor": _MOVED_MODULES.get(note.predictor, note.predictor), "target": target})


_MOVED_MODULES = {
    "tuneoff.components.tuner.predicting": "tuneoff.systems.predict",
    "tuneoff.components.tuner.methods.autokeras_system:": "tuneoff.systems.autokeras:",
    "tuneoff.components.tuner.methods.flaml_automl:": "tuneoff.systems.flaml_automl:",
    "tuneoff.components.tuner.methods.h2o_automl:": "tuneoff.systems.h2o_automl:",
}
"""Modules that existing notes name by their former places."""


def read_failures(store: Store, cell: Cell) -> list[Failure]:
    """Read the failures of a cell: those of its data set's preparation and those of its steps."""
    folders = [f"failures/{cell.dataset}/{label}/" for label in ("all", cell.method.label)]
    return [failure for folder in folders for name in store.names(folder) if (failure := _read_failure(store, name))]


def _read_failure(store: Store, name: str) -> Failure | None:
    """Read a failure, or None if its step has succeeded in the meantime. A damaged note still counts as a failure."""
    try:
        return Failure.model_validate_json(store.read(name))
    except FileNotFoundError:
        return None
    except ValidationError:
        step = name.rpartition("/")[2].removesuffix(".json")
        return Failure(step=step, reason=f"{name}, which says why, is damaged", time=0.0)


def write_failure(store: Store, name: str, step: str, error: BaseException) -> None:
    """Write under `name` (see layout.failure) why a step failed."""
    import traceback

    known = isinstance(error, StudyError | CellFailed | RecordError | ReplayError)
    detail = "" if known else "".join(traceback.format_exception(error))[-4000:]
    reason = str(error) or type(error).__name__
    reason = reason if known else f"{type(error).__name__}: {reason}"
    passing = isinstance(error, StoreAway)
    note = Failure(step=step, reason=plain(reason), detail=plain(detail), time=time.time(), passing=passing)
    try:
        store.write(name, note.model_dump_json(indent=1).encode())
    except (OSError, StudyError) as second:  # the store itself may have failed: the step must still end with its own reason
        print(f"{name} could not be written: {second}", file=sys.stderr, flush=True)


def forget_failures(store: Store) -> None:
    """Delete the notes on failed steps. A new run tries these cells again and writes its own notes."""
    for name in store.names("failures/"):
        store.delete(name)


def note_prepared(store: Store, dataset: str, data: Path) -> None:
    """Copy the description of a prepared data set into the store: its figures, then its metadata."""
    for name in ("samples.png", "balance.png", "dataset.json"):
        if (data / name).is_file():
            store.put(data / name, layout.prepared(dataset) + name)


def read_prepared(store: Store, dataset: str) -> Prepared | None:
    """Read the description of a prepared data set. None if it does not exist or is damaged; it is then made again."""
    return _read(store, layout.prepared(dataset) + "dataset.json", Prepared)


Kept = TypeVar("Kept", bound=BaseModel)


def _read(store: Store, name: str, kind: type[Kept]) -> Kept | None:
    """Read a file, or return None if it is missing or damaged. Everything except the record and the study can be made again."""
    try:
        return kind.model_validate_json(store.read(name))
    except (FileNotFoundError, ValidationError):
        return None
