"""Methods that take their time."""

from __future__ import annotations

import random
import time

from tuneoff.contract.toy_objective import drawn
from tuneoff.core.problem import Epoch, Problem, Proposal, Trial
from tuneoff.core.space import Model


class SlowToBegin:
    """As frameworks are that start a server: the first suggestion takes a second and a half, the others nothing."""

    seconds = (1.5, 0.0)

    def __init__(self, problem: Problem, settings: Model) -> None:
        self.problem = problem
        self.random = random.Random(problem.seed)
        self.asked = 0

    def ask(self) -> Proposal:
        time.sleep(self.seconds[self.asked > 0])
        self.asked += 1
        return Proposal(drawn(self.problem.space, self.random), self.problem.max_epochs)

    def tell(self, trial: Trial) -> None:
        pass

    def should_continue(self, trial: int, epoch: Epoch) -> bool:
        return True


class Slow(SlowToBegin):
    """Every suggestion takes long."""

    seconds = (0.5, 0.5)
