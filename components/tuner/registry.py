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
        # DEHB
        # Nevergrad
        # FLAML
        # Ray Tune
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
