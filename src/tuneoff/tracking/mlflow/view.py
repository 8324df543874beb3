"""MLflow's view of the record: study, search and trial as nested runs, which are found by their keys.

The server is queried for the delivered runs; no file stores this. An existing run that has ended is not changed, an incomplete
run is completed, and a missing run is created. So an unavailable server, a lost answer after a write, or a new empty server
neither lose nor duplicate runs.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...core import layout
from ...core.problem import Status
from ...core.record.state import SearchRecord, TrialRecord
from ...core.store.protocol import Store
from ...core.store.study_store import Evaluation, StudyResult, read_prepared
from ...core.study import Cell, Study
from ..notes import search_note, study_note
from ..trial_facts import begun, ended, search_key, trial_key, trial_name
from .entries import (
    best_curve,
    data_input,
    digest,
    last_time,
    place,
    search_end,
    spent,
    study_metrics,
    study_params,
    study_status,
    trial_metrics,
    trial_tags,
)
from .runs import NOTE, PARENT, STATE, Run, Runs, connect, refused_host
from .saved_views import saved_views
from .sqlite import database_fault, database_of, speed_up_searches


class MlflowView:
    """One study on one MLflow server. Every method may be called repeatedly with the same result."""

    def __init__(self, store: Store, study: Study, study_id: str, uri: str, client: Any = None) -> None:
        self._store = store
        self._study = study
        self._study_id = study_id
        self._uri = uri or os.environ.get("MLFLOW_TRACKING_URI", "")  # KFP may name a server to its steps
        self._client = client
        self._runs: Runs | None = None
        self._learnt: set[str] = set()
        self.delivered: set[str] = set()
        """Keys of the trials that are complete on the server."""
        self.settled: set[str] = set()
        """Keys of the searches that the server shows as finished or failed."""
        self.evaluated: dict[str, float] = {}
        """The times of the evaluations that are complete on the server, by the names of their cells."""
        self.marked = 0
        """The number of searches that this view has marked as finished or failed."""

    @property
    def client(self) -> Any:
        """The client of the server, created at its first use."""
        if self._client is None:
            self._client = connect(self._uri)
        return self._client

    def prepare(self) -> str:
        """Create or find the experiment and the study run. Return the id of the experiment. Restore a deleted experiment."""
        with self._query_again_after_errors():
            runs = self._open()
            self._study_run(runs)
            return runs.experiment_id

    def forget(self) -> None:
        """Query the server again at the next call, because its content is unknown after an error."""
        self._runs = None
        self._learnt.clear()

    def deliver(self, cell: Cell, searches: Iterable[SearchRecord], reasons: Sequence[str] = ()) -> int:
        """Send the parts of these searches of a cell that the server lacks.

        A search has no run before its first trial.

        Args:
            cell: The cell of the searches.
            searches: The complete searches.
            reasons: The reasons why the cell failed, if it failed.

        Returns:
            The number of trials sent.
        """
        with self._query_again_after_errors():
            runs = self._open()
            parent = self._study_run(runs)
            self._learn(runs, cell)
            return sum(self._deliver_search(runs, parent, search, reasons) for search in searches if search.trials)

    def deliver_evaluation(self, cell: Cell, evaluation: Evaluation) -> bool:
        """Send the scores, figures and model of an evaluation. Return whether the server lacked anything."""
        from . import evaluation as mlflow_evaluation

        with self._query_again_after_errors():
            runs = self._open()
            parent = self._study_run(runs)
            self._learn(runs, cell)
            sent = mlflow_evaluation.deliver_evaluation(runs, parent, self._store, self._study, evaluation)
            self.evaluated[cell.name] = evaluation.evaluated_at
            return sent

    def finish(self, result: StudyResult) -> None:
        """Update the note, figures and status of the study's run to the content of the store."""
        with self._query_again_after_errors():
            runs = self._open()
            run = self._study_run(runs)
            note = study_note(result)
            metrics, last = study_metrics(result), last_time(result)
            status = study_status(result)
            state = digest(note, metrics, last)
            if run.tags.get(STATE) == state and run.status == status:
                return
            runs.log(run, metrics=[(name, value, last, 0) for name, value in metrics], tags={NOTE: note, STATE: state})
            runs.settle(run, status, last)
            speed_up_searches(self._uri)

    def missing(self, result: StudyResult) -> int:
        """Return the number of recorded trials that are not complete on the server. Write only what `prepare` creates."""
        with self._query_again_after_errors():
            runs = self._open()
            self._study_run(runs)
            for cell in result.cells:
                self._learn(runs, cell.cell)
            keys = [trial_key(self._study_id, s, t.trial.id) for c in result.cells for s in c.searches for t in s.told]
            return sum((run := runs.get(key)) is None or not run.ended for key in keys)

    @contextmanager
    def _query_again_after_errors(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.forget()
            fault = database_fault(self._uri, error) or refused_host(self._uri, error)
            if fault is not None:
                raise fault from error
            raise

    def _open(self) -> Runs:
        if self._runs is None:
            self._runs = Runs(self.client, self._experiment(), self._study_id)
            self._runs.learn(kind="study")
        return self._runs

    def _experiment(self) -> str:
        experiment = self.client.get_experiment_by_name(self._study.experiment)
        if experiment is None:
            experiment = self._create_experiment()
        if experiment.lifecycle_stage == "deleted":
            self.client.restore_experiment(experiment.experiment_id)
        tags = saved_views(self._study, experiment.creation_time / 1000)
        tags["mlflow.experimentKind"] = "custom_model_development"
        for name, value in tags.items():
            if experiment.tags.get(name) != value:
                self.client.set_experiment_tag(experiment.experiment_id, name, value)
        return str(experiment.experiment_id)

    def _create_experiment(self) -> Any:
        from mlflow.exceptions import MlflowException

        root = None  # a server has its own default
        if self._uri.startswith("sqlite:"):
            root = (database_of(self._uri).parent / layout.MLFLOW_ARTIFACTS).as_uri()
        try:
            self.client.create_experiment(self._study.experiment, artifact_location=root)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return self.client.get_experiment_by_name(self._study.experiment)

    def _study_run(self, runs: Runs) -> Run:
        existing = runs.get(self._study_id)
        if existing is not None and STATE in existing.tags:
            return existing
        created = json.loads(self._store.read(layout.STUDY))["created_at"]
        tags = self._tags("study") | {PARENT: None if existing else self._kfp_run()}
        run = runs.make(self._study_id, self._study.name, created, tags)
        runs.log(run, params=study_params(self._study), tags={STATE: "begun"})
        return run

    def _kfp_run(self) -> str | None:
        """Return the id of the run that KFP created for this step on the same server, or None. It is the study run's parent."""
        from mlflow.exceptions import MlflowException

        given = os.environ.get("MLFLOW_RUN_ID")
        if not given:
            return None
        try:
            return str(self.client.get_run(given).info.run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None  # the run belongs to another server

    def _learn(self, runs: Runs, cell: Cell) -> None:
        if cell.name not in self._learnt:
            runs.learn(dataset=cell.dataset, method=cell.method.label)
            self._learnt.add(cell.name)
            ours = f"{self._study_id}/{cell.name}/"
            self.delivered -= {key for key in self.delivered if key.startswith(ours)}
            self.settled -= {key for key in self.settled if key.startswith(ours)}
            self.evaluated.pop(cell.name, None)

    def _tags(self, kind: str) -> dict[str, object]:
        return {"tuneoff.study": self._study.name, "tuneoff.kind": kind}

    def _deliver_search(self, runs: Runs, parent: Run, search: SearchRecord, reasons: Sequence[str]) -> int:
        run = self._search_run(runs, parent, search)
        new = 0
        for record in search.told:
            key = trial_key(self._study_id, search, record.trial.id)
            existing = runs.get(key)
            if existing is None or not existing.ended:
                self._deliver_trial(runs, run, search, record, key)
                new += 1
            elif existing.tags.get(PARENT) != run.id:
                runs.log(existing, tags={PARENT: run.id})
            self.delivered.add(key)
        key = search_key(self._study_id, search)
        self.settled.discard(key)
        self._update_search(runs, run, parent, search, reasons)
        if run.ended:
            self.settled.add(key)
        return new

    def _search_run(self, runs: Runs, parent: Run, search: SearchRecord) -> Run:
        key = search_key(self._study_id, search)
        existing = runs.get(key)
        if existing is not None and STATE in existing.tags:
            return existing
        tags = self._tags("search") | place(search) | {PARENT: parent.id, "tuneoff.host": search.header.get("host")}
        tags |= {f"tuneoff.version.{name}": version for name, version in search.header.get("versions", {}).items()}
        run = runs.make(key, f"{search.method} seed {search.seed} {search.dataset}", search.trials[0].asked_at, tags)
        settings = next((m.settings for m in self._study.methods if m.label == search.method), {})
        runs.log(run, params={f"setting.{name}": value for name, value in settings.items()}, tags={STATE: "begun"})
        return run

    def _deliver_trial(self, runs: Runs, parent: Run, search: SearchRecord, record: TrialRecord, key: str) -> None:
        trial, outcome = record.trial, record.trial.outcome
        assert outcome is not None
        tags = self._tags("trial") | place(search) | trial_tags(record) | {PARENT: parent.id}
        run = runs.make(key, trial_name(search, trial.id), begun(record), tags)
        runs.log(run, metrics=trial_metrics(self._study, record), params=trial.proposal.config)
        well = outcome.status in (Status.COMPLETED, Status.STOPPED)
        runs.settle(run, "FINISHED" if well else "FAILED", ended(record))

    def _update_search(self, runs: Runs, run: Run, parent: Run, search: SearchRecord, reasons: Sequence[str]) -> None:
        note, curve = search_note(self._study, search, reasons), best_curve(self._study, search)
        status = "FINISHED" if search.ended else "FAILED" if reasons else "RUNNING"
        state = digest(note, curve, status, parent.id)
        if run.tags.get(STATE) == state and run.status == status:
            return
        self._log_data(runs, run, search.dataset)
        best = search.incumbent
        tags = {
            NOTE: note,
            STATE: state,
            PARENT: parent.id,
            "tuneoff.points": len(curve),
            "tuneoff.best_trial": best and best.trial.id,
            "tuneoff.best_config": best and json.dumps(dict(best.trial.proposal.config)),
        }
        if search.ended:
            self._log_record(run, search)
            curve = curve + spent(search)
        runs.log(run, metrics=curve[int(run.tags.get("tuneoff.points", 0)) :], tags=tags)
        was_ended = run.ended
        runs.settle(run, status, search_end(search))
        self.marked += run.ended and not was_ended

    def _log_data(self, runs: Runs, run: Run, dataset: str) -> None:
        if run.has_data:
            return
        prepared = read_prepared(self._store, dataset)
        if prepared is None:
            return
        self.client.log_inputs(run.id, datasets=[data_input(prepared)])
        run.has_data = True

    def _log_record(self, run: Run, search: SearchRecord) -> None:
        lines = self._store.journal_lines(layout.events(search.dataset, search.method, search.seed))
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "record.jsonl"
            copy.write_bytes(b"".join(line + b"\n" for line in lines))
            self.client.log_artifact(run.id, str(copy))
