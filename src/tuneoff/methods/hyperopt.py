"""hyperopt's suggest functions with hyperopt's Trials. Conditions become nested choices where hyperopt supports them."""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import Any

from pydantic import Field

from ..core.encoding import Axes, Axis
from ..core.problem import Done, Epoch, Problem, Proposal, Trial, TrialId
from ..core.space import Categorical, Model, Space
from .spec import Algorithm, MethodSpec


class RandomSettings(Model):
    """rand.suggest has no settings: the study gives the seed."""


class TpeSettings(Model):
    """tpe.suggest's arguments of the same names, with its defaults."""

    n_startup_jobs: int = Field(
        default=20, ge=1, le=10_000, description="Number of random configurations before the model proposes."
    )
    n_EI_candidates: int = Field(
        default=24, ge=1, le=10_000, description="Number of candidates per proposal, of which the most promising is proposed."
    )
    gamma: float = Field(default=0.25, gt=0, le=1, description="The best gamma × √n of n trials count as good.")
    prior_weight: float = Field(default=1.0, gt=0, description="Weight of the prior over the space, relative to one trial.")


class AnnealSettings(Model):
    """anneal.suggest's arguments of the same names, with its defaults."""

    avg_best_idx: float = Field(default=2.0, gt=1, description="Mean rank of the trial around which configurations are drawn.")
    shrink_coef: float = Field(default=0.1, gt=0, description="How fast the range of the draws shrinks.")


class _Suggest:
    """Ask and tell with one suggest function. Trial numbers are the same in hyperopt and in Tuneoff."""

    def __init__(self, problem: Problem, suggest: Any) -> None:
        import numpy as np
        from hyperopt import Trials
        from hyperopt.base import Domain

        logging.getLogger("hyperopt").setLevel(logging.ERROR)
        self._axes = Axes(problem.space)
        self._max_epochs = problem.max_epochs
        self._suggest = suggest
        self._domain = Domain(float, _tree(problem.space, {axis.name: axis for axis in self._axes.axes}))
        self._trials = Trials()
        self._seeds = np.random.default_rng(problem.seed)

    def ask(self) -> Proposal | Done:
        ids = self._trials.new_trial_ids(1)
        # hyperopt's fmin draws the seeds in the same way.
        documents = self._suggest(ids, self._domain, self._trials, int(self._seeds.integers(2**31 - 1)))
        self._trials.insert_trial_docs(documents)
        self._trials.refresh()
        places = {name: drawn[0] for name, drawn in documents[0]["misc"]["vals"].items() if len(drawn)}
        return Proposal(self._axes.decode(places), self._max_epochs)

    def tell(self, trial: Trial) -> None:
        from hyperopt import JOB_STATE_DONE, STATUS_FAIL, STATUS_OK

        assert trial.outcome is not None
        loss = trial.outcome.loss
        document = self._trials._dynamic_trials[trial.id]
        document["state"] = JOB_STATE_DONE
        document["result"] = {"status": STATUS_FAIL} if loss is None else {"status": STATUS_OK, "loss": loss}
        self._trials.refresh()

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


class Random(_Suggest):
    """Search with hyperopt.rand."""

    Settings = RandomSettings
    spec = MethodSpec(
        name="hyperopt-random",
        algorithm=Algorithm.RANDOM_SEARCH,
        is_random=True,
        katib=("random",),
        summary="Random search with hyperopt's rand.suggest, which may repeat configurations.",
        source="Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012",
        when="As a baseline for hyperopt's other algorithms.",
        framework="hyperopt",
        package="hyperopt",
        extra="hyperopt",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: RandomSettings) -> None:
        from hyperopt import rand

        super().__init__(problem, rand.suggest)


class Tpe(_Suggest):
    """Search with hyperopt.tpe."""

    Settings = TpeSettings
    spec = MethodSpec(
        name="hyperopt-tpe",
        algorithm=Algorithm.TPE,
        katib=("tpe",),
        summary="A tree-structured Parzen estimator with support for conditions: hyperopt's tpe.suggest.",
        source="Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 24, 2011",
        when="To compare with older work, most of which uses this implementation of TPE.",
        framework="hyperopt",
        package="hyperopt",
        extra="hyperopt",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: TpeSettings) -> None:
        from hyperopt import tpe

        super().__init__(problem, partial(tpe.suggest, verbose=False, **settings.model_dump()))


class Anneal(_Suggest):
    """Search with hyperopt.anneal."""

    Settings = AnnealSettings
    spec = MethodSpec(
        name="hyperopt-anneal",
        summary="Random draws around good trials within a shrinking range: hyperopt's anneal.suggest.",
        source="hyperopt, hyperopt.anneal",
        when="For a smooth objective and a small budget. The method is fast and simple.",
        framework="hyperopt",
        package="hyperopt",
        extra="hyperopt",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: AnnealSettings) -> None:
        from hyperopt import anneal

        super().__init__(problem, partial(anneal.suggest, **settings.model_dump()))


def _tree(space: Space, axes: dict[str, Axis]) -> dict[str, Any]:
    """Return the space as a hyperopt expression, in which a parameter that depends on one category is nested in its branches.

    hyperopt does not support other conditions (on several parameters, or on a number). Parameters with such conditions are always
    drawn, and removed if they are inactive.
    """
    nested = {name: next(iter(space[name].when or {})) for name in space if _nests(space, name)}
    made: dict[str, Any] = {}
    for name in reversed(space.order()):  # children before their parents
        children = [child for child, parent in nested.items() if parent == name]
        made[name] = _choice(space, name, {child: made[child] for child in children}) if children else _leaf(axes[name])
    return {name: made[name] for name in space if name not in nested}


def _nests(space: Space, name: str) -> bool:
    when = space[name].when or {}
    return len(when) == 1 and isinstance(space[next(iter(when))], Categorical)


def _choice(space: Space, name: str, children: dict[str, Any]) -> Any:
    from hyperopt import hp

    parameter = space[name]
    assert isinstance(parameter, Categorical)
    wanted = {child: {parameter.index(value) for value in (space[child].when or {})[name]} for child in children}
    places = range(len(parameter.values))
    return hp.choice(name, [{child: children[child] for child in children if place in wanted[child]} for place in places])


def _leaf(axis: Axis) -> Any:
    from hyperopt import hp

    if axis.kind == "choice":
        return hp.randint(axis.name, int(axis.high) + 1)
    if axis.kind == "float":
        low, high = (math.log(axis.low), math.log(axis.high)) if axis.log else (axis.low, axis.high)
        return (hp.loguniform if axis.log else hp.uniform)(axis.name, low, high)
    # Rounding would halve the probability of both ends. Half a unit more at both ends prevents this.
    low, high = axis.low - 0.5, axis.high + 0.5
    return hp.qloguniform(axis.name, math.log(low), math.log(high), 1) if axis.log else hp.quniform(axis.name, low, high, 1)
