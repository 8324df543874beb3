"""The registry: every search method of Tuneoff by name. A new method needs a class in this package and one line here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache

from ..core.errors import StudyError
from ..core.study import COLLECTED
from .spec import Algorithm, MethodSpec, load_class
from .user_method import is_own, own_method, registered

METHODS: dict[str, str] = {
    "sklearn-grid": "tuneoff.methods.grid:Grid",
    "sklearn-random": "tuneoff.methods.grid:Random",
    "sklearn-halving": "tuneoff.methods.sklearn_halving:Halving",
    "keras-tuner-random": "tuneoff.methods.keras_tuner:Random",
    "keras-tuner-hyperband": "tuneoff.methods.keras_tuner:Hyperband",
    "hyperband-2020": "tuneoff.methods.keras_tuner:Hyperband2020",
    "hyperband-fixed": "tuneoff.methods.hyperband_fixed:HyperbandFixed",
    "keras-tuner-bayes": "tuneoff.methods.keras_tuner:Bayes",
    "keras-tuner-grid": "tuneoff.methods.keras_tuner:Grid",
    "skopt-gp": "tuneoff.methods.skopt:Bayes",
    "skopt-forest": "tuneoff.methods.skopt:Forest",
    "skopt-gbrt": "tuneoff.methods.skopt:BoostedTrees",
    "hyperopt-tpe": "tuneoff.methods.hyperopt:Tpe",
    "hyperopt-anneal": "tuneoff.methods.hyperopt:Anneal",
    "hyperopt-random": "tuneoff.methods.hyperopt:Random",
    "optuna-tpe": "tuneoff.methods.optuna:Tpe",
    "optuna-tpe-classic": "tuneoff.methods.optuna:ClassicTpe",
    "optuna-cmaes": "tuneoff.methods.optuna:Cmaes",
    "optuna-tpe-hyperband": "tuneoff.methods.optuna:TpeHyperband",
    "optuna-asha": "tuneoff.methods.optuna:Asha",
    "optuna-random": "tuneoff.methods.optuna:Random",
    "catcma": "tuneoff.methods.cmaes:CatCma",
    "smac-bb": "tuneoff.methods.smac:BlackBox",
    "smac-mf": "tuneoff.methods.smac:MultiFidelity",
    "cqr": "tuneoff.methods.syne_tune:Cqr",
    "asha-cqr": "tuneoff.methods.syne_tune:AshaCqr",
    "bohb": "tuneoff.methods.syne_tune:Bohb",
    "dehb": "tuneoff.methods.dehb:Dehb",
    "nevergrad-ngopt": "tuneoff.methods.nevergrad:Nevergrad",
    "flaml-cfo": "tuneoff.methods.flaml_tune:Cfo",
    "flaml-blendsearch": "tuneoff.methods.flaml_tune:Blend",
    "ray-random": "tuneoff.methods.ray_tune:Random",
    "ray-asha": "tuneoff.methods.ray_tune:Asha",
    "ray-hyperband": "tuneoff.methods.ray_tune:Hyperband",
    "ray-pbt": "tuneoff.methods.ray_tune:Pbt",
    "ray-bayesopt": "tuneoff.methods.ray_tune:BayesOpt",
    "ray-hyperopt": "tuneoff.methods.ray_tune:Hyperopt",
    "flaml": "tuneoff.systems.flaml_automl:Flaml",
    "h2o-automl": "tuneoff.systems.h2o_automl:H2o",
    "autokeras": "tuneoff.systems.autokeras:AutoKeras",
    "ax": "tuneoff.methods.ax:Ax",
    "confopt": "tuneoff.methods.confopt:Confopt",
    "vizier-gp": "tuneoff.methods.vizier:Gp",
    "vizier-eagle": "tuneoff.methods.vizier:Eagle",
    "priorband": "tuneoff.methods.neps:PriorBand",
    "freeze-thaw": "tuneoff.methods.neps:FreezeThaw",
    "optuna-gp": "tuneoff.methods.optuna:Gp",
}
"""The module and class of each method. The class has the method's `spec`."""

SHORT = {"grid": "sklearn-grid", "random": "keras-tuner-random", "bayes": "skopt-gp", "hyperband": "keras-tuner-hyperband"}
"""Short names of the four methods of the paper."""

LONGEST_QUOTED = 60
"""Maximum number of characters of an unknown name that an error message quotes."""


class Registry(Mapping[str, MethodSpec]):
    """The specs of `METHODS` by name. A method's module is imported when its spec is first read; its framework is not."""

    def __getitem__(self, name: str) -> MethodSpec:
        return _spec(name, METHODS[name])

    def __iter__(self) -> Iterator[str]:
        return iter(METHODS)

    def __len__(self) -> int:
        return len(METHODS)

    def __contains__(self, name: object) -> bool:
        return name in METHODS


REGISTRY = Registry()


@cache
def _spec(name: str, target: str) -> MethodSpec:
    spec: MethodSpec = load_class(target).spec
    assert spec.name == name, f"{target} is registered as {name} and calls itself {spec.name}"
    return spec.with_target(target)


def names() -> list[str]:
    """Return all method names that a study file may use, short names first. A study file may also use `module:Class`."""
    return [*SHORT, *REGISTRY, *registered()]


def find(name: str) -> MethodSpec:
    """Return the spec of a method.

    Args:
        name: A name of the registry, a short name, the name of an entry point, or `module:Class`.

    Raises:
        StudyError: No method has this name, or the class that it names is not a method.
    """
    full = SHORT.get(name, name)
    if full in REGISTRY:
        return REGISTRY[full]
    if is_own(name):
        return own_method(name, name)
    if name in registered():
        return own_method(name, registered()[name])
    raise StudyError(f"{unknown(name)}.")


def unknown(name: str) -> str:
    """Return a message about an unknown method name, with similar names and without a full stop."""
    shown = name if len(name) <= LONGEST_QUOTED else name[: LONGEST_QUOTED - 1] + "…"
    near = get_close_matches(shown.lower(), names(), 3, 0.6)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    return f"{shown!r} is not a method{hint}: use a name that `tuneoff methods` lists, or module:Class for your own method"


def algorithm_of(name: str) -> Algorithm | None:
    """Return the algorithm of a method if several frameworks implement it, otherwise None."""
    full = SHORT.get(name, name)
    return REGISTRY[full].algorithm if full in REGISTRY else None


def is_random(name: str) -> bool:
    """Return whether a method draws configurations independently, without learning from earlier trials."""
    full = SHORT.get(name, name)
    return REGISTRY[full].is_random if full in REGISTRY else name == f"{COLLECTED}random"


def stand_ins(paper_method: str) -> list[str]:
    """Return the names of the methods that implement a method of the paper, the closest to the paper first."""
    ranks = {spec.name: spec.paper[1] for spec in REGISTRY.values() if spec.paper and spec.paper[0] == paper_method}
    short = {full: name for name, full in SHORT.items()}
    return [name for full in sorted(ranks, key=ranks.__getitem__) for name in (short.get(full), full) if name]
