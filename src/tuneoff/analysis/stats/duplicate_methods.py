"""Methods that proposed the very same trials: what sets them apart never came into play."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.space import key_of
from ..trial_rows import TrialRow

_Proposed = tuple[str, int, int, int | None, str | None]


def twins(rows: Sequence[TrialRow], seeds: int) -> list[list[str]]:
    """The methods of one data set whose trials are the same, one by one, with each of the study's seeds; in the rows' order."""
    searches: dict[str, dict[int, list[_Proposed]]] = {}
    for row in rows:
        searches.setdefault(row.method, {}).setdefault(row.seed, []).append(_proposed(row))
    alike: dict[tuple[tuple[int, tuple[_Proposed, ...]], ...], list[str]] = {}
    for method, found in searches.items():
        if len(found) == seeds:
            alike.setdefault(tuple((seed, tuple(found[seed])) for seed in sorted(found)), []).append(method)
    return [methods for methods in alike.values() if len(methods) > 1]


def _proposed(row: TrialRow) -> _Proposed:
    return key_of(row.config), row.first_epoch, row.target_epoch, row.parent, row.inherit
