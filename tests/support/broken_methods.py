"""Methods that break one promise of the contract each, to test its checks."""

from __future__ import annotations

import itertools
import os
import random
import time
from typing import Any

from tuneoff.contract.toy_objective import Bowl, drawn
from tuneoff.core.errors import StudyError
from tuneoff.core.problem import Done, Epoch, Problem, Proposal, Trial, Wait
from tuneoff.core.space import Categorical, Model
from tuneoff.methods.spec import Determinism, MethodSpec


class Sound:
    """Draws at random, and keeps every promise."""

    spec = MethodSpec(parallel=True)

    def __init__(self, problem: Problem, settings: Model) -> None:
        self.problem = problem
        self.random = random.Random(problem.seed)
        self.told: list[Trial] = []
        self.asked = 0

    def ask(self) -> Proposal | Wait | Done:
        self.asked += 1
        return Proposal(self.draw(), self.problem.max_epochs)

    def draw(self) -> dict[str, Any]:
        return drawn(self.problem.space, self.random)

    def tell(self, trial: Trial) -> None:
        self.told.append(trial)

    def should_continue(self, trial: int, epoch: Epoch) -> bool:
        return True


class Hesitant(Sound):
    """Keeps every promise, but waits for two seconds without using the CPU."""

    def ask(self) -> Proposal | Wait | Done:
        if self.asked == 12:
            time.sleep(2)
        return super().ask()


class Logarithmic(Sound):
    """Draws a linear float on a logarithmic scale."""

    def draw(self) -> dict[str, Any]:
        config = super().draw()
        return config | ({"share": 10 ** self.random.uniform(-3, 0)} if "share" in config else {})


class Linear(Sound):
    """Draws a logarithmic float on a linear scale."""

    def draw(self) -> dict[str, Any]:
        config = super().draw()
        return config | ({"rate": self.random.uniform(1e-4, 1e-1)} if "rate" in config else {})


class Bounded(Sound):
    """Never draws the upper end of a range with steps."""

    def draw(self) -> dict[str, Any]:
        config = super().draw()
        return config | ({"units": min(56, config["units"])} if "units" in config else {})


class Narrow(Sound):
    """Never draws from the upper quarter of a range."""

    def draw(self) -> dict[str, Any]:
        config = super().draw()
        return config | ({"share": 0.75 * config["share"]} if "share" in config else {})


class Counting(Sound):
    """Increments its seed for each trial. The next seed of a study then gives the same trials, one trial earlier."""

    def draw(self) -> dict[str, Any]:
        return drawn(self.problem.space, random.Random(self.problem.seed + self.asked))


class Walking(Sound):
    """Visits a space of lists in its order, like scikit-learn's ParameterSampler when it draws all points."""

    def draw(self) -> dict[str, Any]:
        lists = [p.values for p in self.problem.space.root.values() if isinstance(p, Categorical)]
        if len(lists) < len(self.problem.space):
            return super().draw()
        return dict(zip(self.problem.space, list(itertools.product(*lists))[self.asked], strict=True))


class Losing(Sound):
    """Loses a parameter."""

    def draw(self) -> dict[str, Any]:
        return dict(itertools.islice(super().draw().items(), 1, None))


class Fixed(Sound):
    """Never varies a parameter."""

    def draw(self) -> dict[str, Any]:
        return super().draw() | ({"flag": True} if "flag" in self.problem.space.root else {})


class Outside(Sound):
    """Leaves the space."""

    def draw(self) -> dict[str, Any]:
        return super().draw() | {"dropout": 0.7}


class Inactive(Sound):
    """Leaves inactive parameters in."""

    def draw(self) -> dict[str, Any]:
        return {"momentum": 0.5, **super().draw()}


class Seedless(Sound):
    """Draws from the random source of the operating system."""

    def __init__(self, problem: Problem, settings: Model) -> None:
        super().__init__(problem, settings)
        self.random = random.Random(os.urandom(8))


class Mislabelled(Sound):
    """Declares that it is not repeatable, but is."""

    spec = MethodSpec(determinism=Determinism.NO)


class Deaf(Sound):
    """Ignores its seed."""

    def __init__(self, problem: Problem, settings: Model) -> None:
        super().__init__(problem, settings)
        self.random = random.Random(5)


class Falsy(Sound):
    """Treats seed 0 as no seed."""

    def __init__(self, problem: Problem, settings: Model) -> None:
        super().__init__(problem, settings)
        self.random = random.Random(problem.seed or None)


class Extravagant(Sound):
    """Asks for more epochs than a full training has."""

    def ask(self) -> Proposal:
        return Proposal(self.draw(), self.problem.max_epochs + 1)


class Lazy(Sound):
    """Ends long before its budget is used up."""

    def ask(self) -> Proposal | Done:
        return Done("enough") if self.asked == 3 else super().ask()  # type: ignore[return-value]


class Wavering(Sound):
    """Answers Done, and then a proposal."""

    def ask(self) -> Proposal | Done:
        self.asked += 1
        return Done("perhaps") if self.asked == 5 else Proposal(self.draw(), self.problem.max_epochs)


class Waiting(Sound):
    """Answers Wait without a trial in flight."""

    def ask(self) -> Proposal | Wait:
        return Wait() if self.asked == 2 else super().ask()  # type: ignore[return-value]


class Fragile(Sound):
    """Needs a loss of every trial."""

    def tell(self, trial: Trial) -> None:
        assert trial.outcome is not None
        if not trial.outcome.loss or trial.outcome.loss < -2:
            raise TypeError("the loss is no number")


class Forgetful(Sound):
    """Draws differently each time it is built, so a resumed search differs."""

    births = itertools.count()

    def __init__(self, problem: Problem, settings: Model) -> None:
        super().__init__(problem, settings)
        self.random = random.Random(next(self.births))


class Hurried(Forgetful):
    """Does the same, but only while trials are in flight."""

    def __init__(self, problem: Problem, settings: Model) -> None:
        super().__init__(problem, settings)
        self.alone, self.hurried = random.Random(problem.seed), self.random

    def draw(self) -> dict[str, Any]:
        self.random = self.alone if self.asked == len(self.told) + 1 else self.hurried
        return super().draw()


class Possessive(Sound):
    """Resumes trials that `resumable` does not name."""

    spec = MethodSpec(fidelity=True, warm_start=True)

    def ask(self) -> Proposal:
        self.asked += 1
        if self.asked % 2 == 0 and self.told:
            return Proposal(self.told[-1].proposal.config, self.problem.max_epochs, self.told[-1].id)
        return Proposal(self.draw(), 3)

    def resumable(self) -> set[int]:
        return set()


class Serial(Sound):
    """Declares parallel, but proposes one trial at a time."""

    def ask(self) -> Proposal | Wait:
        return Wait() if self.asked > len(self.told) else super().ask()  # type: ignore[return-value]


class Confused(Sound):
    """Expects trials to be told in the order of their asks."""

    def tell(self, trial: Trial) -> None:
        if trial.id != len(self.told):
            raise KeyError(trial.id)
        super().tell(trial)


class Perverse(Sound):
    """Searches for the worst configuration."""

    def draw(self) -> dict[str, Any]:
        bowl = Bowl(self.problem.space)
        return max((drawn(self.problem.space, self.random) for _ in range(5)), key=bowl.loss)


class Unconditional(Sound):
    """Declares that it does not support conditional spaces."""

    spec = MethodSpec(conditional=False)


class Absent(Sound):
    """Needs a file that this machine does not have."""

    def __init__(self, problem: Problem, settings: Model) -> None:
        raise StudyError("its model is not in ~/models and could not be downloaded")
