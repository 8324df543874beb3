"""Katib's search algorithms: their engines, and what they can express."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..core.errors import StudyError
from ..core.space import Categorical, Float, Int
from ..core.study import Study
from ..methods.registry import REGISTRY, SHORT

Kind = Literal["categorical", "int", "int with log", "int with step", "float", "float with log", "float with step"]
KINDS: tuple[Kind, ...] = (
    *("categorical", "int", "int with log", "int with step"),
    *("float", "float with log", "float with step"),
)
"""The kinds of parameters that Katib's algorithms treat differently."""


@dataclass(frozen=True)
class Algorithm:
    """One of Katib's algorithms, and the parameters that its service cannot handle."""

    name: str
    engine: str  # the library that implements it
    short: str  # short name, used in an experiment's name
    cannot: Mapping[Kind, str] = field(default_factory=dict)  # kinds of parameters that it misinterprets, and how
    seeded: bool = True  # whether it accepts a random_state
    from_zero: bool = False  # whether it counts steps from 0 instead of from low


_SAMPLED_EVENLY = "samples it uniformly and ignores its distribution"
_NO_STEPS = "ignores steps"

ALGORITHMS: dict[str, Algorithm] = {
    a.name: a
    for a in (
        Algorithm(
            "random",
            "hyperopt",
            "random",
            from_zero=True,
        ),
        Algorithm("grid", "optuna", "grid"),
        Algorithm(
            "bayesianoptimization",
            "scikit-optimize",
            "bayes",
            {
                "int with log": _SAMPLED_EVENLY,
                "int with step": _NO_STEPS,
                "float": "searches every double on a logarithmic scale",
                "float with step": "ignores steps, and searches every double on a logarithmic scale",
            },
        ),
        Algorithm("tpe", "hyperopt", "tpe", from_zero=True),
        Algorithm("multivariate-tpe", "optuna", "mtpe"),
        Algorithm("cmaes", "goptuna", "cmaes", {"int with log": _SAMPLED_EVENLY, "float with log": _SAMPLED_EVENLY}),
        Algorithm(
            "sobol",
            "goptuna",
            "sobol",
            {
                "int": "never samples its highest value",
                "int with log": "never samples its highest value",
                "int with step": "never samples its highest value",
                "float with log": _SAMPLED_EVENLY,
            },
            seeded=False,
        ),
        Algorithm(
            "hyperband",
            "katib",
            "hb",
            {
                "int with log": _SAMPLED_EVENLY,
                "int with step": _NO_STEPS,
                "float with log": _SAMPLED_EVENLY,
                "float with step": _NO_STEPS,
            },
            seeded=False,
        ),
        Algorithm(
            "pbt",
            "katib",
            "pbt",
            {
                "int": "cannot parse the bounds of an int in its own output",
                "int with log": "cannot parse the bounds of an int in its own output",
                "int with step": "cannot parse the bounds of an int in its own output",
                "float": "needs a step for every double to sample its first values",
                "float with log": "needs a step for every double to sample its first values",
            },
            seeded=False,
        ),
    )
}
"""Katib's algorithms by name. The entries of `cannot` form a matrix algorithm × kind of parameter. A kind that an algorithm's
`cannot` does not list means the same in Katib as in the study."""


# Which algorithms


def algorithms_of(study: Study, named: tuple[str, ...]) -> list[Algorithm]:
    """Return the named algorithms or, if none is named, the counterparts of the study's methods.

    Raises:
        StudyError: A method of the study has no counterpart in Katib.
    """
    if named:
        return [ALGORITHMS[name] for name in dict.fromkeys(named)]
    counterparts = {spec.name: ALGORITHMS[name] for spec in REGISTRY.values() for name in spec.katib}
    lacking = [m.label for m in study.methods if SHORT.get(m.name, m.name) not in counterparts]
    if lacking:
        raise StudyError(
            f"{', '.join(lacking)}: Katib has no counterpart of this method. Remove it from the study,"
            f" or choose Katib's algorithms with --algorithm ({', '.join(ALGORITHMS)})."
        )
    return list({a.name: a for m in study.methods for a in [counterparts[SHORT.get(m.name, m.name)]]}.values())


# What Katib cannot express


def kind_of(parameter: Categorical | Int | Float) -> Kind:
    """Return the parameter's kind for Katib. An int with a step of 1 counts as an int without a step."""
    if isinstance(parameter, Categorical):
        return "categorical"
    base: Literal["int", "float"] = "int" if isinstance(parameter, Int) else "float"
    if parameter.log:
        return f"{base} with log"  # type: ignore[return-value]
    stepped = parameter.step is not None and not (isinstance(parameter, Int) and parameter.step == 1)
    return f"{base} with step" if stepped else base  # type: ignore[return-value]
