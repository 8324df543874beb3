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
        # Systems that train models of their own
        # In environments of their own
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
