"""scikit-optimize's Optimizer: Bayesian optimisation with a Gaussian process, a random forest or boosted trees."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ..core.encoding import Axes, Axis
from ..core.problem import Done, Epoch, Problem, Proposal, Trial, TrialId
from ..core.space import Config, Model
from .spec import Algorithm, FailedRule, MethodSpec


class BayesSettings(Model):
    """skopt.Optimizer's arguments of the same names. acq_func is EI by default, because skopt's default gp_hedge is slower."""

    acq_func: Literal["EI", "LCB", "PI", "gp_hedge"] = Field(default="EI", description="Acquisition function.")
    n_initial_points: int = Field(default=10, ge=1, le=10_000, description="Number of configurations before the model proposes.")
    initial_point_generator: Literal["random", "sobol", "halton", "hammersly", "lhs"] = Field(
        default="random", description="Generator of these configurations."
    )
    xi: float = Field(default=0.01, ge=0, description="Minimum improvement that EI and PI aim for.")
    kappa: float = Field(default=1.96, ge=0, description="Weight of exploration in LCB.")


class ForestSettings(BayesSettings):
    """Arguments of skopt.Optimizer, and the kind of forest."""

    base_estimator: Literal["ET", "RF"] = Field(default="ET", description="Extra trees (ET) or a random forest (RF).")


class _Optimizer:
    """Ask and tell with skopt.Optimizer.

    skopt does not support conditions: it receives the lowest value of inactive parameters.
    """

    def __init__(self, problem: Problem, settings: BayesSettings, base_estimator: Any) -> None:
        from skopt import Optimizer

        self._axes = Axes(problem.space)
        self._problem = problem
        self._open: dict[TrialId, list[Any]] = {}
        self._asks = 0
        self._optimizer = Optimizer(
            [_dimension(axis) for axis in self._axes.axes],
            base_estimator=base_estimator,
            acq_func=settings.acq_func,
            acq_func_kwargs={"xi": settings.xi, "kappa": settings.kappa},
            n_initial_points=settings.n_initial_points,
            initial_point_generator=settings.initial_point_generator,
            random_state=problem.seed,
        )

    def ask(self) -> Proposal | Done:
        point = self._ask()
        config = self._axes.decode(dict(zip((axis.name for axis in self._axes.axes), point, strict=True)))
        self._open[self._asks] = self._point(config)
        self._asks += 1
        return Proposal(config, self._problem.max_epochs)

    def _ask(self) -> list[Any]:
        """Return skopt's next point.

        With trials in flight, the point comes from a copy that assumes the best loss for each of them (a constant liar). skopt
        makes batches in the same way. A trial that failed before the first loss is never told. It counts as in flight until the
        first loss, so that a fixed sequence of initial points continues.
        """
        while self._optimizer.yi and len(self._open) >= self._problem.in_flight:
            self._open.pop(min(self._open))
        if not self._open:
            return list(self._optimizer.ask())
        copy = self._optimizer.copy(random_state=self._optimizer.rng.randint(2**31 - 1))
        best = min(self._optimizer.yi, default=0.0)
        copy.tell(list(self._open.values()), [best] * len(self._open))
        return list(copy.ask())

    def tell(self, trial: Trial) -> None:
        assert trial.outcome is not None
        self._open.pop(trial.id, None)
        self._optimizer.tell(self._point(trial.proposal.config), trial.outcome.loss)

    def _point(self, config: Config) -> list[Any]:
        return list(self._axes.encode(config).values())

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


class Bayes(_Optimizer):
    """Search with a Gaussian process, as in skopt.gp_minimize."""

    Settings = BayesSettings
    spec = MethodSpec(
        name="skopt-gp",
        algorithm=Algorithm.GAUSSIAN_PROCESS,
        katib=("bayesianoptimization",),
        paper=("bayes", 1),
        slow=True,
        summary="A Gaussian process and expected improvement: scikit-optimize's gp_minimize.",
        source="Jones, Schonlau and Welch, Efficient global optimization, Journal of Global Optimization 13, 1998",
        when="For few, expensive trials (up to about a hundred). The model's time grows with the cube of their number.",
        framework="scikit-optimize",
        package="skopt",
        extra="skopt",
        failed=FailedRule.PENALTY,
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: BayesSettings) -> None:
        super().__init__(problem, settings, "GP")


class Forest(_Optimizer):
    """Search with a forest, as in skopt.forest_minimize."""

    Settings = ForestSettings
    spec = MethodSpec(
        name="skopt-forest",
        slow=True,
        summary="Extra trees (or a random forest) and expected improvement: scikit-optimize's forest_minimize.",
        source="Hutter, Hoos and Leyton-Brown, Sequential model-based optimization (SMAC), LION 5, 2011",
        when="For many categories and more trials than a Gaussian process can model.",
        framework="scikit-optimize",
        package="skopt",
        extra="skopt",
        failed=FailedRule.PENALTY,
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: ForestSettings) -> None:
        super().__init__(problem, settings, settings.base_estimator)


class BoostedTrees(_Optimizer):
    """Search with gradient-boosted quantile trees, as in skopt.gbrt_minimize."""

    Settings = BayesSettings
    spec = MethodSpec(
        name="skopt-gbrt",
        slow=True,
        summary="Boosted quantile trees and expected improvement: scikit-optimize's gbrt_minimize.",
        source="scikit-optimize, skopt.gbrt_minimize",
        when="Like skopt-forest, but for noisy losses: it models quantiles instead of a mean.",
        framework="scikit-optimize",
        package="skopt",
        extra="skopt",
        failed=FailedRule.PENALTY,
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: BayesSettings) -> None:
        super().__init__(problem, settings, _quantile_trees(problem.seed))


def _quantile_trees(seed: int) -> Any:
    """Return skopt's "GBRT" estimator with fixes for scikit-learn 1.7 and numpy 2.4.

    scikit-optimize 0.10.2 does not work with these releases.
    """
    import numpy as np
    from skopt.learning import gbrt

    class Trees(gbrt.GradientBoostingQuantileRegressor):  # type: ignore[misc]
        def __sklearn_tags__(self) -> Any:
            # Because of the order of the class's bases, scikit-learn does not recognise a regressor.
            tags = super().__sklearn_tags__()
            tags.estimator_type = "regressor"
            return tags

    if not hasattr(np, "in1d"):  # skopt's predict calls it, and numpy 2.4 has only isin
        np.in1d = np.isin  # type: ignore[attr-defined]
    trees = gbrt.GradientBoostingRegressor(n_estimators=30, loss="quantile")
    return Trees(base_estimator=trees, random_state=seed)


def _dimension(axis: Axis) -> Any:
    from skopt.space import Categorical, Integer, Real

    if axis.kind == "choice":
        return Categorical(axis.places, name=axis.name)
    prior = "log-uniform" if axis.log else "uniform"
    return (Real if axis.kind == "float" else Integer)(axis.low, axis.high, prior=prior, name=axis.name)
