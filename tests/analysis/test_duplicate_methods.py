"""Methods that proposed the very same trials are named, and those that differ in one trial or miss a seed are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rows import CONFIG, row
from tuneoff.analysis.stats.duplicate_methods import twins
from tuneoff.analysis.trial_rows import TrialRow


def search(method: str, neurons: Sequence[int], seed: int = 0, **fields: Any) -> list[TrialRow]:
    configs = [{**CONFIG, "neurons": size} for size in neurons]
    return [row(0.9, method=method, seed=seed, trial=n, config=c, **fields) for n, c in enumerate(configs)]


def test_methods_with_the_same_trials_under_every_seed_are_twins() -> None:
    rows = [t for method in ("tpe", "random") for seed in (0, 1) for t in search(method, [64, 128 + seed], seed)]
    rows += [t for seed in (0, 1) for t in search("gp", [64, 128], seed)]
    assert twins(rows, seeds=2) == [["tpe", "random"]]


def test_there_may_be_several_groups() -> None:
    rows = [t for m, sizes in (("a", [64]), ("b", [128]), ("c", [64]), ("d", [128])) for t in search(m, sizes)]
    assert twins(rows, seeds=1) == [["a", "c"], ["b", "d"]]


def test_another_order_length_or_one_trial_more_sets_them_apart() -> None:
    rows = [*search("a", [64, 128]), *search("b", [128, 64]), *search("c", [64, 128, 64])]
    assert twins([*rows, *search("d", [64, 128], target_epoch=2)], seeds=1) == []


def test_weights_taken_over_or_not_set_them_apart() -> None:
    assert twins([*search("a", [64], inherit="best_weights"), *search("b", [64])], seeds=1) == []


def test_a_method_without_one_of_the_seeds_is_no_twin() -> None:
    assert twins([*search("a", [64]), *search("b", [64])], seeds=2) == []
