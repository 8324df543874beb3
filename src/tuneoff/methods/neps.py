"""NePS: PriorBand, and freeze-thaw search by ifBO's model of learning curves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ..core.encoding import Axes, Axis
from ..core.errors import StudyError
from ..core.problem import Epoch, Problem, Proposal, Trial, TrialId
from ..core.space import Model
from ..core.study import Study
from .spec import MethodSpec

FIDELITY = "tuneoff.epochs"
"""No parameter of a study can have this name."""
MOST_PARAMETERS = 10
"""So many does ifBO's model know."""


class PriorBandSettings(Model):
    """NePS's own settings, and what the user believes to be good values."""

    prior: dict[str, str | bool | int | float] = Field(
        default_factory=dict,
        description="Values believed to be good, by parameter; without any it is Hyperband with local search.",
    )
    prior_confidence: Literal["low", "medium", "high"] = Field(default="low", description="How much to believe in them.")
    eta: int = Field(default=3, ge=2, le=100, description="Of so many configurations of a rung one goes up to the next.")
    base: Literal["hyperband", "successive_halving", "asha", "async_hb"] = "hyperband"


class FreezeThawSettings(Model):
    """NePS's own settings."""

    initial_design_size: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Configurations that train an epoch before the model decides; null: one a parameter.",
    )
    model_folder: str = Field(
        default="~/.cache/tuneoff/ifbo",
        description="Where ifBO's own package keeps its model, and downloads it to where it lacks.",
    )


def check_priorband(study: Study, settings: PriorBandSettings) -> list[str]:
    """A prior is about the study's own parameters; brackets need two rungs."""
    found = _too_short("priorband", study)
    for name, value in settings.prior.items():
        if name not in study.space:
            found.append(f"priorband: prior names {name!r}, which is none of the space's parameters: {', '.join(study.space)}.")
        elif not study.space[name].contains(value):
            found.append(f"priorband: prior says {name} = {value!r}, which {name} never takes.")
    return found


def check_freeze_thaw(study: Study, settings: FreezeThawSettings) -> list[str]:
    """ifBO's model is trained on curves between 0 and 1 of at most ten parameters."""
    found = _too_short("freeze-thaw", study)
    if len(study.space) > MOST_PARAMETERS:
        found.append(f"freeze-thaw takes at most {MOST_PARAMETERS} parameters, and the space has {len(study.space)}.")
    if "accuracy" not in study.objective.metric or study.objective.sign > 0:
        found.append(f"freeze-thaw needs an accuracy that is maximised, and the objective is {study.objective.metric}.")
    return found


def _too_short(name: str, study: Study) -> list[str]:
    epochs = study.budget.epochs_per_trial
    return [] if epochs > 1 else [f"{name} needs epochs_per_trial of at least 2, and it is {epochs}."]


class _Neps:
    """One NePS optimizer behind ask and tell; a trial that it names as previous is the parent."""

    def __init__(self, build: Callable[[Any], Any], problem: Problem, priors: dict[str, Any], confidence: str) -> None:
        import neps
        import torch

        logging.getLogger("neps").setLevel(logging.ERROR)
        torch.manual_seed(problem.seed)
        self._problem = problem
        self._axes = Axes(problem.space)
        self._neps = neps.AskAndTell(optimizer=build(_encode(problem, priors, confidence)))
        self._asked: list[Any] = []  # NePS's trials by ours
        self._ours: dict[str, TrialId] = {}
        self._failed: set[str] = set()
        self._resumable: set[TrialId] = set()

    def ask(self) -> Proposal:
        trial = self._neps.ask()
        while trial.metadata.previous_trial_id in self._failed:  # a rung full of failures promotes one of them
            self._failed.add(trial.id)
            self._neps.tell(trial, self._failure())
            trial = self._neps.ask()
        parent = self._ours.get(trial.metadata.previous_trial_id)
        self._ours[trial.id] = len(self._asked)
        self._asked.append(trial)
        config = self._axes.decode({axis.name: trial.config.get(axis.name, 0) for axis in self._axes.axes})
        return Proposal(config, int(trial.config[FIDELITY]), parent)

    def tell(self, trial: Trial) -> None:
        assert trial.outcome is not None
        theirs, loss = self._asked[trial.id], trial.outcome.loss
        if loss is None:
            self._failed.add(theirs.id)
        elif trial.proposal.target_epoch < self._problem.max_epochs:
            self._resumable.add(trial.id)
        self._resumable -= {trial.proposal.parent}
        self._neps.tell(theirs, self._failure() if loss is None else self._told(loss))

    def _told(self, loss: float) -> float:
        return float(loss)

    def _failure(self) -> Any:
        return RuntimeError("the trial failed")

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True

    def resumable(self) -> set[TrialId]:
        """The last trials of all configurations that have not trained in full."""
        return set(self._resumable)


