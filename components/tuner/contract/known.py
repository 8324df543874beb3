"""Checks that a method is known to fail, and why; one that it passes all the same is a failure too."""

from __future__ import annotations

from collections.abc import Mapping

KNOWN: Mapping[tuple[str, str], str] = {
    ("sklearn-grid", "its_first_draws_come_from_the_whole_space"): "it begins in the grid's first corner",
    ("sklearn-grid", "another_seed_proposes_others"): "the grid's own order is the same for every seed; shuffled it is not",
}
"""By method and check."""
