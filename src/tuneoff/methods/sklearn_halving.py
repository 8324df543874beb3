"""scikit-learn's successive halving: HalvingRandomSearchCV with epochs as the resource."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any, Literal

from pydantic import Field

from ..core.encoding import Axes, Axis
from ..core.problem import Problem, Proposal, Trial, TrialId
from ..core.space import Config, Model
from ..core.study import Study
from .inversion import InvertedCall, Threaded
from .spec import MethodSpec


class HalvingSettings(Model):
    """HalvingRandomSearchCV's arguments of the same names with its defaults, and `resume` and `rounds`, which Tuneoff adds."""

    n_candidates: int | Literal["exhaust"] = Field(
        default="exhaust",
        description="Number of configurations per round; exhaust: such that the last rung trains for the full epochs.",
    )
    factor: float = Field(default=3, gt=1, le=100, description="Promote 1 of every factor candidates of a rung.")
    min_resources: int | Literal["smallest", "exhaust"] = Field(
        default="smallest",
        description="Epochs of the first rung; smallest: 1; exhaust: such that the last rung trains for the full epochs.",
    )
    aggressive_elimination: bool = Field(
        default=False, description="Repeat the first rung until the number of candidates fits the remaining rungs."
    )
    resume: bool = Field(
        default=False,
        description="Resume promoted trials from the rung below. scikit-learn itself trains them again from the start.",
    )
    rounds: int | None = Field(
        default=None, ge=1, description="Number of successive searches; null: until the budget is used up."
    )


def check(study: Study, settings: HalvingSettings) -> list[str]:
    """Refuse settings that scikit-learn would refuse at its start."""
    full = study.budget.epochs_per_trial
    if settings.n_candidates == settings.min_resources == "exhaust":
        return ["sklearn-halving: n_candidates and min_resources cannot both be exhaust: give one of them a number."]
    if isinstance(settings.min_resources, int) and not 1 <= settings.min_resources <= full:
        return [f"sklearn-halving: min_resources = {settings.min_resources} must be between 1 and epochs_per_trial = {full}."]
    if isinstance(settings.n_candidates, int) and settings.n_candidates < 1:
        return [f"sklearn-halving: n_candidates = {settings.n_candidates} must be at least 1, or exhaust."]
    return []


class Halving(Threaded):
    """Run HalvingRandomSearchCV in a thread. Each fit of an estimator is a trial.

    scikit-learn does not name a parent trial. The parent is the earlier trial of the same configuration.
    """

    Settings = HalvingSettings
    spec = MethodSpec(
        name="sklearn-halving",
        summary="Successive halving of random draws, with epochs as the resource: scikit-learn's HalvingRandomSearchCV.",
        source="Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, AISTATS 2016",
        when="To measure what users of scikit-learn get. Promoted trials train again from the start, unless resume is set.",
        framework="scikit-learn",
        package="sklearn",
        extra="grid",
        fidelity=True,
        warm_start=True,
        warm_start_optional=True,
    )
    check = staticmethod(check)

    def __init__(self, problem: Problem, settings: HalvingSettings) -> None:
        self._problem = problem
        self._settings = settings
        self._axes = Axes(problem.space)
        self._latest: dict[str, Trial] = {}  # of each configuration of the round that may still be promoted
        super().__init__("scikit-learn's HalvingRandomSearchCV", self._rounds)

    def resumable(self) -> set[TrialId]:
        """Return the last trials of the configurations in the last two rungs."""
        return {trial.id for trial in self._latest.values()} if self._settings.resume else set()

    def _rounds(self, loop: InvertedCall) -> str:
        import numpy as np

        draws = np.random.RandomState(self._problem.seed)
        done = 0
        while done != self._settings.rounds:
            self._latest.clear()
            self._round(loop, draws)
            done += 1
        return f"all {done} rounds of successive halving are complete"

    def _round(self, loop: InvertedCall, draws: Any) -> None:
        import numpy as np
        from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - the next import requires it
        from sklearn.model_selection import HalvingRandomSearchCV, PredefinedSplit

        settings = self._settings.model_dump(exclude={"resume", "rounds"})
        search = HalvingRandomSearchCV(
            _estimator(lambda places, epochs: self._fit(loop, places, epochs)),
            {axis.name: axis.places if axis.kind == "choice" else _Draw(axis) for axis in self._axes.axes},
            resource="epochs",
            max_resources=self._problem.max_epochs,
            cv=PredefinedSplit([-1, 0]),
            refit=False,
            error_score=math.nan,
            return_train_score=False,
            random_state=draws,
            **settings,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search.fit(np.zeros((2, 1)), np.zeros(2))

    def _fit(self, loop: InvertedCall, places: dict[str, Any], epochs: int) -> float:
        """Return the score of a configuration, higher is better. A failed trial has NaN, which scikit-learn ranks last."""
        config = self._axes.decode(places)
        self._keep_rung(epochs)
        trial = loop.train(self._proposal(config, epochs))
        assert trial.outcome is not None
        if trial.outcome.loss is None:
            return math.nan
        self._latest[_key(config)] = trial
        return -trial.outcome.loss

    def _keep_rung(self, epochs: int) -> None:
        """At the start of a new rung, keep only the trials of the rung below. Only they can be promoted."""
        highest = max((t.proposal.target_epoch for t in self._latest.values()), default=epochs)
        if epochs > highest:
            self._latest = {key: t for key, t in self._latest.items() if t.proposal.target_epoch == highest}

    def _proposal(self, config: Config, epochs: int) -> Proposal:
        earlier = self._latest.get(_key(config))
        resumes = self._settings.resume and earlier is not None and earlier.proposal.target_epoch < epochs
        return Proposal(config, epochs, earlier.id if earlier is not None and resumes else None)


def _key(config: Config) -> str:
    return json.dumps(dict(config))


class _Draw:
    """The distribution of a range for scikit-learn, which only calls `rvs`."""

    def __init__(self, axis: Axis) -> None:
        self._axis = axis

    def rvs(self, size: None = None, random_state: Any = None) -> Any:
        return self._axis.on_line(random_state.uniform(*self._axis.line))


def _estimator(fit: Any) -> Any:
    """Return an estimator whose parameters are places and epochs. Fitting it trains a trial."""
    from sklearn.base import BaseEstimator

    class Trained(BaseEstimator):  # type: ignore[misc]
        def __init__(self, **places: Any) -> None:
            self.places = places

        def get_params(self, deep: bool = True) -> dict[str, Any]:
            return dict(self.places)

        def set_params(self, **places: Any) -> Any:
            self.places |= places
            return self

        def fit(self, x: Any, y: Any) -> Any:
            places = dict(self.places)
            self.score_ = fit(places, int(places.pop("epochs")))
            return self

        def score(self, x: Any, y: Any) -> float:
            return float(self.score_)

    return Trained(epochs=1)
