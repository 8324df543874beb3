"""NePS: PriorBand, and freeze-thaw search with ifBO's model of learning curves."""

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
"""The name of the fidelity in NePS's space. The dot keeps it apart from all parameters of a study."""
MOST_PARAMETERS = 10
"""Maximum number of parameters that ifBO's model supports."""


class PriorBandSettings(Model):
    """The user's prior, and NePS's arguments of the same names."""

    prior: dict[str, str | bool | int | float] = Field(
        default_factory=dict,
        description="Values that you believe to be good, by parameter. Without a prior, it is Hyperband with local search.",
    )
    prior_confidence: Literal["low", "medium", "high"] = Field(default="low", description="Confidence in the prior.")
    eta: int = Field(default=3, ge=2, le=100, description="Promote 1 of every eta configurations of a rung.")
    base: Literal["hyperband", "successive_halving", "asha", "async_hb"] = "hyperband"


class FreezeThawSettings(Model):
    """NePS's argument of the same name, and the folder of ifBO's model."""

    initial_design_size: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Number of configurations that train one epoch before the model proposes; null: one per parameter.",
    )
    model_folder: str = Field(
        default="~/.cache/tuneoff/ifbo",
        description="Folder of ifBO's model. If the model is missing, ifBO's package downloads it into the folder.",
    )


def check_priorband(study: Study, settings: PriorBandSettings) -> list[str]:
    """Refuse a prior outside of the space, and studies with a single rung."""
    messages = _epochs_refusals("priorband", study)
    for name, value in settings.prior.items():
        if name not in study.space:
            messages.append(f"priorband: prior names {name!r}, but the parameters are {', '.join(study.space)}.")
        elif not study.space[name].contains(value):
            messages.append(f"priorband: prior sets {name} = {value!r}, which is not in the space.")
    return messages


def check_freeze_thaw(study: Study, settings: FreezeThawSettings) -> list[str]:
    """Refuse studies that ifBO's model does not support. It models curves between 0 and 1 of at most ten parameters."""
    messages = _epochs_refusals("freeze-thaw", study)
    if len(study.space) > MOST_PARAMETERS:
        messages.append(
            f"freeze-thaw supports at most {MOST_PARAMETERS} parameters, but the space has {len(study.space)}: remove some."
        )
    if "accuracy" not in study.objective.metric or study.objective.sign > 0:
        messages.append(f"freeze-thaw maximises an accuracy, but the objective is {study.objective.metric}: choose an accuracy.")
    return messages


def _epochs_refusals(name: str, study: Study) -> list[str]:
    epochs = study.budget.epochs_per_trial
    return [] if epochs > 1 else [f"{name}: epochs_per_trial = {epochs} must be at least 2."]


class _Neps:
    """Ask and tell with one NePS optimizer. The previous trial of a NePS trial is its parent."""

    def __init__(self, build: Callable[[Any], Any], problem: Problem, priors: dict[str, Any], confidence: str) -> None:
        import neps
        import torch

        logging.getLogger("neps").setLevel(logging.ERROR)
        torch.manual_seed(problem.seed)
        self._problem = problem
        self._axes = Axes(problem.space)
        self._neps = neps.AskAndTell(optimizer=build(_encode(problem, priors, confidence)))
        self._asked: list[Any] = []  # NePS's trials by trial id
        self._ours: dict[str, TrialId] = {}
        self._failed: set[str] = set()
        self._resumable: set[TrialId] = set()

    def ask(self) -> Proposal:
        trial = self._neps.ask()
        while trial.metadata.previous_trial_id in self._failed:  # a rung with too many failures promotes one
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
        """Return the last trial of each configuration that is not fully trained."""
        return set(self._resumable)


class PriorBand(_Neps):
    """Search with neps.algorithms.priorband."""

    Settings = PriorBandSettings
    spec = MethodSpec(
        name="priorband",
        summary="Hyperband that also samples around the user's prior and the incumbent: NePS's PriorBand.",
        source="Mallik et al., PriorBand: practical HPO in the age of deep learning, NeurIPS 36, 2023",
        when="If you have an idea of good values, and the first epochs separate good from bad configurations.",
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
    """Search with neps.algorithms.ifbo. Each proposal trains one more epoch of the most promising configuration."""

    Settings = FreezeThawSettings
    spec = MethodSpec(
        name="freeze-thaw",
        summary="Freeze-thaw search, in which a pre-trained model of learning curves selects each epoch to train: NePS's ifBO.",
        source="Rakotoarison et al., In-context freeze-thaw Bayesian optimization for HPO, ICML 41, 2024",
        when="If the budget is in epochs and the machine can download ifBO's model once.",
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
                raise StudyError(
                    f"ifBO's model is not in {folder} and could not be downloaded ({type(error).__name__}): copy it there, or set"
                    " model_folder"
                ) from error

        super().__init__(build, problem, {}, "low")

    def _told(self, loss: float) -> float:
        return 1.0 + loss  # 1 - accuracy, because the loss is the negative accuracy

    def _failure(self) -> float:
        return 1.0  # NePS would treat an exception as the best possible value here


def _whole(optimizer: Any) -> Any:
    """Return the optimizer with a fix: with a single candidate, its surrogate returns a number instead of a list of one."""
    import torch

    improvement = optimizer.ftpfn.get_pi
    optimizer.ftpfn.get_pi = lambda *curves, **named: torch.atleast_1d(improvement(*curves, **named))
    return optimizer


def _encode(problem: Problem, priors: dict[str, Any], confidence: str) -> Any:
    """Return the space for NePS: without parameters with only one value, and flat, because NePS does not support conditions."""
    import neps

    axes = [axis for axis in Axes(problem.space).axes if axis.high > axis.low]
    places = {axis.name: axis.place(priors[axis.name]) for axis in axes if axis.name in priors}
    fidelity = neps.HPOInteger(1, problem.max_epochs, is_fidelity=True)
    return neps.SearchSpace(
        {**{axis.name: _parameter(axis, places.get(axis.name), confidence) for axis in axes}, FIDELITY: fidelity}
    )


def _parameter(axis: Axis, prior: Any, confidence: Any) -> Any:
    import neps

    options = {} if prior is None else {"prior": prior, "prior_confidence": confidence}
    if axis.kind == "choice":
        return neps.HPOCategorical(axis.places, **options)
    if axis.kind == "int":
        return neps.HPOInteger(int(axis.low), int(axis.high), log=axis.log, **options)
    return neps.HPOFloat(axis.low, axis.high, log=axis.log, **options)