class PriorBand(_Neps):
    """neps.algorithms.priorband."""

    Settings = PriorBandSettings
    spec = MethodSpec(
        name="priorband",
        summary="Hyperband that also draws around the user's own values and around the best trial: NePS's PriorBand.",
        source="Mallik et al., PriorBand: practical HPO in the age of deep learning, NeurIPS 36, 2023",
        when="You have an idea of good values, and early epochs tell good from bad.",
        framework="neural-pipeline-search",
        package="neps",
        extra="neps",
        environment="neps",
        fidelity=True,
        warm_start=True,
    )
    check = staticmethod(check_priorband)

    def __init__(self, problem: Problem, settings: PriorBandSettings) -> None:
        from neps import algorithms

        def build(space: Any) -> Any:
            return algorithms.priorband(space, eta=settings.eta, base=settings.base)

        super().__init__(build, problem, settings.prior, settings.prior_confidence)


class FreezeThaw(_Neps):
    """neps.algorithms.ifbo: each proposal trains one more epoch of the configuration that is most likely to improve."""

    Settings = FreezeThawSettings
    spec = MethodSpec(
        name="freeze-thaw",
        summary="One epoch at a time for whichever learning curve promises most, by a pre-trained model of curves: ifBO.",
        source="Rakotoarison et al., In-context freeze-thaw Bayesian optimization for HPO, ICML 41, 2024",
        when="The budget is epochs, and the machine may download ifBO's model once.",
        framework="neural-pipeline-search",
        package="neps",
        extra="neps",
        environment="neps",
        fidelity=True,
        warm_start=True,
    )
    check = staticmethod(check_freeze_thaw)

    def __init__(self, problem: Problem, settings: FreezeThawSettings) -> None:
        from neps import algorithms

        folder = Path(settings.model_folder).expanduser()

        def build(space: Any) -> Any:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                size = settings.initial_design_size or "ndim"
                return _whole(algorithms.ifbo(space, initial_design_size=size, device="cpu", surrogate_path=folder))
            except (OSError, ValueError) as error:  # requests' own errors are OSErrors
                raise StudyError(f"ifBO's model is not in {folder}, and cannot be downloaded ({type(error).__name__})") from error

        super().__init__(build, problem, {}, "low")

    def _told(self, loss: float) -> float:
        return 1.0 + loss  # what an accuracy lacks to 1: the loss is the accuracy with its sign turned

    def _failure(self) -> float:
        return 1.0  # NePS would take a crash for the best possible value here


def _whole(optimizer: Any) -> Any:
    """NePS fails where one curve alone can go on: its surrogate then gives a number, where a list of one is expected."""
    import torch

    improvement = optimizer.ftpfn.get_pi
    optimizer.ftpfn.get_pi = lambda *curves, **named: torch.atleast_1d(improvement(*curves, **named))
    return optimizer


def _encode(problem: Problem, priors: dict[str, Any], confidence: str) -> Any:
    """The space without parameters of one value; NePS knows no conditions, so that it is flat."""
    import neps

    axes = [axis for axis in Axes(problem.space).axes if axis.high > axis.low]
    places = {axis.name: axis.place(priors[axis.name]) for axis in axes if axis.name in priors}
    fidelity = neps.HPOInteger(1, problem.max_epochs, is_fidelity=True)
    return neps.SearchSpace(
        {**{axis.name: _parameter(axis, places.get(axis.name), confidence) for axis in axes}, FIDELITY: fidelity}
    )


def _parameter(axis: Axis, prior: Any, confidence: Any) -> Any:
    import neps

    believed = {} if prior is None else {"prior": prior, "prior_confidence": confidence}
    if axis.kind == "choice":
        return neps.HPOCategorical(axis.places, **believed)
    if axis.kind == "int":
        return neps.HPOInteger(int(axis.low), int(axis.high), log=axis.log, **believed)
    return neps.HPOFloat(axis.low, axis.high, log=axis.log, **believed)
