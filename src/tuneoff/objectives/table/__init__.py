"""Look trials up in a table of recorded trainings, on a simulated clock: the kind of objective of table studies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...core import layout
from ...core.metrics import CLASSIFICATION
from ...core.prepared_data import Prepared
from ...core.store.protocol import Store
from ...core.store.study_store import Evaluation
from ...core.study import Study
from ...methods.spec import MethodSpec
from ..base import Incumbent, ObjectiveKind, Report


def table_path(study: Study) -> str:
    """Return the path or URI of the table that a table study searches."""
    assert study.objective.table is not None, "not a table study"
    return study.objective.table.path


def counts_method_seconds(study: Study) -> bool:
    """Return whether the simulated clock advances while the method computes."""
    assert study.objective.table is not None, "not a table study"
    return study.objective.table.count_method_seconds


class TableEvaluation:
    """Read the recorded test score of the incumbent."""

    def still_holds(self, study: Study, evaluation: Evaluation) -> bool:
        return True

    def evaluate(
        self,
        study: Study,
        incumbent: Incumbent,
        data: Path,
        store: Store,
        report: Report,
        stopping: Callable[[], bool],
    ) -> Evaluation:
        from .evaluate import evaluate_recorded

        return evaluate_recorded(study, incumbent.cell, store, incumbent.search, incumbent.trial)


class TableObjective(ObjectiveKind):
    """Recorded trainings of every configuration of a grid."""

    name = "table"
    metrics = CLASSIFICATION
    extras = ("pipeline", "report")
    processes = None
    evaluation = TableEvaluation()
    needs_prepared_data = False
    tracked_while_running = False  # sending would take far longer than the searches
    trainings_repeat_exactly = True

    def refusals(self, spec: MethodSpec) -> list[str]:
        if spec.kind == "search" and not spec.mutates:
            return []
        trains = "trains its own models" if spec.kind == "system" else "continues trials with another configuration"
        return [f"{spec.name} {trains}, for which a table of recorded trainings has no answer."]

    def local_files(self, study: Study) -> list[str]:
        return [table_path(study)]

    def user_modules(self, study: Study) -> list[str]:
        return []

    def prepare(self, study: Study, dataset: str, folder: Path, store: Store, report: Report) -> Prepared | None:
        from ...core.table import read_info

        prepared = read_info(table_path(study)).prepared
        if prepared is not None:
            store.write(layout.prepared(dataset) + "dataset.json", prepared.model_dump_json(indent=2).encode())
        return prepared


TABLE = TableObjective()
