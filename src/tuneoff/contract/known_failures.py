"""The known failures of methods, with reasons. If such a check passes, it counts as failed, so that the list stays correct."""

from __future__ import annotations

from collections.abc import Mapping

KNOWN: Mapping[tuple[str, str], str] = {
    ("sklearn-grid", "first_draws_cover_the_whole_space"): "the search starts in the first corner of the grid",
    ("sklearn-grid", "first_draws_cover_a_space_of_lists"): "the search starts in the first corner of the grid",
    ("sklearn-grid", "different_seeds_give_different_proposals"): "the order is the same for every seed, unless it is shuffled",
    ("keras-tuner-grid", "first_draws_cover_the_whole_space"): "the search starts in the first corner of the grid",
    ("keras-tuner-grid", "first_draws_cover_a_space_of_lists"): "the search starts in the first corner of the grid",
    ("keras-tuner-grid", "different_seeds_give_different_proposals"): "the order is the same for every seed",
    ("catcma", "first_draws_cover_the_whole_space"): "the first generation is normally distributed around the middle",
    ("vizier-gp", "first_draws_cover_the_whole_space"): "the trust region grows from the middle",
    (
        "freeze-thaw",
        "first_draws_cover_the_whole_space",
    ): "NePS sorts ifBO's first configurations and uses the lower half, so high values of one parameter come later",
}
"""The reason of each known failure, by method and check."""
NO_CLAIM: Mapping[str, str] = {
    "sklearn-grid": "within the budget of the contract, it does not leave the first corner of the grid",
    "keras-tuner-grid": "within the budget of the contract, it does not leave the first corner of the grid",
    "ray-random": "it is random search, and each of the twenty searches would start Ray again",
}
"""Methods that do not claim to be at least as good as random search, with reasons."""
