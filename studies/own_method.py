"""A search method of one's own for studies/own-method.yaml: random search that looks nearer and nearer around its best."""

from __future__ import annotations

import random

from pydantic import BaseModel, ConfigDict, Field

from tuneoff.method import Axes, Axis, Done, Epoch, FailedRule, MethodSpec, Problem, Proposal, Trial, Value, Wait


class Settings(BaseModel):
    """What `settings:` of the study file may say; everything has a default."""

    model_config = ConfigDict(extra="forbid")
    start: int = Field(default=5, ge=1, description="Configurations drawn from the whole space.")
    changed: float = Field(default=0.3, gt=0, le=1, description="The share of parameters that are drawn anew afterwards.")


class NearBest:
    """Random draws first, then the best configuration with some of its parameters drawn anew."""

    Settings = Settings
    spec = MethodSpec(parallel=True, failed=FailedRule.UNTOLD)

    def __init__(self, problem: Problem, settings: Settings) -> None:
        self.problem = problem
        self.settings = settings
        self.axes = Axes(problem.space)  # conditions, steps and categories as plain numbers, and back
        self.random = random.Random(problem.seed)
        self.asked = 0
        self.best: Trial | None = None

    def ask(self) -> Proposal | Wait | Done:
        """The next trial to train."""
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
        """A trial has ended; its loss is always to be minimised."""
        loss = trial.outcome.loss
        if self.best is None or loss < self.best.outcome.loss:
            self.best = trial

    def should_continue(self, trial: int, epoch: Epoch) -> bool:
        """Asked after each epoch of methods that declare `stop_rule`; this one does not."""
        return True
