"""Checks that a method is known to fail, and why; one that it passes all the same is a failure too."""

from __future__ import annotations

from collections.abc import Mapping

KNOWN: Mapping[tuple[str, str], str] = {
    ("sklearn-grid", "its_first_draws_come_from_the_whole_space"): "it begins in the grid's first corner",
    ("sklearn-grid", "its_first_draws_come_from_all_of_a_space_of_lists"): "it begins in the grid's first corner",
    ("sklearn-grid", "another_seed_proposes_others"): "the grid's own order is the same for every seed; shuffled it is not",
    ("keras-tuner-grid", "its_first_draws_come_from_the_whole_space"): "it begins in the grid's first corner",
    ("keras-tuner-grid", "its_first_draws_come_from_all_of_a_space_of_lists"): "it begins in the grid's first corner",
    ("keras-tuner-grid", "another_seed_proposes_others"): "its oracle's order is the same for every seed",
    ("catcma", "its_first_draws_come_from_the_whole_space"): "its first generation is drawn normally about the middle",
    ("vizier-gp", "its_first_draws_come_from_the_whole_space"): "its trust region grows from the middle",
    (
        "freeze-thaw",
        "its_first_draws_come_from_the_whole_space",
    ): "NePS sorts ifBO's first configurations and takes the lower half: high values of one parameter come later",
}
"""By method and check."""
NO_CLAIM: Mapping[str, str] = {
    "sklearn-grid": "within the contract's budget it does not leave the grid's first corner",
    "keras-tuner-grid": "within the contract's budget it does not leave the grid's first corner",
    "ray-random": "it is random search, and each of the twenty searches would start Ray anew",
}
"""Methods of the registry that do not claim to be at least as good as random search, and why."""
