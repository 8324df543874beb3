"""What is known of a search method before its framework is imported: what it is, what it can do, where its code lies."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel

from ..core.problem import Method, Problem
from ..core.runtime.extras import importable
from ..core.runtime.images import MAIN
from ..core.space import Categorical, Space
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


@dataclass(frozen=True)
class MethodSpec:
    """A registry line. `target`, `settings` and `check` are "module:name" within `home`, imported when used."""

    name: str
    target: str
    settings: str
    summary: str
    source: str  # the paper or documentation of the algorithm
    when: str  # when to choose it
    framework: str  # the distribution whose algorithm it is
    package: str  # what is imported to find out whether it is installed
    extra: str  # pip install 'tuneoff[extra]'
    check: str | None = None  # (study, settings) -> sentences why this method cannot do this study
    kind: Literal["search", "system"] = "search"  # a system trains models of its own; target is then a System, not a Method
    program: str | None = None  # what it runs beside its package, such as java
    environment: str = MAIN  # the virtual environment that holds it, where its framework does not go with all others
    home: str = "tuneoff.methods"  # the package of target, settings and check; "" for a user's own module
    fidelity: bool = False  # asks for less than the full epochs
    warm_start: bool = False  # continues trials: their weights are kept
    fits_anew: bool = False  # unless its settings say otherwise, it does not
    mutates: bool = False  # a trial that continues another may have another configuration
    stop_rule: bool = False  # is asked after every epoch whether training goes on
    conditional: bool = True  # knows conditional spaces
    log: bool = True
    step: bool = True
    parallel: bool = False  # may have several trials in flight
    failed: FailedRule = FailedRule.TOLD
    exact_replay: bool = True  # resumes by repeating its asks; otherwise it is told its record as observations
    determinism: Determinism = Determinism.EXACT
    beats_random: bool = True  # claims to be at least as good as random search within the contract's budget

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
        """The pydantic model of the method's settings."""
        return cast(type[BaseModel], self._named(self.settings))

    def refusals(self, study: Study, settings: BaseModel) -> list[str]:
        """Sentences that say why the method cannot do this study; empty where it can."""
        if study.objective.replay is not None and (self.kind == "system" or self.mutates):
            trains = "trains models of its own" if self.kind == "system" else "continues trials with another configuration"
            return [f"{self.name} {trains}, for which a table of recorded trainings has no answer."]
        own = list(self._named(self.check)(study, settings)) if self.check else []
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
        natural = "max" if study.objective.metric == "val_accuracy" else "min"
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
        """The method, ready to be asked; imports its framework."""
        return cast(Method, self._named(self.target)(problem, self.settings_model().model_validate(settings)))

    def build_system(self, settings: dict[str, Any]) -> System:
        """The system, ready to run; its framework is imported when it does."""
        return cast("System", self._named(self.target)(self.settings_model().model_validate(settings)))

    @property
    def system_class(self) -> str:
        """Where a system's class lies, as "package.module:Class"."""
        found = self._named(self.target)
        return f"{found.__module__}:{found.__qualname__}"

    def _named(self, target: str) -> Any:
        module, _, path = target.partition(":")
        found = importlib.import_module(f"{self.home}.{module}" if self.home else module)
        return attrgetter(path)(found)
