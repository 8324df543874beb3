"""Every search method by name. Imports no framework. A new method is one file in methods/ and one line here."""

from __future__ import annotations

from difflib import get_close_matches

from ..core.errors import StudyError
from .own import is_own, own_method, registered
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
            name="sklearn-random",
            target="grid:Random",
            settings="grid:RandomSettings",
            summary="Independent draws: scikit-learn's ParameterSampler. Without repeats where no parameter is a range.",
            source="Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012",
            when="As a baseline: what RandomizedSearchCV draws.",
            framework="scikit-learn",
            package="sklearn",
            extra="grid",
            failed=FailedRule.UNTOLD,
            parallel=True,
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
            parallel=True,
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
            parallel=True,
        ),
        MethodSpec(
            name="keras-tuner-bayes",
            target="keras_tuner:Bayes",
            settings="keras_tuner:BayesSettings",
            summary="A Gaussian process and a lower confidence bound: KerasTuner's BayesianOptimization oracle.",
            source="Snoek, Larochelle and Adams, Practical Bayesian optimization, NeurIPS 25, 2012",
            when="To see what KerasTuner's users get; it is slow beside the other Gaussian processes.",
            parallel=True,
            framework="keras-tuner",
            package="keras_tuner",
            extra="keras-tuner",
        ),
        MethodSpec(
            name="keras-tuner-grid",
            target="keras_tuner:Grid",
            settings="keras_tuner:GridSettings",
            summary="All combinations of the space's levels, the last parameter changing first: KerasTuner's GridSearch oracle.",
            source="KerasTuner, keras_tuner.oracles.GridSearchOracle",
            when="To compare with KerasTuner's own grid; the order is fixed, and a part of it stays in its first corner.",
            check="keras_tuner:check_grid",
            parallel=True,
            beats_random=False,
            framework="keras-tuner",
            package="keras_tuner",
            extra="keras-tuner",
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
            parallel=True,
        ),
        MethodSpec(
            name="skopt-forest",
            target="skopt:Forest",
            settings="skopt:ForestSettings",
            summary="Extra trees (or a random forest) and expected improvement: scikit-optimize's forest_minimize.",
            source="Hutter, Hoos and Leyton-Brown, Sequential model-based optimization (SMAC), LION 5, 2011",
            when="Many categories, and more trials than a Gaussian process can take.",
            framework="scikit-optimize",
            package="skopt",
            extra="skopt",
            failed=FailedRule.PENALTY,
            parallel=True,
        ),
        MethodSpec(
            name="skopt-gbrt",
            target="skopt:BoostedTrees",
            settings="skopt:BayesSettings",
            summary="Boosted quantile trees and expected improvement: scikit-optimize's gbrt_minimize.",
            source="scikit-optimize, skopt.gbrt_minimize",
            when="As skopt-forest, where the losses are noisy: it models quantiles, not a mean.",
            framework="scikit-optimize",
            package="skopt",
            extra="skopt",
            failed=FailedRule.PENALTY,
            parallel=True,
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
        MethodSpec(
            name="catcma",
            target="cmaes:CatCma",
            settings="cmaes:CatCmaSettings",
            summary="An evolution strategy over categories, whole and real numbers at once: cmaes' CatCMAwM.",
            source="Hamano et al., CatCMA with margin, GECCO 2025",
            when="Hundreds of trials in a mixed space, a generation of them side by side.",
            framework="cmaes",
            package="cmaes",
            extra="cmaes",
            check="cmaes:check",
            parallel=True,
            beats_random=False,
        ),
        # SMAC3
        # Syne Tune
        # DEHB
        # Nevergrad
        MethodSpec(
            name="nevergrad-ngopt",
            target="nevergrad:Nevergrad",
            settings="nevergrad:NevergradSettings",
            summary="Nevergrad's NGOpt, which chooses an algorithm by space and budget; or one of five others by name.",
            source="Bennet et al., Nevergrad: black-box optimization platform, SIGEVOlution 14, 2021",
            when="There are hundreds of trials, and no model of the space is wanted.",
            framework="nevergrad",
            package="nevergrad",
            extra="nevergrad",
            failed=FailedRule.PENALTY,
            parallel=True,
            beats_random=False,
        ),
        # FLAML
        MethodSpec(
            name="flaml-cfo",
            target="flaml_tune:Cfo",
            settings="flaml_tune:FlamlSettings",
            summary="A local search that starts again where it gets stuck: FLAML's CFO.",
            source="Wu, Wang and Huang, Frugal optimization for cost-related hyperparameters, AAAI 35, 2021",
            when="A cheap configuration is known to start from, and the way from there is smooth.",
            framework="flaml",
            package="flaml",
            extra="flaml",
            check="flaml_tune:check",
            parallel=True,
            beats_random=False,
        ),
        MethodSpec(
            name="flaml-blendsearch",
            target="flaml_tune:Blend",
            settings="flaml_tune:FlamlSettings",
            summary="Local searches that a global one (Optuna's TPE) starts: FLAML's BlendSearch.",
            source="Wang, Wu, Huang and Saied, Economical hyperparameter optimization with blended search strategy, ICLR 2021",
            when="As flaml-cfo, where the space has several good regions.",
            framework="flaml",
            package="flaml",
            extra="flaml",
            check="flaml_tune:check",
            parallel=True,
            beats_random=False,
        ),
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


LONGEST = 60
"""So much of an unknown name is quoted."""


def names() -> list[str]:
    """All names that a study file may give a method, the short ones first; beside them, module:Class."""
    return [*SHORT, *REGISTRY, *registered()]


def find(name: str) -> MethodSpec:
    """What is known of a method: a registry line, an entry point's class, or module:Class. StudyError where there is none."""
    full = SHORT.get(name, name)
    if full in REGISTRY:
        return REGISTRY[full]
    if is_own(name):
        return own_method(name, name)
    if name in registered():
        return own_method(name, registered()[name])
    raise StudyError(f"{unknown(name)}.")


def unknown(name: str) -> str:
    """A clause for a name that is none, with those that are near."""
    shown = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
    near = get_close_matches(shown.lower(), names(), 3, 0.6)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    return f"{shown!r} is no method{hint}: `tuneoff methods` lists them, and module:Class names one of your own"
