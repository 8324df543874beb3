"""Log the searches of a tuner step while they run: a line per trial and a line per minute about the cell."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from ..core.record.budget_use import clock_text, seconds_left, used_share
from ..core.record.events import Event
from ..core.record.state import SearchRecord, limits_of
from ..core.study import Cell, Study
from ..objectives import objective_of

LOOK_EVERY_SECONDS = 1.0
PROGRESS_EVERY_SECONDS = 60.0
CLOSE_PATIENCE_SECONDS = 5.0
"""How long the end of a step waits for the last lines if no process reads them."""
LONGEST_REASON = 400


class Recorded(Protocol):
    """A record that this process has opened. `events` only grows."""

    @property
    def events(self) -> Sequence[Event]: ...


@dataclass
class _Course:
    """How far the log has followed one search."""

    seed: int
    next: int = 0  # the next event to process
    opened: bool = False  # whether this process's own `opened` event was processed
    parents: dict[int, int] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    started: dict[int, str] = field(default_factory=dict)
    """Trials in flight with the reason if they are trained again. The default reason is that their process was killed."""
    least: float | None = None  # the loss of the best trial so far


class SearchLog:
    """Report the searches of a cell from a thread that only reads their records.

    A sequence of calls::

        log = SearchLog(study, cell, records, writers, report)
        log.start()
        log.failed(0, "…")     a search has ended with an error; the next look reports it
        log.close()            writes the last lines and one about the whole cell

    Args:
        records: Returns the cell's searches, one per seed. It is called once a minute and at the end.
        writers: Returns the records that this process has opened, by seed. They give the line of each trial. Without them, as in
            a table study, no such lines are written.
        report: Writes a line.
        unsent: Counts the ended trials that the tracking server does not have.
    """

    def __init__(
        self,
        study: Study,
        cell: Cell,
        records: Callable[[], Sequence[SearchRecord]],
        writers: Callable[[], Mapping[int, Recorded]] = dict,
        report: Callable[[str], None] = print,
        unsent: Callable[[Sequence[SearchRecord]], int] = lambda searches: 0,
    ) -> None:
        self._study = study
        self._cell = cell
        self._records = records
        self._writers = writers
        self._report = report
        self._unsent = unsent
        self._courses: dict[int, _Course] = {}
        self._failures: list[str] = []
        self._faults: set[str] = set()
        self._summary: Sequence[SearchRecord] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="search-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def failed(self, seed: int, error: str) -> None:
        """Note that the search with this seed has failed. The others may continue for hours before the step fails."""
        where = f"{self._cell.name}, seed {seed}"
        self._failures.append(f"{where}: the search failed: {_one_line(error.removeprefix(f'{where}: '))}")

    def close(self, searches: Sequence[SearchRecord] | None = None) -> None:
        """Write the last lines. `searches` are those of the cell, if the caller has them."""
        self._summary = searches
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_PATIENCE_SECONDS)

    def _run(self) -> None:
        began = time.monotonic()
        next_progress = began + PROGRESS_EVERY_SECONDS
        while not self._stop.wait(LOOK_EVERY_SECONDS):
            self._guarded(self._look)
            looked = time.monotonic()
            if looked >= next_progress:
                self._guarded(lambda: self._report(progress_line(self._study, self._cell, *self._now())))
                ended = time.monotonic()
                # Reading the records must not cost more than a tenth of the time.
                next_progress = max(next_progress + PROGRESS_EVERY_SECONDS, ended + 10 * (ended - looked))
        self._guarded(self._look)
        self._guarded(lambda: self._report(summary_line(self._study, self._cell, self._last(), time.monotonic() - began)))

    def _guarded(self, look: Callable[[], None]) -> None:
        try:
            look()
        except Exception as error:  # noqa: BLE001 - an error in the log must never end a search
            fault = f"{type(error).__name__}: {error}"
            if fault not in self._faults:
                self._faults.add(fault)
                with suppress(Exception):  # no process may read the lines any more
                    self._report(f"{self._cell.name}: a line of this log is missing ({_one_line(fault)})")

    def _now(self) -> tuple[Sequence[SearchRecord], int]:
        searches = self._records()
        return searches, self._unsent(searches)

    def _last(self) -> Sequence[SearchRecord]:
        return self._records() if self._summary is None else self._summary

    # Events

    def _look(self) -> None:
        """Report what the searches have recorded since the last look."""
        for seed, writer in self._writers().items():
            course = self._courses.setdefault(seed, _Course(seed))
            events = writer.events[course.next :]
            if not course.opened:
                own = max(number for number, event in enumerate(events) if event["event"] == "opened")
                for event in events[:own]:
                    self._follow(course, event)
                course.opened, course.next, events = True, own, events[own:]
                if course.ended or course.started:
                    self._report(f"{self._where(course)}: {_continued(course)}")
            for event in events:
                course.next += 1  # first, so that an event that fails to be reported is not tried again
                line = self._follow(course, event)
                if line is not None:
                    self._report(f"{self._where(course)}: {line}")
        while self._failures:
            self._report(self._failures.pop(0))

    def _where(self, course: _Course) -> str:
        return f"{self._cell.name}, seed {course.seed}"

    def _follow(self, course: _Course, event: Event) -> str | None:
        """Process one event and return its line, if it has one."""
        number = event.get("trial", -1)
        match event["event"]:
            case "asked" if event["parent"] is not None:
                course.parents[number] = event["parent"]
            case "started":
                before = course.started.get(number)
                course.started[number] = "the run was killed while it trained"
                return None if before is None else f"trial {number} is trained again, since {before}"
            case "died":
                course.started[number] = "its worker died"
                return f"the worker that trained trial {number} died {_one_line(event['how'])}"
            case "cut":
                course.started[number] = "the study was stopped while it trained"
                return f"trial {number} is cut short, since the study is asked to stop"
            case "restored":
                return f"trial {number} is trained again, uncharged, since {_one_line(event['reason'])}"
            case "anew":
                course.least = None
                course.ended |= set(course.started)
                course.started.clear()
                return f"the trials before lose their results: {_one_line(event['reason'])}"
            case "told":
                return self._told(course, event)
            case "ended":
                return f"the search ended: {_one_line(event['reason'])}"
        return None

    def _told(self, course: _Course, event: Event) -> str:
        number, loss = event["trial"], event["loss"]
        course.ended.add(number)
        course.started.pop(number, None)
        if loss is not None and (course.least is None or loss < course.least):
            course.least = loss
        sign, metric = self._study.objective.sign, self._study.objective.metric
        parent = course.parents.pop(number, None)
        name = f"trial {number}" if parent is None else f"trial {number}, which continues trial {parent},"
        value = "" if loss is None else f", {metric} {sign * loss:.4f}"
        epochs = event["trained_epochs"]
        after = f" after {_counted(epochs, 'epoch')}" if epochs else ""
        best = "no result so far" if course.least is None else f"best so far {sign * course.least:.4f}"
        reason = f": {_one_line(event['reason'])}" if event["reason"] else ""
        return f"{name} {event['status']}{value}{after} in {event['seconds']:.1f} s ({best}){reason}"


def _continued(course: _Course) -> str:
    text = f"continues its record: {_counted(len(course.ended), 'trial')} ended before"
    if not course.started:
        return text
    numbers = ", ".join(str(number) for number in sorted(course.started))
    return f"{text}, and {'trial' if len(course.started) == 1 else 'trials'} {numbers} had begun"


# The cell in a line


def progress_line(study: Study, cell: Cell, searches: Sequence[SearchRecord], unsent: int = 0) -> str:
    """Return the line of the minute: trials, used budget, best so far, time left and undelivered trials."""
    limits = study.budget.limits
    share = sum(used_share(s, limits) for s in searches) / len(searches)
    own_models = any(search.is_system for search in searches)
    left = None
    if objective_of(study).processes is not None:  # else seconds are those of a simulated clock
        left = seconds_left(searches, share, 1 if own_models else study.budget.in_flight)
    parts = _used(study, searches)
    running = [t for search in searches for t in search.trials if t.trial.outcome is None]
    if running:
        parts.append(f"{len(running)} in training ({_counted(sum(len(t.curve) for t in running), 'epoch')} so far)")
    if left is not None:
        parts.append(f"about {clock_text(left)} left")
    if unsent:
        parts.append(f"{_counted(unsent, 'ended trial')} not in MLflow yet")
    return f"{cell.name}: {', '.join(parts)}"


def summary_line(study: Study, cell: Cell, searches: Sequence[SearchRecord], seconds: float) -> str:
    """Return the last line: the state of the cell's searches and the duration of this step."""
    ended = sum(search.ended is not None for search in searches)
    state = f"{ended} of {_counted(len(searches), 'search', 'searches')} ended"
    return f"{cell.name}: {state}: {', '.join(_used(study, searches))}; this step searched for {clock_text(seconds)}"


