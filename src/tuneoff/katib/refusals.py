"""Refuse studies that Katib cannot express."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.space import Categorical, Float, Int
from ..core.study import Study
from ..methods.ray_tune import SHAPING
from .algorithms import Algorithm, kind_of
from .budget import ETA, LEAST_POPULATION, Plan, epochs, hyperband_epochs, plan_of
from .trial import SAFE, text_of


def refusals(study: Study, algorithm: Algorithm, parallel: int = 1) -> list[str]:
    """Return one sentence for each part of the study that Katib's algorithm cannot express; empty if it can express all."""
    sentences = [*_of_the_study(study), *_of_the_space(study, algorithm)]
    return sentences or [*_of_the_budget(study, algorithm, parallel)]


def _of_the_study(study: Study) -> Iterator[str]:
    space = study.space
    conditional = [name for name, p in space.items() if p.when]
    if conditional:
        yield f"Katib has no conditional parameters (when), but the study makes {', '.join(conditional)} conditional."
    for name, parameter in space.items():
        if not isinstance(parameter, Categorical):
            continue
        texts = [text_of(v) for v in parameter.values]
        odd = next((t for t in texts if not SAFE.fullmatch(t)), None)
        if odd is not None:
            yield f"{name}: the shell that starts a trial would change the value {odd!r}. Use only letters, digits and _.,:+@%/-."
        if len(set(texts)) < len(texts):
            yield f"{name}: Katib writes values as text, and two values of this parameter have the same text."
    budget = study.budget
    if budget.seconds is not None:
        yield "budget.seconds has no counterpart in Katib, which counts trials. Give only budget.trials or budget.epochs."


def _of_the_space(study: Study, algorithm: Algorithm) -> Iterator[str]:
    space = study.space
    if algorithm.name == "grid":
        unlisted = [name for name, p in space.items() if p.grid_size() is None]
        if unlisted:
            yield f"grid: Katib's grid refuses a double without a step. Give a step or grid_points for {', '.join(unlisted)}."
        return
    kinds = {name: kind_of(p) for name, p in space.items()}
    for kind in dict.fromkeys(kinds.values()):
        if kind in algorithm.cannot:
            named = ", ".join(name for name, k in kinds.items() if k == kind)
            yield f"{algorithm.name}: {named}: Katib's {algorithm.name} {algorithm.cannot[kind]} ({kind})."
    if algorithm.from_zero:
        for name, p in space.items():
            if isinstance(p, Int | Float) and kinds[name].endswith("step") and not _on_steps_from_zero(p):
                yield (
                    f"{algorithm.name}: {name}: Katib's {algorithm.name} counts steps from 0, so low and high must be"
                    f" multiples of step = {p.step:g}."
                )
    if algorithm.name == "cmaes" and sum(kind != "categorical" for kind in kinds.values()) < 2:
        yield "cmaes: Katib's cmaes needs at least two numeric parameters (int or float)."
    if algorithm.name == "pbt" and study.model == "paper-cnn":
        shaping = [name for name in space if name in SHAPING]
        if shaping:
            yield (
                f"pbt: {', '.join(shaping)}: Katib's pbt continues a trial's weights with changed values of all parameters,"
                " but this parameter sets the shapes of the weights. Remove it from the space."
            )


def _on_steps_from_zero(parameter: Int | Float) -> bool:
    assert parameter.step is not None
    ratios = (parameter.low / parameter.step, parameter.high / parameter.step)
    return all(abs(r - round(r)) < 1e-9 for r in ratios)


def _of_the_budget(study: Study, algorithm: Algorithm, parallel: int) -> Iterator[str]:
    plan = plan_of(study, algorithm, parallel)
    if algorithm.name == "grid" and plan.trials > study.space.grid_size():
        yield (
            f"grid: {plan.trials} trials are more than the {study.space.grid_size()} combinations of the space, which Katib's"
            f" grid refuses. Set budget.trials to {study.space.grid_size()}."
        )
    if algorithm.name == "hyperband":
        yield from _of_hyperbands_budget(study, plan)
    if algorithm.name == "pbt" and plan.parallel < LEAST_POPULATION:
        yield (
            f"pbt: Katib's pbt needs a population of at least {LEAST_POPULATION}, so two generations are {2 * LEAST_POPULATION}"
            f" trials. The budget allows {plan.trials} trials of {plan.epochs} epochs. Give a larger budget."
        )


def _of_hyperbands_budget(study: Study, plan: Plan) -> Iterator[str]:
    budget, wanted, paid = study.budget, hyperband_epochs(study, plan.parallel), epochs(study)
    if budget.epochs_per_trial < ETA:
        yield f"hyperband: epochs_per_trial = {budget.epochs_per_trial} leaves no lower rung. Set it to at least {ETA}."
    elif budget.trials is not None and plan.parallel > budget.trials:
        yield (
            f"hyperband: its first rung has {plan.parallel} trials, but budget.trials is {budget.trials}."
            f" Set budget.trials to at least {plan.parallel}."
        )
    elif wanted > paid:
        yield (
            f"hyperband: its {plan.trials} trials need {wanted} epochs, but the budget allows {paid}."
            " Give a larger budget, or a smaller epochs_per_trial."
        )
