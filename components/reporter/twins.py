"""Methods that proposed the very same trials: what sets them apart never came into play."""

from __future__ import annotations

import json
from collections.abc import Sequence

from .numbers import TrialRow


def twins(rows: Sequence[TrialRow], seeds: int) -> list[list[str]]:
    """The methods of one data set whose trials are the same, one by one, with each of the study's seeds; in the rows' order."""
    searches: dict[str, dict[int, list[str]]] = {}
    for row in rows:
        searches.setdefault(row.method, {}).setdefault(row.seed, []).append(_proposed(row))
    alike: dict[str, list[str]] = {}
    for method, found in searches.items():
        if len(found) == seeds:
            alike.setdefault(json.dumps(sorted(found.items())), []).append(method)
    return [methods for methods in alike.values() if len(methods) > 1]


def _proposed(row: TrialRow) -> str:
    return json.dumps([row.config, row.first_epoch, row.target_epoch, row.parent, row.inherit], sort_keys=True)
