"""The seam for kinds of objective: every question that the rest of Tuneoff asks about what is evaluated.

A kind of objective is a package in `objectives/` with one object that follows the protocol `ObjectiveKind`, and a line in
`objectives/__init__.py`. Its package may import frameworks where it uses them; the object itself must be cheap to import.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..core.metrics import Metric
from ..core.prepared_data import Prepared
from ..core.record.state import SearchRecord, TrialRecord
from ..core.store.protocol import Store
from ..core.store.study_store import Evaluation
from ..core.study import Cell, Study
from ..methods.spec import MethodSpec

if TYPE_CHECKING:
    from .keras.training_worker import Patience, Worker

Report = Callable[[str], None]


@dataclass(frozen=True)
class Incumbent:
    """What is evaluated: the best trial of a cell and the search that found it."""

    cell: Cell
    search: SearchRecord
    trial: TrialRecord


class IncumbentEvaluation(Protocol):
    """How an incumbent is evaluated on the test split."""

    def still_holds(self, study: Study, evaluation: Evaluation) -> bool:
        """Return whether an evaluation of the same trial was made with the settings that the study has now."""
        ...

    def evaluate(
        self,
        study: Study,
        incumbent: Incumbent,
        data: Path,
        store: Store,
        report: Report,
        stopping: Callable[[], bool],
    ) -> Evaluation:
        """Evaluate the incumbent and write the evaluation into the store."""
        ...


class TrialProcesses(Protocol):
    """Start processes that train trials. Only kinds on the wall clock have them."""

    def worker(self, study: Study, data: Path, threads: int, log: Path, patience: Patience) -> Worker:
        """Return a process that trains one trial at a time. It starts with its first trial."""
        ...


class ObjectiveKind(Protocol):
    """One kind of objective, chosen once from the study by `objective_of`."""

    name: str
    metrics: tuple[Metric, ...]
    """What a trial reports, in the order of tables."""
    extras: tuple[str, ...]
    """The optional dependencies of Tuneoff that a local run needs."""
    processes: TrialProcesses | None
    """The processes that train trials; None if trials are looked up on a simulated clock."""
    evaluation: IncumbentEvaluation
    needs_prepared_data: bool
    """Whether the searches read the arrays of the data set."""
    tracked_while_running: bool
    """Whether trials are sent to MLflow during the search. If not, `tuneoff sync` sends them afterwards."""
    trainings_repeat_exactly: bool
    """Whether a configuration with the same seed always gives the same curve, so that a repeat brings no information."""

    def refusals(self, spec: MethodSpec) -> list[str]:
        """Return sentences that say why this kind cannot serve a method; empty if it can."""
        ...

    def local_files(self, study: Study) -> list[str]:
        """Return the paths or URIs, in addition to data sets, that every step must be able to read."""
        ...

    def user_modules(self, study: Study) -> list[str]:
        """Return the Python modules of the user that the training code imports."""
        ...

    def prepare(self, study: Study, dataset: str, folder: Path, store: Store, report: Report) -> Prepared | None:
        """Prepare a data set in `folder` and note it in the store.

        Returns:
            The description of the prepared data, or None if nothing is known about it.
        """
        ...
