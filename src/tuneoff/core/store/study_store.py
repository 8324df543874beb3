"""A study in its store: what was asked, by whom it is claimed, and what came out, for every step and view to read."""

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
    """Test accuracy of one class, the mean over the retrainings."""

    name: str
    accuracy: float
    images: int


class Retraining(Model):
    """One training of the incumbent on train + validation; curves hold one value per epoch."""

    seed: int
    test_accuracy: float
    test_loss: float
    curves: dict[str, list[float]]  # loss, accuracy
    seconds: float


class Period(Model):
    """Epochs of a retraining under one configuration, up to and with `last_epoch`."""

    config: dict[str, Any]
    last_epoch: int


MODEL_FILE = "model.zip"
"""The kept model of a system that trains its own: a folder, packed."""


class SystemModel(Model):
    """The note beside the kept model of a system that trains its own; written after the model."""

    trial: int
    predictor: str  # a module: `python -m PREDICTOR TARGET FOLDER IMAGES.npy OUT.npy` writes probabilities (N, classes)
    target: str


class Evaluation(Model):
    """What the evaluator found of a cell: its incumbent over all seeds, trained anew and scored on the test images once.

    The model of a system that trains its own is scored as it is, once: `retrained` is False, and epochs are 0. Of a search on a
    table nothing is trained: the one entry of `retrainings` is the recorded training up to the epoch that counted (none where the
    table has no test scores), and there are no classes and no confusion.
    """

    dataset: str
    method: str
    seed: int  # the search that found the incumbent
    trial: int
    config: dict[str, Any]
    schedule: list[Period] = []  # where the configuration was changed while the incumbent trained: all of them, in turn
    epochs: int
    validation: dict[str, float]  # the trial's metrics at the epoch that counted, as the search saw them
    retrainings: list[Retraining]
    confusion: list[list[int]]  # rows: true class, columns: predicted class; of the first retraining, whose model is kept
    classes: list[ClassScore]
    evaluated_at: float
    retrained: bool = True
    recorded: bool = False  # read in a table


class Failure(Model):
    """Why a step ended without a result: one sentence for people, the traceback's end for the curious."""

    step: str
    reason: str
    detail: str = ""
    time: float
    passing: bool = False  # the store was away: the same step may succeed later


class Delivered(Model):
    """What the tracking server was known to have of a cell when something was last sent to it: first, how many ended trials."""

    trials: int = Field(ge=0)
    trouble: str | None  # why no more than these, where the server could not be used
    time: float
    searches: int = Field(default=0, ge=0)  # searches that the server was known to show as finished or failed
    evaluated_at: float | None = None  # of the evaluation that it was known to have


@dataclass(frozen=True)
class CellResult:
    """All that the store knows of one cell; nothing is None only because something else is missing."""

    cell: Cell
    searches: tuple[SearchRecord, ...]  # one per seed of the study, empty ones included
    evaluation: Evaluation | None
    failures: tuple[Failure, ...]
    delivered: Delivered | None = None  # None where nothing was ever sent

    @property
    def is_system(self) -> bool:
        """Whether the method trains models of its own, as far as the records tell: it is compared by seconds and test alone."""
        return any(search.is_system for search in self.searches)

    @property
    def backlog(self) -> int:
        """How many ended trials the tracking server is not known to have."""
        return max(0, sum(len(s.told) for s in self.searches) - (self.delivered.trials if self.delivered else 0))


@dataclass(frozen=True)
class StudyResult:
    """A study and everything it left in its store."""

    id: str  # unique to this output folder or prefix
    created_at: float
    study: Study
    cells: tuple[CellResult, ...]
    prepared: dict[str, Prepared]  # by data set; absent where data preparation has not ended well
    stopping: bool = False  # it has been asked to stop, and not to go on since


class _Former(Model):
    """A study that was extended, and when."""

    study: Study
    until: float
    changes: list[str]


class _Holder(Model):
    """The file study.json: whose store this is, and what it was before it was extended."""

    id: str
    created_at: float
    study: Study
    former: list[_Former] = []


def _holder(store: Store) -> _Holder:
    try:
        return _Holder.model_validate_json(store.read(layout.STUDY))
    except ValidationError:
        raise StudyError(f"{store.uri}/{layout.STUDY} is damaged: move the folder away, and run the study anew.") from None


