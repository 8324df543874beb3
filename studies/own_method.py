"""Example search method for studies/own-method.yaml: random search that concentrates around its best configuration."""

from __future__ import annotations

import random

from pydantic import BaseModel, ConfigDict, Field

from tuneoff.method import Axes, Axis, Done, Epoch, FailedRule, MethodSpec, Problem, Proposal, Trial, Value, Wait


class Settings(BaseModel):
    """Settings that the study file may give under `settings:`. Each has a default."""

    model_config = ConfigDict(extra="forbid")
    start: int = Field(default=5, ge=1, description="Number of configurations drawn from the whole space first.")
    changed: float = Field(default=0.3, gt=0, le=1, description="Share of the parameters that later configurations draw again.")


class NearBest:
    """Draw randomly first, then vary some parameters of the best configuration."""

    Settings = Settings
    spec = MethodSpec(parallel=True, failed=FailedRule.UNTOLD)

    def __init__(self, problem: Problem, settings: Settings) -> None:
        self.problem = problem
        self.settings = settings
        self.axes = Axes(problem.space)  # encodes conditions, steps and categories as plain numbers
        self.random = random.Random(problem.seed)
        self.asked = 0
        self.best: Trial | None = None

    def ask(self) -> Proposal | Wait | Done:
        """Propose the next trial."""
        self.asked += 1
        places = {axis.name: self.draw(axis) for axis in self.axes.axes}
        if self.asked > self.settings.start and self.best is not None:
            old = self.axes.encode(self.best.proposal.config)
            places = {name: new if self.random.random() < self.settings.changed else old[name] for name, new in places.items()}
        return Proposal(self.axes.decode(places), self.problem.max_epochs)

    def draw(self, axis: Axis) -> Value:
        if axis.kind == "choice" or (axis.kind == "int" and not axis.log):
            return self.random.choice(axis.places)
        if axis.log:
            place = axis.low * (axis.high / axis.low) ** self.random.random()
            return place if axis.kind == "float" else round(place)
        return self.random.uniform(axis.low, axis.high)

    def tell(self, trial: Trial) -> None:
        """Learn the outcome of a trial. Losses are always minimised."""
        loss = trial.outcome.loss
        if self.best is None or loss < self.best.outcome.loss:
            self.best = trial

    def should_continue(self, trial: int, epoch: Epoch) -> bool:
        """Decide after each epoch whether a trial continues. Only methods that declare `stop_rule` are asked."""
        return True
