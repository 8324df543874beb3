"""How a run shows how far it is: a line per cell, drawn from the record alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..core.record.budget_use import clock_text, seconds_left, used_share
from ..core.record.state import limits_of, remaining
from ..core.store.study_store import CellResult, StudyResult
from ..core.study import Budget
from ..objectives import objective_of

PLAIN_EVERY_SECONDS = 10.0


@dataclass(frozen=True)
class CellProgress:
    """A cell in the numbers of its line."""

    name: str
    share: float  # of the budget used, 0 to 1
    trials: int
    failed: int
    epochs: int
    best: float | None  # in the objective's own direction
    seconds_left: float | None  # None before the first trial has ended, after the last, and where a table is searched
    state: str
    budget_left: dict[str, float | None]  # trials, epochs, seconds over all seeds; None where there is no such limit
    backlog: int  # ended trials that the tracking server is not known to have
    tracking_trouble: str | None  # why, where it could not be used
    is_system: bool = False  # a system that trains models of its own: its trials and epochs compare with nobody's


def cell_progress(result: StudyResult, cell: CellResult) -> CellProgress:
    """The cell's line from its records. What is left is told from the seconds that were measured, whatever clocks are set to."""
    study = result.study
    shares = [used_share(s, study.budget.limits) for s in cell.searches]
    share = sum(shares) / len(shares)
    best = [t.trial.outcome.loss for s in cell.searches for t in [s.incumbent] if t and t.trial.outcome]
    least = min((loss for loss in best if loss is not None), default=None)
    in_flight = 1 if cell.is_system else study.budget.in_flight
    trained = objective_of(study).processes is not None  # otherwise seconds are a simulated clock's
    left = seconds_left(cell.searches, share, in_flight) if trained else None
    return CellProgress(
        name=cell.cell.name,
        share=share,
        trials=sum(len(s.told) for s in cell.searches),
        failed=sum(t.status in ("failed", "diverged") for s in cell.searches for t in s.told),
        epochs=sum(s.spent.epochs for s in cell.searches),
        best=None if least is None else study.objective.sign * least,
        seconds_left=left,
        state=_state(cell, share, result.stopping),
        budget_left=_left(study.budget, cell),
        backlog=cell.backlog,
        tracking_trouble=cell.delivered.trouble if cell.delivered else None,
        is_system=cell.is_system,
    )


def _left(budget: Budget, cell: CellResult) -> dict[str, float | None]:
    """What the cell's searches may still use; nothing of it is lost where a search ended before it was used up."""
    each = [remaining(limits_of(search, budget.limits), search.spent) for search in cell.searches]
    return {name: _sum([left[name] for left in each]) for name in ("trials", "epochs", "seconds")}


def _sum(parts: list[float | None]) -> float | None:
    known = [max(0, part) for part in parts if part is not None]
    return round(sum(known), 3) if known else None


def _state(cell: CellResult, share: float, stopping: bool) -> str:
    if cell.failures:
        return f"failed: {cell.failures[-1].reason}"
    if cell.evaluation is not None and share >= 1:
        scores = [r.test_accuracy for r in cell.evaluation.retrainings]
        return f"test {sum(scores) / len(scores):.4f}" if scores else "at its end, without a test"
    if cell.cell.method.collected:
        return "collected"
    if stopping:
        return "stopped"
    if share >= 1:
        return "evaluating"
    return "searching" if any(s.trials for s in cell.searches) else "waiting"


class Display:
    """Shows a run while it lives: redrawn in place on a terminal, a line for each change elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._last: dict[str, str] = {}
        self._said_at = 0.0

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, result: StudyResult) -> None:
        cells = [cell_progress(result, cell) for cell in result.cells]
        if self._live is not None:
            self._live.update(table(cells), refresh=True)
        else:
            self._say(cells)

    def note(self, line: str) -> None:
        """Say something beside the cells' lines."""
        self._console.print(line, markup=False, soft_wrap=True)

    def _say(self, cells: list[CellProgress]) -> None:
        """Lines that have changed: a change of state at once, mere progress now and then."""
        due = time.monotonic() - self._said_at > PLAIN_EVERY_SECONDS
        for cell in cells:
            moved = self._last.get(cell.name) != line(cell)
            turned = self._last.get(cell.name, "· waiting").rpartition("· ")[2] != cell.state
            if turned or (moved and due):
                self._last[cell.name] = line(cell)
                self._console.print(Text(line(cell)), soft_wrap=True)
        if due:
            self._said_at = time.monotonic()


def table(cells: list[CellProgress]) -> Table:
    """The terminal's view: one row per cell."""
    grid = Table(box=None, pad_edge=False, expand=False)
    grid.add_column("cell", no_wrap=True, min_width=max((len(c.name) for c in cells), default=0))
    grid.add_column("")
    for title in ("trials", "epochs", "best", "budget left", "time left", "untracked"):
        grid.add_column(title, justify="right")
    grid.add_column("", overflow="ellipsis", no_wrap=True, max_width=60)
    for cell in cells:
        failed = f" ({cell.failed} failed)" if cell.failed else ""
        grid.add_row(
            Text(cell.name),
            ProgressBar(total=1, completed=cell.share, width=24),
            f"{cell.trials}{failed}",
            "" if cell.is_system else str(cell.epochs),
            "" if cell.is_system else _number(cell.best),
            budget_left(cell),
            _clock(cell.seconds_left),
            str(cell.backlog) if cell.backlog else "",
            Text(f"{cell.state} (trains its own models)" if cell.is_system else cell.state),
        )
    return grid


def budget_left(cell: CellProgress) -> str:
    """What the cell may still use, of each limit that there is."""
    words = {"trials": "trials", "epochs": "epochs", "seconds": "s"}
    return ", ".join(f"{left:,.0f} {words[name]}" for name, left in cell.budget_left.items() if left is not None)


def tracking_note(cells: list[CellProgress]) -> str | None:
    """One sentence where the tracking server lacks trials: how many, why, and what brings it level. None where it has all."""
    backlog = sum(cell.backlog for cell in cells)
    if not backlog:
        return None
    trouble = next((cell.tracking_trouble for cell in cells if cell.backlog and cell.tracking_trouble), None)
    why = f" ({trouble})" if trouble else ""
    return f"{backlog} trials are not known to be in MLflow yet{why}: they are sent as the search goes on, or by `tuneoff sync`."


def line(cell: CellProgress) -> str:
    """The cell as one line of text."""
    failed = f", {cell.failed} failed" if cell.failed else ""
    left = f" · {_clock(cell.seconds_left)} left" if cell.seconds_left is not None else ""
    best = f" · best {_number(cell.best)}" if cell.best is not None else ""
    if cell.is_system:
        return f"{cell.name} {cell.share:4.0%} · trains its own models · {cell.trials} trials{failed}{left} · {cell.state}"
    return f"{cell.name} {cell.share:4.0%} · {cell.trials} trials{failed} · {cell.epochs} epochs{best}{left} · {cell.state}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else clock_text(seconds)
