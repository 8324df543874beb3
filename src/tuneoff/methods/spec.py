"""What is known of a search method before its framework is imported: what it is, what it can do, where its code lies."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel

from ..core.metrics import direction_of
from ..core.problem import Method, Problem
from ..core.runtime.extras import importable
from ..core.runtime.images import MAIN
from ..core.space import Categorical, Model, Space
from ..core.study import Study

if TYPE_CHECKING:
    from ..systems.protocol import System


class FailedRule(StrEnum):
    """How a method hears of a trial that failed or diverged."""

    TOLD = "told"  # as it is: the framework has a notion of failed trials
    PENALTY = "penalty"  # as completed, with the worst loss that the search has seen; not at all while it has seen none
    UNTOLD = "untold"  # not at all


class Determinism(StrEnum):
    """When the same seed gives the same proposals in another process."""

    EXACT = "exact"
    ONE_WORKER = "with one worker only"
    NO = "no"


class Algorithm(StrEnum):
    """An algorithm that several frameworks implement. The report compares the implementations."""

    RANDOM_SEARCH = "random search"
    GAUSSIAN_PROCESS = "Gaussian process"
    TPE = "TPE"
    HYPERBAND = "Hyperband"
    ASHA = "successive halving, asynchronous"


PaperMethod = Literal["grid", "random", "bayes", "hyperband"]


class NoSettings(Model):
    """The settings of a method without any."""


@dataclass(frozen=True)
class MethodSpec:
    """Everything that Tuneoff knows of a search method before its framework is imported.

    A method's class declares it as the class attribute `spec`. Next to it the class may have `Settings`, a pydantic model
    whose fields all have defaults, and `check`, a static method that takes the study and the settings and returns sentences
    that say why this method cannot do this study.
    """

    name: str = ""
    summary: str = ""
    source: str = ""  # the paper or documentation of the algorithm
    when: str = ""  # when to choose it
    framework: str = ""  # the distribution whose algorithm it is
    package: str = ""  # what is imported to find out whether it is installed
    extra: str = ""  # pip install 'tuneoff[extra]'
    target: str = ""  # "module:Class"; the registry fills it in
    user_defined: bool = False  # the class is the user's own
    kind: Literal["search", "system"] = "search"  # a system trains models of its own: its class is a System, not a Method
    program: str | None = None  # a program that it runs besides its package, such as java
    environment: str = MAIN  # the virtual environment that holds it, if its framework conflicts with the others
    algorithm: Algorithm | None = None  # set if several frameworks implement it
    is_random: bool = False  # draws configurations independently, without learning from earlier trials
    katib: tuple[str, ...] = ()  # Katib's names of this algorithm
    paper: tuple[PaperMethod, int] | None = None  # the paper's method that it stands for, and its rank among the stand-ins
    process_per_search: bool = False  # a process can start the framework only once
    slow: bool = False  # takes a second or more to propose a configuration
    fidelity: bool = False  # asks for less than the full epochs
    warm_start: bool = False  # resumes trials: their weights are kept
    warm_start_optional: bool = False  # warm start is off unless the settings enable it
    mutates: bool = False  # a trial that resumes another may have another configuration
    stop_rule: bool = False  # decides after every epoch whether training continues
    conditional: bool = True  # supports conditional parameters
    log: bool = True  # supports logarithmic scales
    step: bool = True  # supports steps
    parallel: bool = False  # may have several trials in flight
    failed: FailedRule = FailedRule.TOLD
    exact_replay: bool = True  # resumes by repeating its asks; otherwise it is told its record as observations
    determinism: Determinism = Determinism.EXACT
    beats_random: bool = True  # claims to be at least as good as random search within the contract's budget

    def with_target(self, target: str) -> MethodSpec:
        """Return this spec, bound to the class that `target` names."""
        return replace(self, target=target)

    @property
    def installed(self) -> bool:
        """Whether its framework can be imported here, and what it runs is found; imports nothing."""
        return importable(self.package) and (self.program is None or shutil.which(self.program) is not None)

    @property
    def remedy(self) -> str:
        """The command that installs it."""
        command = f"pip install 'tuneoff[{self.extra}]'"
        if self.program is not None and importable(self.package):
            return f"install what brings the program {self.program}, so that it is found in PATH"
        if self.environment == MAIN:
            return command
        return f"make setup-{self.environment}, or {command} in a virtual environment of its own"

    @property
    def version(self) -> str | None:
        """The installed framework's version."""
        try:
            return metadata.version(self.framework)
        except metadata.PackageNotFoundError:
            return None

    def settings_model(self) -> type[BaseModel]:
        """Return the pydantic model of the method's settings."""
        return cast(type[BaseModel], getattr(load_class(self.target), "Settings", NoSettings))

    def refusals(self, study: Study, settings: BaseModel) -> list[str]:
        """Sentences that say why the method cannot do this study; empty where it can."""
        check = getattr(load_class(self.target), "check", None)
        own = list(check(study, settings)) if check else []
        if self.kind == "system":
            return own or self._unfit(study)
        return [*(own or self._unknown(study.space)), *self._crowded(study)]

    def _crowded(self, study: Study) -> list[str]:
        """Whether the study has more trials in flight than the method can ask for."""
        if self.parallel or study.budget.in_flight == 1:
            return []
        return [f"{self.name} asks for one trial at a time, and budget.in_flight = {study.budget.in_flight} wants more."]

    def _unfit(self, study: Study) -> list[str]:
        """Why a system cannot do this study."""
        said = []
        if study.budget.seconds is None:
            said.append(f"{self.name} trains models of its own, whose epochs compare with nobody's: give budget.seconds.")
        if study.split.folds is not None:
            said.append(
                f"{self.name} trains models of its own, without cross-validation: give split.validation, not split.folds."
            )
        natural = direction_of(study.objective.metric)
        if study.objective.direction not in (None, natural):
            said.append(f"{self.name} takes {study.objective.metric} with the direction {natural} alone.")
        return said

    def _unknown(self, space: Space) -> list[str]:
        """What the space has that the method's spec does not know."""
        ranges = {name: p for name, p in space.items() if not isinstance(p, Categorical)}
        found = {
            "conditional parameters (when)": [] if self.conditional else [name for name, p in space.items() if p.when],
            "logarithmic scales (log)": [] if self.log else [name for name, p in ranges.items() if p.log],
            "steps (step)": [] if self.step else [name for name, p in ranges.items() if p.step is not None],
        }
        return [f"{self.name} knows no {what}, and {', '.join(named)} would need them." for what, named in found.items() if named]

    def build(self, problem: Problem, settings: dict[str, Any]) -> Method:
        """Return the method, ready to be asked. This imports its framework."""
        return cast(Method, load_class(self.target)(problem, self.settings_model().model_validate(settings)))

    def build_system(self, settings: dict[str, Any]) -> System:
        """Return the system, ready to run. Its framework is imported when it runs."""
        return cast("System", load_class(self.target)(self.settings_model().model_validate(settings)))


@cache
def load_class(target: str) -> Any:
    """Import the class that "module:Class" names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
