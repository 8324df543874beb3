"""Read the metrics in a trial's log as Katib's collector reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .experiments import METRICS
from .trial import COLLECTOR

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class Range:
    """The values that Katib stores for one metric of a trial. A value that Katib could not read is None."""

    least: float | None
    most: float | None
    latest: float | None


# The collector


@dataclass(frozen=True)
class Reading:
    """One value that the collector sends to Katib's database."""

    time: str
    metric: str
    value: str


def readings(lines: Iterable[str], metrics: Sequence[str], expression: str = COLLECTOR) -> list[Reading]:
    """Return what Katib's StdOut collector reads from a trial's log.

    This follows pkg/metricscollector/v1beta1/file-metricscollector: a line that names no metric is skipped, a time at the start
    of a line is used, and a log without the objective gives the single value `unavailable`.

    Args:
        lines: The lines of the log.
        metrics: Names of the metrics, the objective first.
        expression: The regular expression with which the collector reads a line.
    """
    found: list[Reading] = []
    for line in lines:
        if not any(metric in line for metric in metrics):
            continue
        time = line.partition(" ")[0] if RFC3339.fullmatch(line.partition(" ")[0]) else NO_TIME
        pairs = [(match[1].strip(), match[2].strip()) for match in re.finditer(expression, line)]
        found += [Reading(time, name, value) for name, value in pairs if name in metrics]
    if not any(reading.metric == metrics[0] for reading in found):
        return [Reading(NO_TIME, metrics[0], "unavailable")]
    return found


def kept(found: Iterable[Reading]) -> dict[str, Range]:
    """Return what Katib stores of a trial's readings, by metric. Of readings with equal times, the last one is the latest."""
    by_metric: dict[str, list[float]] = {}
    for reading in sorted(found, key=lambda r: r.time):
        number = _finite(reading.value)
        by_metric.setdefault(reading.metric, []).extend([] if number is None else [number])
    return {m: Range(min(v, default=None), max(v, default=None), v[-1] if v else None) for m, v in by_metric.items()}


NO_TIME = "0001-01-01T00:00:00Z"


def sample_log() -> str:
    """Return an example of a trial's log: three epochs on a toy data set."""
    return SAMPLE.read_text(encoding="utf-8")


SAMPLE = Path(__file__).with_name("trial_template.txt")


def ranges(trial: Any) -> dict[str, Range]:
    """Return what Katib stores for each metric of a trial."""
    observation = trial.status.observation
    metrics = (observation.metrics if observation else None) or []
    return {m.name: Range(_finite(m.min), _finite(m.max), _finite(m.latest)) for m in metrics if m.name in METRICS}


def _finite(text: str | None) -> float | None:
    """Return the text as a number, or None for `unavailable`, an empty text, or a number that is not finite."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
