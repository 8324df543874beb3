"""Find methods that proposed identical trials, so that the study cannot distinguish them."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.space import key_of
from ..trial_rows import TrialRow

_Proposed = tuple[str, int, int, int | None, str | None]


def twins(rows: Sequence[TrialRow], seeds: int) -> list[list[str]]:
    """Return the groups of methods that proposed the same trials in the same order with every seed of the study.

    Args:
        rows: The trials on one data set; the groups keep their order.
        seeds: The number of the study's seeds; a method with fewer searches is in no group.
    """
    searches: dict[str, dict[int, list[_Proposed]]] = {}
    for row in rows:
        searches.setdefault(row.method, {}).setdefault(row.seed, []).append(_proposed(row))
    groups: dict[tuple[tuple[int, tuple[_Proposed, ...]], ...], list[str]] = {}
    for method, by_seed in searches.items():
        if len(by_seed) == seeds:
            groups.setdefault(tuple((seed, tuple(by_seed[seed])) for seed in sorted(by_seed)), []).append(method)
    return [methods for methods in groups.values() if len(methods) > 1]


def _proposed(row: TrialRow) -> _Proposed:
    return key_of(row.config), row.first_epoch, row.target_epoch, row.parent, row.inherit
