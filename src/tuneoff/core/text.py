"""Format numbers and lists for people. The page, the Markdown report and the sentences share these functions, so they agree."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from .metrics import KNOWN

THIN = "\u202f"
"""A narrow no-break space, used between thousands and between a number and its unit."""
NOTHING = "–"
"""The text for a missing number."""
MOST_NAMED = 6
"""Longer lists name this number of items and count the others."""
OWN_MODELS = "trains its own models"
"""The remark next to the name of a system in tables and sentences."""
MINUS = "−"


def metric_name(metric: str) -> str:
    """Return a metric's name for running text."""
    return KNOWN[metric].title if metric in KNOWN else metric


def is_share(metric: str) -> bool:
    """Return whether the metric is a share of 1, which is written in per cent."""
    return metric in KNOWN and KNOWN[metric].is_share


def bare(value: float | None, metric: str) -> str:
    """Return a score without its unit for a table cell: accuracies in per cent with two decimals, losses with four."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return _minus(f"{_exact(100 * value):.2f}" if is_share(metric) else _digits(value))


def score(value: float | None, metric: str) -> str:
    """Return a score with its unit for running text."""
    text = bare(value, metric)
    return f"{text}{THIN}%" if is_share(metric) and text != NOTHING else text


def spread(mean: float | None, sd: float | None, metric: str) -> str:
    """Return mean ± standard deviation without unit, or only the mean if `sd` is None."""
    if sd is None:
        return bare(mean, metric)
    return f"{bare(mean, metric)} ± {bare(sd, metric)}"


def difference(value: float | None, metric: str) -> str:
    """Return a signed difference of two scores without unit (percentage points for accuracies)."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = bare(abs(value), metric)
    zero = float(text) == 0
    return text if zero else f"{'+' if value > 0 else MINUS}{text}"


def points(value: float, metric: str) -> str:
    """Return the size of a difference for running text: 0.12 points, or 0.0123 for a loss."""
    return f"{bare(abs(value), metric)} points" if is_share(metric) else bare(abs(value), metric)


def count(value: float | None) -> str:
    """Return a whole number with a thin space between thousands."""
    return NOTHING if value is None else _minus(f"{value:,.0f}".replace(",", THIN))


def duration(seconds: float | None) -> str:
    """Return seconds in a readable unit: 0.34 s, 45 s, 12.3 min, 5.2 h."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{_tenths(seconds / size)}{THIN}{unit}"
    if 0 < seconds < 0.01:
        return f"<{THIN}0.01{THIN}s"
    return f"{seconds:.2f}{THIN}s" if 0 < seconds < 10 else f"{seconds:.0f}{THIN}s"


def percent(share: float | None) -> str:
    """Return a share of 1 in whole per cent; a small share gets two significant digits, down to 0.01 %."""
    if share is None:
        return NOTHING
    if 0 < share < 1e-4:
        return f"<{THIN}0.01{THIN}%"
    return f"{100 * share:.2g}{THIN}%" if 0 < share < 0.095 else f"{100 * share:.0f}{THIN}%"


def p_value(p: float | None) -> str:
    """Return a p-value as papers quote it: p = 0.012, p < 0.001."""
    if p is None:
        return NOTHING
    return f"p <{THIN}0.001" if p < 0.001 else f"p ={THIN}{p:.2g}"


def setting(value: Any) -> str:
    """Return a hyperparameter's value: text unchanged, floats with four significant digits, everything else as JSON."""
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value, ensure_ascii=False)


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence: `a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def named(words: Sequence[str]) -> str:
    """Return the words as `listed` does; of a long list, the first words and the number of the others."""
    if len(words) <= MOST_NAMED:
        return listed(words)
    return f"{', '.join(words[:MOST_NAMED])} and {count(len(words) - MOST_NAMED)} more"


def plural(number: int, noun: str) -> str:
    """Return a number and its noun: `1 seed`, `3 seeds`."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def shortened(text: str, length: int) -> str:
    """Return the text, cut off with … if it is longer than `length` characters."""
    return text if len(text) <= length else text[: max(length - 1, 1)] + "…"


def _digits(value: float) -> str:
    if value != 0 and abs(value) < 5e-5:
        return f"{value:.1e}"
    return f"{_exact(value):.4f}" if abs(value) < 100 else f"{value:.4g}"


def _exact(value: float) -> float:
    """Undo the binary error of a decimal number, so that 99.915 is rounded up."""
    return math.copysign(abs(value) + 1e-9, value)


def _tenths(value: float) -> str:
    return f"{value:.1f}" if value < 100 else count(value)


def _minus(text: str) -> str:
    return text.replace("-", MINUS) if text.startswith("-") else text
