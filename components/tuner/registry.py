"""Every search method by name. Imports no framework. A new method is one file in methods/ and one line here."""

from __future__ import annotations

from ..core.errors import StudyError
from .spec import FailedRule, MethodSpec

REGISTRY: dict[str, MethodSpec] = {
    spec.name: spec
    for spec in (
        # scikit-learn
        MethodSpec(
            name="sklearn-grid",
            target="grid:Grid",
            settings="grid:GridSettings",
            summary="All combinations of the space's levels, in scikit-learn's order or shuffled by the seed.",
            source="scikit-learn, sklearn.model_selection.ParameterGrid",
            when="The space is small and every corner of it must be seen; shuffled where the budget ends before the grid does.",
            framework="scikit-learn",
            package="sklearn",
            extra="grid",
            check="grid:check",
            failed=FailedRule.UNTOLD,
            beats_random=False,
        ),
        MethodSpec(
            name="sklearn-halving",
            target="sklearn_halving:Halving",
            settings="sklearn_halving:HalvingSettings",
            summary="Successive halving of random draws with epochs as the resource: scikit-learn's HalvingRandomSearchCV.",
            source="Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, AISTATS 2016",
            when="To see what scikit-learn's users get; it fits a promoted configuration anew, unless resume is set.",
            framework="scikit-learn",
            package="sklearn",
            extra="grid",
            check="sklearn_halving:check",
            fidelity=True,
            warm_start=True,
        ),
        # KerasTuner
        MethodSpec(
            name="keras-tuner-random",
            target="keras_tuner:Random",
            settings="keras_tuner:RandomSettings",
            summary="Independent draws without repeats: KerasTuner's RandomSearch oracle.",
            source="Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012",
            when="As the baseline that every other method has to beat.",
            framework="keras-tuner",
            package="keras_tuner",
            extra="keras-tuner",
        ),
        MethodSpec(
            name="keras-tuner-hyperband",
            target="keras_tuner:Hyperband",
            settings="keras_tuner:HyperbandSettings",
            summary="Successive halving over several brackets: KerasTuner's Hyperband oracle, exactly as it ships.",
            source="Li et al., Hyperband, JMLR 18, 2018",
            when="To see what KerasTuner's users get; its promotions drop the optimizer's state.",
            framework="keras-tuner",
            package="keras_tuner",
            extra="keras-tuner",
            fidelity=True,
            warm_start=True,
        ),
        # scikit-optimize
        MethodSpec(
            name="skopt-gp",
            target="skopt:Bayes",
            settings="skopt:BayesSettings",
            summary="A Gaussian process and expected improvement: scikit-optimize's Optimizer.",
            source="Jones, Schonlau and Welch, Efficient global optimization, Journal of Global Optimization 13, 1998",
            when="Trials are dear and few (up to about a hundred): the model's own time grows with their cube.",
            framework="scikit-optimize",
            package="skopt",
            extra="skopt",
            failed=FailedRule.PENALTY,
        ),
        # hyperopt
        # Optuna
        # cmaes
        # SMAC3
        # Syne Tune
        # DEHB
        # Nevergrad
        # FLAML
        # Ray Tune
        MethodSpec(
            name="ray-random",
            target="ray_tune:Random",
            settings="ray_tune:RandomSettings",
            summary="Independent draws: Ray Tune's BasicVariantGenerator, run by Ray.",
            source="Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012",
            when="As the baseline of Ray Tune's other methods: it shows what running under Ray costs.",
            framework="ray",
            package="ray",
            extra="ray",
            beats_random=False,
        ),
        MethodSpec(
            name="ray-asha",
            target="ray_tune:Asha",
            settings="ray_tune:AshaSettings",
            summary="Random draws of which the worse are stopped at rungs: Ray Tune's ASHAScheduler, run by Ray.",
            source="Li et al., A system for massively parallel hyperparameter tuning, MLSys 2020",
            when="Bad configurations show early; with one trial at a time it never waits for a rung to fill.",
            framework="ray",
            package="ray",
            extra="ray",
            check="ray_tune:check_asha",
            stop_rule=True,
        ),
        MethodSpec(
            name="ray-hyperband",
            target="ray_tune:Hyperband",
            settings="ray_tune:HyperbandSettings",
            summary="Successive halving over several brackets, paused and continued: Ray Tune's HyperBandScheduler, run by Ray.",
            source="Li et al., Hyperband, JMLR 18, 2018",
            when="As keras-tuner-hyperband, where continued trials should keep their optimizer's state.",
            framework="ray",
            package="ray",
            extra="ray",
            fidelity=True,
            warm_start=True,
        ),
        MethodSpec(
            name="ray-pbt",
            target="ray_tune:Pbt",
            settings="ray_tune:PbtSettings",
            summary="A population whose worst copy the best one's weights and change: Ray Tune's PopulationBasedTraining.",
            source="Jaderberg et al., Population based training of neural networks, arXiv:1711.09846, 2017",
            when="A schedule of learning rate or dropout is worth more than one good value.",
            framework="ray",
            package="ray",
            extra="ray",
            check="ray_tune:check_pbt",
            fidelity=True,
            warm_start=True,
            mutates=True,
        ),
        MethodSpec(
            name="ray-bayesopt",
            target="ray_tune:BayesOpt",
            settings="ray_tune:BayesSettings",
            summary="A Gaussian process over real numbers and an upper confidence bound: Ray Tune's BayesOptSearch, run by Ray.",
            source="Nogueira, bayesian-optimization, 2014; Srinivas et al., Gaussian process optimization, ICML 2010",
            when="Most parameters are real numbers; categories and steps are rounded from a stretch of them.",
            framework="ray",
            package="ray",
            extra="ray",
        ),
        MethodSpec(
            name="ray-hyperopt",
            target="ray_tune:Hyperopt",
            settings="ray_tune:HyperoptSettings",
            summary="A tree of Parzen estimators: hyperopt's TPE as Ray Tune's HyperOptSearch wraps it, run by Ray.",
            source="Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 2011",
            when="To see what Ray Tune's wrapper makes of hyperopt; conditions are not told to it.",
            framework="ray",
            package="ray",
            extra="ray",
        ),
        # Systems that train models of their own
        # In environments of their own
    )
}

SHORT = {"grid": "sklearn-grid", "random": "keras-tuner-random", "bayes": "skopt-gp", "hyperband": "keras-tuner-hyperband"}
"""Short names of the paper's four methods."""


def names() -> list[str]:
    """All names that a study file may give a method, the short ones first."""
    return [*SHORT, *REGISTRY]


def find(name: str) -> MethodSpec:
    """The registry line of a method; StudyError with those that there are where there is none."""
    full = SHORT.get(name, name)
    if full in REGISTRY:
        return REGISTRY[full]
    raise StudyError(f"{name!r} is no method: choose one of {', '.join(names())}.")
