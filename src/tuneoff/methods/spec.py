"""MethodSpec: the abilities, framework and texts of a search method, known before its framework is imported."""

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
    """What `tell` passes to a method for a trial that failed or diverged."""

    TOLD = "told"
    """The trial unchanged, with the loss None. For frameworks that know failed trials."""
    PENALTY = "penalty"
    """A completed trial with the worst loss of the search so far. Before the first loss, nothing."""
    UNTOLD = "untold"
    """Nothing: `tell` is not called."""


class Determinism(StrEnum):
    """Whether the same seed gives the same proposals in another process."""

    EXACT = "exact"
    """Always."""
    ONE_WORKER = "with one worker only"
    """Only if one trial runs at a time."""
    NO = "no"
    """Never."""


class Algorithm(StrEnum):
    """An algorithm that several frameworks implement. The report compares its implementations."""

    RANDOM_SEARCH = "random search"
    GAUSSIAN_PROCESS = "Gaussian process"
    TPE = "TPE"
    HYPERBAND = "Hyperband"
    ASHA = "successive halving, asynchronous"


PaperMethod = Literal["grid", "random", "bayes", "hyperband"]


class NoSettings(Model):
    """The settings of a method that has none."""


@dataclass(frozen=True)
class MethodSpec:
    """The abilities, framework and texts of a search method.

    The class of a method declares its spec as the class attribute `spec`. The class may also have `Settings`, a pydantic model
    whose fields all have defaults, and `check`, a static method. `check(study, settings)` returns messages that say why the
    method cannot run the study, or an empty list.

    Every field has a default. A user-defined method usually sets only the abilities from `fidelity` to `determinism`. They decide
    which checks of `tuneoff check-method` apply.

    Attributes:
        name: The name in study files. For a user-defined method, Tuneoff sets it.
        summary: One sentence that describes the algorithm. The default is the first line of the class docstring.
        source: The paper or documentation of the algorithm.
        when: When to choose the method.
        framework: The distribution that implements the algorithm.
        package: The package whose import shows that the framework is installed.
        extra: The extra of Tuneoff that installs the framework, as in `pip install 'tuneoff[extra]'`.
        target: The class as "module:Class". Tuneoff sets it.
        user_defined: Whether the class is not part of Tuneoff. Tuneoff sets it.
        kind: "system" if the class trains its own models and is a System, otherwise "search".
        program: A program that the method runs in addition to its package, such as java.
        environment: The virtual environment of the method, if its framework conflicts with others.
        algorithm: The algorithm, if several frameworks implement it.
        is_random: Whether configurations are drawn independently of earlier trials.
        katib: Katib's names for the algorithm.
        paper: The method of the paper that this method implements, and its rank among the implementations (1 is closest).
        process_per_search: Whether a process can start the framework only once.
        slow: Whether a proposal takes a second or more.
        fidelity: Whether proposals may ask for fewer than the full epochs.
        warm_start: Whether a proposal may name a parent trial, from whose weights it resumes. The method then has `resumable`.
        warm_start_optional: Whether warm start is off unless the settings enable it.
        mutates: Whether a trial may have another configuration than its parent.
        stop_rule: Whether `should_continue` is called after every epoch.
        conditional: Whether conditional parameters are supported.
        log: Whether logarithmic scales are supported.
        step: Whether steps are supported.
        parallel: Whether several trials may be in flight.
        failed: What the method receives for a failed trial.
        exact_replay: Whether the method resumes by repeating its asks. Otherwise it receives the recorded trials as observations.
        determinism: Whether the same seed gives the same proposals in another process.
        beats_random: Whether the method claims to be at least as good as random search within the budget of the contract.
    """

    name: str = ""
    summary: str = ""
    source: str = ""
    when: str = ""
    framework: str = ""
    package: str = ""
    extra: str = ""
    target: str = ""
    user_defined: bool = False
    kind: Literal["search", "system"] = "search"
    program: str | None = None
    environment: str = MAIN
    algorithm: Algorithm | None = None
    is_random: bool = False
    katib: tuple[str, ...] = ()
    paper: tuple[PaperMethod, int] | None = None
    process_per_search: bool = False
    slow: bool = False
    fidelity: bool = False
    warm_start: bool = False
    warm_start_optional: bool = False
    mutates: bool = False
    stop_rule: bool = False
    conditional: bool = True
    log: bool = True
    step: bool = True
    parallel: bool = False
    failed: FailedRule = FailedRule.TOLD
    exact_replay: bool = True
    determinism: Determinism = Determinism.EXACT
    beats_random: bool = True

    def with_target(self, target: str) -> MethodSpec:
        """Return a copy of this spec for the class `target`, given as "module:Class"."""
        return replace(self, target=target)

    @property
    def installed(self) -> bool:
        """Whether the framework can be imported and its program exists. Does not import the framework."""
        return importable(self.package) and (self.program is None or shutil.which(self.program) is not None)

    @property
    def remedy(self) -> str:
        """The command that installs the framework."""
        command = f"pip install 'tuneoff[{self.extra}]'"
        if self.program is not None and importable(self.package):
            return f"install the program {self.program}, and make sure that it is in PATH"
        if self.environment == MAIN:
            return command
        return f"make setup-{self.environment}, or {command} in a separate virtual environment"

    @property
    def version(self) -> str | None:
        """The version of the installed framework, or None if it is not installed."""
        try:
            return metadata.version(self.framework)
        except metadata.PackageNotFoundError:
            return None

    def settings_model(self) -> type[BaseModel]:
        """Return the pydantic model of the settings."""
        return cast(type[BaseModel], getattr(load_class(self.target), "Settings", NoSettings))

    def refusals(self, study: Study, settings: BaseModel) -> list[str]:
        """Return messages that say why the method cannot run this study, or an empty list."""
        check = getattr(load_class(self.target), "check", None)
        messages = list(check(study, settings)) if check else []
        if self.kind == "system":
            return messages or self._system_refusals(study)
        return [*(messages or self._space_refusals(study.space)), *self._in_flight_refusals(study)]

    def _in_flight_refusals(self, study: Study) -> list[str]:
        if self.parallel or study.budget.in_flight == 1:
            return []
        return [
            f"{self.name} proposes one trial at a time, but budget.in_flight = {study.budget.in_flight}:"
            " set budget.in_flight to 1."
        ]

    def _system_refusals(self, study: Study) -> list[str]:
        messages = []
        if study.budget.seconds is None:
            messages.append(
                f"{self.name} trains its own models, whose epochs do not compare with those of other methods:"
                " give budget.seconds."
            )
        if study.split.folds is not None:
            messages.append(
                f"{self.name} trains its own models, without cross-validation: give split.validation, not split.folds."
            )
        natural = direction_of(study.objective.metric)
        if study.objective.direction not in (None, natural):
            messages.append(
                f"{self.name} supports {study.objective.metric} only with the direction {natural}: leave objective.direction out."
            )
        return messages

    def _space_refusals(self, space: Space) -> list[str]:
        ranges = {name: p for name, p in space.items() if not isinstance(p, Categorical)}
        unsupported = {
            "conditional parameters (when)": [] if self.conditional else [name for name, p in space.items() if p.when],
            "logarithmic scales (log)": [] if self.log else [name for name, p in ranges.items() if p.log],
            "steps (step)": [] if self.step else [name for name, p in ranges.items() if p.step is not None],
        }
        return [
            f"{self.name} does not support {what}: change {', '.join(named)}, or choose another method."
            for what, named in unsupported.items()
            if named
        ]

    def build(self, problem: Problem, settings: dict[str, Any]) -> Method:
        """Return a new instance of the method for a problem. This imports the framework."""
        return cast(Method, load_class(self.target)(problem, self.settings_model().model_validate(settings)))

    def build_system(self, settings: dict[str, Any]) -> System:
        """Return a new instance of the system. Its framework is imported when it runs."""
        return cast("System", load_class(self.target)(self.settings_model().model_validate(settings)))


@cache
def load_class(target: str) -> Any:
    """Import and return the class `target`, given as "module:Class"."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