def _used(study: Study, searches: Sequence[SearchRecord]) -> list[str]:
    told = [trial for search in searches for trial in search.told]
    failed = sum(trial.status in ("failed", "diverged") for trial in told)
    spent = [search.spent for search in searches]
    limits = [limits_of(search, study.budget.limits) for search in searches]
    configurations = sum(trial.trial.proposal.parent is None for trial in told)
    trials = sum(limit.trials or 0 for limit in limits)
    if trials and configurations == len(told):
        parts = [f"{len(told)} of {_counted(trials, 'trial')}"]
    else:
        parts = [_counted(len(told), "trial")]
    if failed:
        parts[0] += f" ({failed} failed)"
    if trials and configurations != len(told):
        parts.append(f"{configurations} of {_counted(trials, 'configuration')}")
    epochs, limit = sum(s.epochs for s in spent), sum(limit.epochs or 0 for limit in limits)
    parts.append(f"{epochs} of {_counted(limit, 'epoch')}" if limit else _counted(epochs, "epoch"))
    if seconds := sum(limit.seconds or 0 for limit in limits):
        parts.append(f"{sum(s.seconds for s in spent):,.0f} of {seconds:,.0f} s")
    losses = [t.trial.outcome.loss for s in searches for t in [s.incumbent] if t and t.trial.outcome]
    known = [loss for loss in losses if loss is not None]
    parts.append(f"best {study.objective.metric} {study.objective.sign * min(known):.4f}" if known else "no result so far")
    return parts


def _counted(count: int, noun: str, plural: str = "") -> str:
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def _one_line(text: str) -> str:
    """Return a text of any length on one short line."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1] + "…"