def claim(store: Store, study: Study) -> str:
    """Make the store this study's, find that it is, or extend what it holds to this study; returns the study's id there.

    Raises StudyError where the store holds another study, naming what differs.
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
    """Raise StudyError where `study` is neither the study that the store holds nor extends it, naming what differs."""
    refused = [change.said for change in changes(held, study.keeping(held)) if not change.extends]
    if refused:
        raise StudyError(
            f"{store.uri} holds another study: {'; '.join(refused)}."
            " Give another --out (on a cluster, another place in artifacts), or the study file that it was begun with:"
            " more budget, seeds, methods and data sets extend it."
        )


def extensions(store: Store, study: Study) -> list[str]:
    """What `claim` would change of the study in the store: sentences without their stop; none where there is none yet."""
    held = held_study(store)
    return [] if held is None else [change.said for change in changes(held, study.keeping(held)) if change.extends]


def held_study(store: Store) -> Study | None:
    """The study that the store was begun with or extended to; None where it holds none."""
    try:
        return _holder(store).study
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_study(store: Store) -> StudyResult:
    """Everything a study left in its store; StudyError where there is no study."""
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
    """All that the store knows of one cell; a damaged record is one of its failures."""
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
    """The cell's evaluation; None where there is none yet, or a damaged one, which is made anew."""
    return _read(store, layout.evaluation(cell.dataset, cell.method.label) + "evaluation.json", Evaluation)


def read_delivered(store: Store, cell: Cell) -> Delivered | None:
    """What the tracking server was last known to have of the cell; None where nobody noted it, or the note is damaged."""
    return _read(store, layout.delivered(cell.dataset, cell.method.label), Delivered)


def write_delivered(store: Store, cell: Cell, delivered: Delivered) -> None:
    """Note what the tracking server has of the cell, for whoever looks at the store alone."""
    store.write(layout.delivered(cell.dataset, cell.method.label), delivered.model_dump_json().encode())


def read_system_model(store: Store, dataset: str, label: str, seed: int) -> SystemModel | None:
    """The note on a system's kept model; None where there is none."""
    try:
        note = SystemModel.model_validate_json(store.read(layout.system(dataset, label, seed) + "model.json"))
    except FileNotFoundError:
        return None
    target = reduce(lambda text, moved: text.replace(*moved), _MOVED_SINCE_0_1.items(), note.target)
    return note.model_copy(update={"predictor": _MOVED_SINCE_0_1.get(note.predictor, note.predictor), "target": target})


_MOVED_SINCE_0_1 = {
    "tuneoff.components.tuner.predicting": "tuneoff.systems.predict",
    "tuneoff.components.tuner.methods.autokeras_system:": "tuneoff.systems.autokeras:",
    "tuneoff.components.tuner.methods.flaml_automl:": "tuneoff.systems.flaml_automl:",
    "tuneoff.components.tuner.methods.h2o_automl:": "tuneoff.systems.h2o_automl:",
}
"""Modules that the notes of release 0.1 name by their former places."""


def read_failures(store: Store, cell: Cell) -> list[Failure]:
    """Why the cell has no (whole) result: failures of its data set's preparation and of its own steps."""
    folders = [f"failures/{cell.dataset}/{label}/" for label in ("all", cell.method.label)]
    return [failure for folder in folders for name in store.names(folder) if (failure := _read_failure(store, name))]


def _read_failure(store: Store, name: str) -> Failure | None:
    """The note; None where its step has succeeded meanwhile. A damaged one still says that something failed."""
    try:
        return Failure.model_validate_json(store.read(name))
    except FileNotFoundError:
        return None
    except ValidationError:
        step = name.rpartition("/")[2].removesuffix(".json")
        return Failure(step=step, reason=f"{name}, which says why, is damaged", time=0.0)


def write_failure(store: Store, name: str, step: str, error: BaseException) -> None:
    """Note under `name` (see layout.failure) why a step failed."""
    import traceback

    known = isinstance(error, StudyError | CellFailed | RecordError | ReplayError)
    detail = "" if known else "".join(traceback.format_exception(error))[-4000:]
    reason = str(error) or type(error).__name__
    reason = reason if known else f"{type(error).__name__}: {reason}"
    passing = isinstance(error, StoreAway)
    note = Failure(step=step, reason=plain(reason), detail=plain(detail), time=time.time(), passing=passing)
    try:
        store.write(name, note.model_dump_json(indent=1).encode())
    except (OSError, StudyError) as second:  # the store itself may be what failed: the step shall end with its own reason
        print(f"{name} could not be written: {second}", file=sys.stderr, flush=True)


def forget_failures(store: Store) -> None:
    """Delete the notes on why steps failed: a new run tries all of these cells again, and what it notes is today's."""
    for name in store.names("failures/"):
        store.delete(name)


def note_prepared(store: Store, dataset: str, data: Path) -> None:
    """Put what is known of a prepared data set's folder into the store: its pictures, then its metadata."""
    for name in ("samples.png", "balance.png", "dataset.json"):
        if (data / name).is_file():
            store.put(data / name, layout.prepared(dataset) + name)


def read_prepared(store: Store, dataset: str) -> Prepared | None:
    """What was prepared of a data set; None where there is nothing yet, or a damaged file, which is made anew."""
    return _read(store, layout.prepared(dataset) + "dataset.json", Prepared)


Kept = TypeVar("Kept", bound=BaseModel)


def _read(store: Store, name: str, kind: type[Kept]) -> Kept | None:
    """The file's contents; None where it is missing or damaged: all but the record and the study can be made again."""
    try:
        return kind.model_validate_json(store.read(name))
    except (FileNotFoundError, ValidationError):
        return None
