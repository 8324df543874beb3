"""The tuner step: from a study in JSON to the searches of one cell, with a copy of their records for KFP."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from tuneoff.components.core.artifacts import metadata
from tuneoff.core import layout
from tuneoff.core.record.state import SearchRecord
from tuneoff.core.runtime.machine import in_pod, say
from tuneoff.core.runtime.pod import pod_label, run_step
from tuneoff.core.store.open import open_store
from tuneoff.core.store.protocol import Store
from tuneoff.core.store.stop_request import Stopped, Stopping
from tuneoff.core.study import Cell, Study
from tuneoff.search.searches import Tuned, tune


def run(
    study: str, dataset: str, method: str, store: str, tracking: str, data: str, record: str | None, summary: str | None
) -> dict[str, float]:
    """Search the cell `dataset` × `method` (a label); returns figures for KFP's metrics.

    `record` becomes a folder with copies of the event logs: KFP uploads outputs only after a step has ended well, so that the
    logs themselves live in the store. A study that was asked to stop ends without figures; Stopped where a signal asked this step
    alone, so that it counts as failed and is tried again.
    """
    plan = Study.model_validate_json(study)
    work = partial(_run, plan, dataset, method, store, tracking, data, record, summary)
    return run_step("tuner", plan, f"{dataset}/{method}", work, {"tuneoff/method": pod_label(method)})


def _run(
    plan: Study, dataset: str, method: str, store: str, tracking: str, data: str, record: str | None, summary: str | None
) -> dict[str, float]:
    target = open_store(store, patient=in_pod())
    cell = plan.cell(dataset, method)
    stopping = Stopping(target)
    try:
        with stopping.heeding_signals():
            tuned = tune(plan, cell, Path(data), target, tracking, say, stopping)
    except Stopped:
        if stopping.signal:
            raise
        return {}
    if record is not None:
        _copy(target, cell, tuned, Path(record))
    if summary is not None:
        Path(summary).write_text(markdown(cell, tuned, plan.objective.sign), encoding="utf-8")
    return figures(tuned, plan.objective.sign)


def figures(tuned: Tuned, sign: int) -> dict[str, float]:
    """The cell in a few numbers: the best objective over its seeds, and what was spent."""
    losses = [loss for search in tuned.searches if (loss := _least(search)) is not None]
    spent = [s.spent for s in tuned.searches]
    numbers: dict[str, float] = {
        "trials": sum(s.trials for s in spent),
        "epochs": sum(s.epochs for s in spent),
        "seconds": round(sum(s.seconds for s in spent), 1),
    }
    return metadata({**numbers, "best_objective": sign * min(losses)} if losses else numbers)


def markdown(cell: Cell, tuned: Tuned, sign: int) -> str:
    """A table with a line a seed."""
    head = ["| seed | trials | epochs | seconds | best | why it ended |", "|--:|--:|--:|--:|--:|---|"]
    rows = [_row(search, sign) for search in tuned.searches]
    backlog = [f"Not delivered to the tracking server yet: {tuned.backlog}"] if tuned.backlog else []
    return "\n".join([f"## {cell.method.label} on {cell.dataset}", "", *head, *rows, "", *backlog])


def _row(search: SearchRecord, sign: int) -> str:
    loss = _least(search)
    objective = "–" if loss is None else f"{sign * loss:.4f}"
    reason = search.ended["reason"] if search.ended else "not ended"
    spent = search.spent
    return f"| {search.seed} | {spent.trials} | {spent.epochs} | {spent.seconds:.1f} | {objective} | {reason} |"


def _least(search: SearchRecord) -> float | None:
    best = search.incumbent
    return best.trial.outcome.loss if best and best.trial.outcome else None


def _copy(store: Store, cell: Cell, tuned: Tuned, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for search in tuned.searches:
        lines = store.journal_lines(layout.events(cell.dataset, cell.method.label, search.seed))
        (folder / f"seed-{search.seed}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
