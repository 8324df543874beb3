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
        MethodSpec(
            name="hyperopt-tpe",
            target="hyperopt:Tpe",
            settings="hyperopt:TpeSettings",
            summary="A tree-structured Parzen estimator that knows which parameters are active: hyperopt's tpe.suggest.",
            source="Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 24, 2011",
            when="To compare with older work: the implementation that made TPE known.",
            framework="hyperopt",
            package="hyperopt",
            extra="hyperopt",
            parallel=True,
        ),
        MethodSpec(
            name="hyperopt-anneal",
            target="hyperopt:Anneal",
            settings="hyperopt:AnnealSettings",
            summary="Draws around one of the best trials, ever closer: hyperopt's anneal.suggest.",
            source="hyperopt, hyperopt.anneal",
            when="The space is smooth and the budget small; it is quick and simple.",
            framework="hyperopt",
            package="hyperopt",
            extra="hyperopt",
            parallel=True,
        ),
        MethodSpec(
            name="hyperopt-random",
            target="hyperopt:Random",
            settings="hyperopt:RandomSettings",
            summary="Independent draws, repeats included: hyperopt's rand.suggest.",
            source="Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012",
            when="As the baseline of hyperopt's other algorithms.",
            framework="hyperopt",
            package="hyperopt",
            extra="hyperopt",
            parallel=True,
        ),
        # Optuna
        MethodSpec(
            name="optuna-tpe",
            target="optuna:Tpe",
            settings="optuna:TpeSettings",
            summary="A tree-structured Parzen estimator over all parameters jointly: Optuna 5's default sampler.",
            source="Watanabe, Tree-structured Parzen estimator: understanding its algorithm components, 2023",
            when="As the first thing to try: quick, at home in mixed and conditional spaces, used to trials in flight.",
            framework="optuna",
            package="optuna",
            extra="optuna",
            parallel=True,
        ),
        MethodSpec(
            name="optuna-tpe-classic",
            target="optuna:ClassicTpe",
            settings="optuna:ClassicSettings",
            summary="A Parzen estimator for each parameter by itself: Optuna's default sampler up to version 4.",
            source="Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 24, 2011",
            when="To compare with results of Optuna 4 and before.",
            framework="optuna",
            package="optuna",
            extra="optuna",
            parallel=True,
        ),
        MethodSpec(
            name="optuna-cmaes",
            target="optuna:Cmaes",
            settings="optuna:CmaesSettings",
            summary="Covariance matrix adaptation over the numbers of the space; categories are drawn at random.",
            source="Hansen, The CMA evolution strategy: a tutorial, 2016",
            when="Most parameters are numbers without conditions, and there are hundreds of trials.",
            framework="optuna",
            package="optuna",
            extra="optuna",
            parallel=True,
            beats_random=False,
        ),
        MethodSpec(
            name="optuna-tpe-hyperband",
            target="optuna:TpeHyperband",
            settings="optuna:HyperbandSettings",
            summary="TPE whose hopeless trials are stopped by Hyperband's brackets: Optuna's HyperbandPruner.",
            source="Falkner, Klein and Hutter, BOHB, ICML 35, 2018",
            when="Early epochs tell good from bad; a stopped trial is never taken up again.",
            framework="optuna",
            package="optuna",
            extra="optuna",
            check="optuna:check_pruner",
            stop_rule=True,
            parallel=True,
        ),
        MethodSpec(
            name="optuna-asha",
            target="optuna:Asha",
            settings="optuna:AshaSettings",
            summary="Random draws whose trials are stopped after each rung unless among the best: SuccessiveHalvingPruner.",
            source="Li et al., A system for massively parallel hyperparameter tuning, MLSys 2, 2020",
            when="Many short trials, side by side; a stopped trial is never taken up again.",
            framework="optuna",
            package="optuna",
            extra="optuna",
            check="optuna:check_pruner",
            stop_rule=True,
            parallel=True,
        ),
        MethodSpec(
            name="optuna-random",
            target="optuna:Random",
            settings="optuna:RandomSettings",
            summary="Independent draws, repeats included: Optuna's RandomSampler.",
            source="Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012",
            when="As the baseline of Optuna's other samplers.",
            framework="optuna",
            package="optuna",
            extra="optuna",
            parallel=True,
        ),
        # cmaes
        # SMAC3
        MethodSpec(
            name="smac-bb",
            target="smac:BlackBox",
            settings="smac:BlackBoxSettings",
            summary="A Gaussian process with a kernel for categories, and expected improvement: SMAC3's BlackBoxFacade.",
            source="Lindauer et al., SMAC3: a versatile Bayesian optimization package, JMLR 23, 2022",
            when="Trials are dear and few, and the space has conditions that the model should know.",
            framework="smac",
            package="smac",
            extra="smac",
            parallel=True,
        ),
        MethodSpec(
            name="smac-mf",
            target="smac:MultiFidelity",
            settings="smac:MultiFidelitySettings",
            summary="Hyperband whose configurations a random forest proposes: SMAC3's MultiFidelityFacade.",
            source="Lindauer et al., SMAC3: a versatile Bayesian optimization package, JMLR 23, 2022",
            when="Few epochs already tell good configurations from bad ones, and the budget holds several dozen full trainings.",
            framework="smac",
            package="smac",
            extra="smac",
            fidelity=True,
            warm_start=True,
            parallel=True,
        ),
        # Syne Tune
        MethodSpec(
            name="cqr",
            target="syne_tune:Cqr",
            settings="syne_tune:CqrSettings",
            summary="Boosted trees for quantiles, made honest by conformal prediction: Syne Tune's CQR.",
            source="Salinas et al., Optimizing hyperparameters with conformal quantile regression, ICML 40, 2023",
            when="The noise differs across the space, or losses are far from normally distributed.",
            framework="syne-tune",
            package="syne_tune",
            extra="syne-tune",
            parallel=True,
        ),
        MethodSpec(
            name="asha-cqr",
            target="syne_tune:AshaCqr",
            settings="syne_tune:AshaCqrSettings",
            summary="CQR's configurations, hopeless ones stopped by asynchronous halving: Syne Tune's ASHACQR.",
            source="Salinas et al., Optimizing hyperparameters with conformal quantile regression, ICML 40, 2023",
            when="Early epochs tell good from bad; a stopped trial is never taken up again.",
            framework="syne-tune",
            package="syne_tune",
            extra="syne-tune",
            check="syne_tune:check_asha",
            stop_rule=True,
            parallel=True,
        ),
        MethodSpec(
            name="bohb",
            target="syne_tune:Bohb",
            settings="syne_tune:BohbSettings",
            summary="Density estimates of good and bad configurations, with asynchronous halving: Syne Tune's BOHB.",
            source="Falkner, Klein and Hutter, BOHB: robust and efficient hyperparameter optimization at scale, ICML 35, 2018",
            when="As the well-known mixture of Hyperband and model; this one stops trials where the paper's pauses them.",
            framework="syne-tune",
            package="syne_tune",
            extra="syne-tune",
            check="syne_tune:check_bohb",
            stop_rule=True,
            parallel=True,
        ),
        # DEHB
        MethodSpec(
            name="dehb",
            target="dehb:Dehb",
            settings="dehb:DehbSettings",
            summary="Differential evolution over Hyperband's rungs: DEHB.",
            source="Awad, Mallik and Hutter, DEHB: evolutionary Hyperband for scalable, robust and efficient HPO, IJCAI 30, 2021",
            when="Early epochs tell good from bad, the space is large, and the method itself should cost next to nothing.",
            framework="dehb",
            package="dehb",
            extra="dehb",
            check="dehb:check",
            fidelity=True,
            warm_start=True,
            parallel=True,
        ),
        # Nevergrad
        # FLAML
        # Ray Tune
        # Systems that train models of their own
        # In environments of their own
        MethodSpec(
            name="optuna-gp",
            target="optuna:Gp",
            settings="optuna:GpSettings",
            summary="A Gaussian process and log expected improvement: Optuna's GPSampler.",
            source="Ament et al., Unexpected improvements to expected improvement for Bayesian optimization, NeurIPS 36, 2023",
            when="Trials are dear and few, and torch may be installed.",
            framework="optuna",
            package="torch",
            extra="torch",
            environment="torch",
            parallel=True,
        ),
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
