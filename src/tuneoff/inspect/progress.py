"""Show the progress of a run on the terminal, one line per cell, from the record alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
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
"""The pause between two lines about the progress of a cell when the output is not a terminal."""


@dataclass(frozen=True)
class CellProgress:
    """The progress of one cell, which is a method on a data set.

    Attributes:
        name: The cell as DATASET/METHOD.
        share: The share of the budget that is used, from 0 to 1.
        trials: The number of finished trials over all seeds.
        failed: The number of those that failed or diverged.
        epochs: The number of epochs trained over all seeds.
        best: The best value of the objective so far, or None.
        seconds_left: The estimated remaining time. None before the first trial has ended, after the last one, and in a table
            study.
        state: What the cell does, or how it ended.
        budget_left: The remaining trials, epochs and seconds over all seeds. None for a limit that the study does not set.
        backlog: The number of finished trials that may be missing on the tracking server.
        tracking_trouble: Why the tracking server could not be used, if that is the case.
        is_system: Whether the method is a system that trains its own models. Its trials and epochs are not comparable.
    """

    name: str
    share: float
    trials: int
    failed: int
    epochs: int
    best: float | None
    seconds_left: float | None
    state: str
    budget_left: dict[str, float | None]
    backlog: int
    tracking_trouble: str | None
    is_system: bool = False


def cell_progress(result: StudyResult, cell: CellResult) -> CellProgress:
    """Return the progress of a cell from its records.

    The remaining time is estimated from the measured seconds, so a wrong system clock does not matter.
    """
    study = result.study
    shares = [used_share(s, study.budget.limits) for s in cell.searches]
    share = sum(shares) / len(shares)
    best = [t.trial.outcome.loss for s in cell.searches for t in [s.incumbent] if t and t.trial.outcome]
    least = min((loss for loss in best if loss is not None), default=None)
    in_flight = 1 if cell.is_system else study.budget.in_flight
    trained = objective_of(study).processes is not None  # else seconds come from a simulated clock
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
    """Return the remaining budget of the cell's searches. A search that ended early keeps the rest of its budget."""
    by_search = [remaining(limits_of(search, budget.limits), search.spent) for search in cell.searches]
    return {name: _sum([left[name] for left in by_search]) for name in ("trials", "epochs", "seconds")}


def _sum(parts: list[float | None]) -> float | None:
    limited = [max(0, part) for part in parts if part is not None]
    return round(sum(limited), 3) if limited else None


def _state(cell: CellResult, share: float, stopping: bool) -> str:
    if cell.failures:
        return f"failed: {cell.failures[-1].reason}"
    if cell.evaluation is not None and share >= 1:
        scores = [r.test_accuracy for r in cell.evaluation.retrainings]
        return f"test {sum(scores) / len(scores):.4f}" if scores else "finished, without a test"
    if cell.cell.method.collected:
        return "collected"
    if stopping:
        return "stopped"
    if share >= 1:
        return "evaluating"
    return "searching" if any(s.trials for s in cell.searches) else "waiting"


class Display:
    """Show the progress of a run: a table that is redrawn on a terminal, or one line per change in a log."""

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
        """Show the current progress of all cells."""
        cells = [cell_progress(result, cell) for cell in result.cells]
        if self._live is not None:
            self._live.update(table(cells), refresh=True)
        else:
            self._say(cells)

    def note(self, line: str) -> None:
        """Print a line that is not about the progress of a cell."""
        self._console.print(line, markup=False, soft_wrap=True)

    def _say(self, cells: list[CellProgress]) -> None:
        """Print the lines that have changed: a new state at once, other progress every few seconds."""
        due = time.monotonic() - self._said_at > PLAIN_EVERY_SECONDS
        for cell in cells:
            changed = self._last.get(cell.name) != line(cell)
            new_state = self._last.get(cell.name, "· waiting").rpartition("· ")[2] != cell.state
            if new_state or (changed and due):
                self._last[cell.name] = line(cell)
                self._console.print(Text(line(cell)), soft_wrap=True)
        if due:
            self._said_at = time.monotonic()


@dataclass(frozen=True)
class _Layout:
    """A way to lay out the table of cells. The layouts differ in their width."""

    bar: int  # the width of the progress bar; 0 for none
    gap: int = 1  # the space between two columns
    empty: bool = False  # whether a column without any value is shown
    stacked: bool = True  # whether titles of two words and budgets with several limits take several lines
    untracked: bool = True  # whether there is a column for the trials that tracking lacks
    split: bool = False  # whether the data set and the method of a cell take a line each


