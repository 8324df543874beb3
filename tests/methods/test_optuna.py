"""Optuna: proposals equal those of Optuna itself, conditions are native, and stopped trials count as pruned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from asked import asked, built, searched
from made import made_study
from tuneoff.core.problem import Epoch, Outcome, Problem, Status, Trial
from tuneoff.core.space import PAPER_SPACE, Config
from tuneoff.methods.registry import find

BOWL = {
    "x": {"type": "float", "low": 0.0, "high": 1.0},
    "width": {"type": "categorical", "values": [16, 32, 64, 128]},
    "kind": {"type": "categorical", "values": ["a", "b"]},
}


def bowl(config: Config) -> float:
    return (float(config["x"]) - 0.3) ** 2 + float(config["width"]) / 128 + (config["kind"] == "a")


def test_tpe_proposes_the_same_as_optunas_default_sampler(tmp_path: Path) -> None:
    configs = searched(built("optuna-tpe", BOWL, tmp_path, seed=7), 25, bowl)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=7))
    for config in configs:
        trial = study.ask()
        x = trial.suggest_float("x", 0.0, 1.0)
        width, kind = trial.suggest_categorical("width", range(4)), trial.suggest_categorical("kind", range(2))
        assert config == {"x": x, "width": [16, 32, 64, 128][width], "kind": ["a", "b"][kind]}
        study.tell(trial, bowl(config))


def test_optuna_5_and_optuna_4_differ_after_the_random_start(tmp_path: Path) -> None:
    new = searched(built("optuna-tpe", BOWL, tmp_path), 14, bowl)
    old = searched(built("optuna-tpe-classic", BOWL, tmp_path), 14, bowl)
    assert new[:10] == old[:10]
    assert new[10:] != old[10:]


def test_an_inactive_parameter_is_never_suggested(tmp_path: Path) -> None:
    space = {
        "optimizer": {"type": "categorical", "values": ["SGD", "Adam"]},
        "momentum": {"type": "float", "low": 0.1, "high": 0.9, "when": {"optimizer": ["SGD"]}},
    }
    method: Any = built("optuna-random", space, tmp_path)
    configs = searched(method, 20, lambda config: 0.0)
    assert {len(c) for c in configs} == {1, 2}
    assert [len(t.params) for t in method._study.trials] == [len(c) for c in configs]


def test_steps_that_do_not_reach_high_end_at_the_last_step_below_it(tmp_path: Path) -> None:
    space = {
        "units": {"type": "int", "low": 8, "high": 30, "step": 8},
        "rate": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.3},
    }
    configs = searched(built("optuna-random", space, tmp_path), 60, lambda config: 0.0)
    assert {c["units"] for c in configs} == {8, 16, 24}
    assert {c["rate"] for c in configs} == {0.0, 0.3, 0.6, 0.9}


def test_trials_in_flight_are_not_proposed_again(tmp_path: Path) -> None:
    method = built("optuna-tpe", PAPER_SPACE, tmp_path, in_flight=4)
    assert len({str(asked(method).config) for _ in range(4)}) == 4


# CMA-ES


def test_cma_es_models_ascending_numbers_and_draws_categories_at_random(tmp_path: Path) -> None:
    method: Any = built("optuna-cmaes", PAPER_SPACE, tmp_path)
    searched(method, 3, lambda config: 0.0)
    modelled = method._study.sampler.infer_relative_search_space(method._study, method._study.trials[-1])
    assert sorted(modelled) == ["dropout", "filters1", "filters2", "learning_rate", "neurons"]


def test_without_ordered_levels_cma_es_models_only_one_parameter_of_the_paper(tmp_path: Path) -> None:
    """This is why `levels` is ordered by default: otherwise a search of the paper's space is almost random."""
    method: Any = built("optuna-cmaes", PAPER_SPACE, tmp_path, levels="categories")
    searched(method, 3, lambda config: 0.0)
    assert list(method._study.sampler.infer_relative_search_space(method._study, method._study.trials[-1])) == ["dropout"]


def test_cma_es_improves(tmp_path: Path) -> None:
    space = {name: {"type": "float", "low": -1.0, "high": 1.0} for name in "xyz"}
    losses = [
        sum((float(v) - 0.4) ** 2 for v in c.values())
        for c in searched(
            built("optuna-cmaes", space, tmp_path), 120, lambda config: sum((float(v) - 0.4) ** 2 for v in config.values())
        )
    ]
    assert sum(losses[-20:]) < 0.2 * sum(losses[:20])


# Stop rules


def trained(method: Any, problem: Problem, number: int, accuracy: float) -> int:
    """Train a trial of constant accuracy. Return the epochs after which the method stopped it (9 if it did not)."""
    proposal = asked(method)
    curve: list[Epoch] = []
    for epoch in range(1, 10):
        curve.append(Epoch(epoch, {"val_accuracy": accuracy}, 0.1))
        if epoch < 9 and not method.should_continue(number, curve[-1]):
            break
    status = Status.COMPLETED if len(curve) == 9 else Status.STOPPED
    method.tell(Trial(number, number, proposal, 0, Outcome(status, tuple(curve), problem.loss(curve[-1]), 0.9)))
    return len(curve)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_asha_stops_worse_trials_at_its_rungs(sampler: str, tmp_path: Path) -> None:
    problem = Problem(PAPER_SPACE, 9, 0, tmp_path)
    method: Any = find("optuna-asha").build(problem, {"reduction_factor": 3, "sampler": sampler})
    assert [trained(method, problem, n, accuracy) for n, accuracy in enumerate([0.9, 0.1, 0.2, 0.95])] == [9, 1, 1, 9]
    states = [t.state.name for t in method._study.trials]
    assert states == ["COMPLETE", "PRUNED", "PRUNED", "COMPLETE"]
    assert method._study.trials[1].value == -0.1, "a pruned trial keeps its last value"


def test_a_stop_rule_uses_the_studys_objective(tmp_path: Path) -> None:
    problem = Problem(PAPER_SPACE, 9, 0, tmp_path, metric="val_loss", sign=1)
    assert problem.loss(Epoch(1, {"val_loss": 0.25, "val_accuracy": 0.9}, 0.1)) == 0.25


def test_hyperbands_brackets_are_the_same_in_every_process(tmp_path: Path) -> None:
    """They are derived from the study name, for which Optuna would otherwise use a random one."""
    problem = Problem(PAPER_SPACE, 9, 0, tmp_path)
    method: Any = find("optuna-tpe-hyperband").build(problem, {})
    accuracies = [0.9 - n / 50 for n in range(20)]
    lengths = [trained(method, problem, n, a) for n, a in enumerate(accuracies)]
    assert set(lengths) == {1, 3, 9}, "the brackets' first rungs"
    again: Any = find("optuna-tpe-hyperband").build(problem, {})
    assert [trained(again, problem, n, a) for n, a in enumerate(accuracies)] == lengths


@pytest.mark.parametrize("name", ["optuna-asha", "optuna-tpe-hyperband"])
def test_a_stop_rule_that_could_never_stop_is_refused(name: str) -> None:
    study = made_study(budget={"trials": 8, "epochs_per_trial": 3})
    spec = find(name)
    assert spec.refusals(study, spec.settings_model().model_validate({"min_resource": 3})) == [
        "optuna: min_resource = 3 must be smaller than epochs_per_trial = 3."
    ]
    assert spec.refusals(study, spec.settings_model().model_validate({"min_resource": 2})) == []
