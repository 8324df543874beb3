"""Compute the used share of a search's budget, and estimate the remaining time."""

from __future__ import annotations

from collections.abc import Sequence

from ..problem import Limits
from .state import SearchRecord, ended_under, limits_of


def used_share(search: SearchRecord, limits: Limits) -> float:
    """Return the share of its budget that a search has used, from 0 to 1. The limit that is closest to its end counts."""
    if ended_under(search.ended, limits):
        return 1.0
    spent, own_limits = search.spent, limits_of(search, limits)
    ended = sum(t.trial.proposal.parent is None for t in search.told)
    pairs = ((ended, own_limits.trials), (spent.epochs, own_limits.epochs), (spent.seconds, own_limits.seconds))
    share = max(used / limit for used, limit in pairs if limit)
    return min(0.99 if search.is_system else 1.0, share)  # only the system itself decides when it has finished


def seconds_left(searches: Sequence[SearchRecord], share: float, in_flight: int) -> float | None:
    """Estimate the remaining seconds of the searches of one cell from the measured seconds.

    Args:
        searches: The searches of the cell, one per seed.
        share: The mean share of their budgets that they have used.
        in_flight: The number of trials of one search that train in parallel.

    Returns:
        Seconds, or None before the first trial has ended and after the last one has ended.
    """
    if not 0 < share < 1:
        return None
    seconds = sum(s.spent.seconds for s in searches)
    side_by_side = max(1, sum(bool(s.trials) and not s.ended for s in searches))
    return seconds * (1 - share) / share / (side_by_side * in_flight)


def clock_text(seconds: float) -> str:
    """Format a duration as M:SS, or H:MM:SS from one hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