_LAYOUTS = (
    _Layout(bar=24, gap=2, empty=True, stacked=False),
    _Layout(bar=8),
    _Layout(bar=0),
    _Layout(bar=0, untracked=False),
    _Layout(bar=0, untracked=False, split=True),
)
"""The layouts, the widest first. A terminal gets the first one that fits, so that no number is cut."""


class CellTable:
    """A table with one row per cell, which adapts to the width of the terminal and never cuts a number."""

    def __init__(self, cells: list[CellProgress]) -> None:
        self._cells = cells

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for layout in _LAYOUTS:
            if (room := options.max_width - self._width(layout)) >= self._least_state():
                yield from self._laid_out(layout, room)
                return
        for cell in self._cells:
            left = budget_left(cell)
            yield Text(f"{line(cell)} · budget left: {left}" if left else line(cell))

    def _columns(self, layout: _Layout) -> dict[str, list[str]]:
        """Return the texts of each column between the bar and the state, by title."""
        gap, space = "\n" if layout.split else " ", "\n" if layout.stacked else " "
        columns = {
            "trials": [f"{c.trials}" + (f"{gap}({c.failed} failed)" if c.failed else "") for c in self._cells],
            "epochs": ["" if c.is_system else str(c.epochs) for c in self._cells],
            "best": ["" if c.is_system else _number(c.best) for c in self._cells],
            f"budget{space}left": [budget_left(c, "\n" if layout.stacked else ", ") for c in self._cells],
            f"time{space}left": [_clock(c.seconds_left) for c in self._cells],
            "untracked": [str(c.backlog) if c.backlog else "" for c in self._cells],
        }
        if not layout.untracked:
            del columns["untracked"]
        return {title: texts for title, texts in columns.items() if layout.empty or any(texts)}

    def _names(self, layout: _Layout) -> list[str]:
        return [c.name.replace("/", "/\n", 1) if layout.split else c.name for c in self._cells]

    def _width(self, layout: _Layout) -> int:
        """Return the width of the table without the text of its last column, the state."""
        columns = [["cell", *self._names(layout)], *([title, *texts] for title, texts in self._columns(layout).items())]
        widths = [_text_width(texts) for texts in columns] + [layout.bar] * bool(layout.bar)
        return sum(width + layout.gap for width in widths)

    def _least_state(self) -> int:
        return _text_width(["state", *(c.state.partition(":")[0] for c in self._cells)])

    def _laid_out(self, layout: _Layout, room: int) -> RenderResult:
        columns = self._columns(layout)
        grid = Table(box=None, pad_edge=False, padding=(0, layout.gap, 0, 0))
        grid.add_column("cell", no_wrap=True)
        if layout.bar:
            grid.add_column("used", no_wrap=True)
        for title in columns:
            grid.add_column(title, justify="right", no_wrap=True)
        grid.add_column("state", no_wrap=True)
        below = []
        for index, (cell, name) in enumerate(zip(self._cells, self._names(layout), strict=True)):
            state = f"{cell.state} (trains its own models)" if cell.is_system else cell.state
            if cell_len(state) > room:
                below.append(Text(f"{cell.name}: {state}"))
                state = cell.state.partition(":")[0]
            bar = [ProgressBar(total=1, completed=cell.share, width=layout.bar)] if layout.bar else []
            grid.add_row(Text(name), *bar, *(texts[index] for texts in columns.values()), Text(state))
        yield grid
        yield from below


def _text_width(texts: list[str]) -> int:
    return max((cell_len(part) for text in texts for part in text.splitlines()), default=0)


def table(cells: list[CellProgress]) -> CellTable:
    """Return the table of the cells for a terminal."""
    return CellTable(cells)


def budget_left(cell: CellProgress, separator: str = ", ") -> str:
    """Return the remaining budget of a cell as text, with a part for each limit that the study sets."""
    units = {"trials": ("trial", "trials"), "epochs": ("epoch", "epochs"), "seconds": ("s", "s")}
    limits = [(name, left) for name, left in cell.budget_left.items() if left is not None]
    return separator.join(f"{left:,.0f} {units[name][left != 1]}" for name, left in limits)


def tracking_note(cells: list[CellProgress]) -> str | None:
    """Return a sentence about the trials that the tracking server may lack, and how to send them; None if it has all."""
    backlog = sum(cell.backlog for cell in cells)
    if not backlog:
        return None
    trouble = next((cell.tracking_trouble for cell in cells if cell.backlog and cell.tracking_trouble), None)
    why = f" ({trouble})" if trouble else ""
    trials = "1 trial may" if backlog == 1 else f"{backlog} trials may"
    return f"{trials} not be in MLflow yet{why}. The running study sends missing trials; `tuneoff sync` sends them at once."


def line(cell: CellProgress) -> str:
    """Return the progress of a cell as one line of text."""
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
