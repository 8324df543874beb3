"""Methods that break one promise each, to see that the contract notices."""

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
    """Random draws, which keep every promise."""

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
    """Breaks nothing, and has no processor for two seconds."""

    def ask(self) -> Proposal | Wait | Done:
        if self.asked == 12:
            time.sleep(2)
        return super().ask()


class Logarithmic(Sound):
    """Takes every linear float for a logarithmic one."""

    def draw(self) -> dict[str, Any]:
        config = super().draw()
        return config | ({"share": 10 ** self.random.uniform(-3, 0)} if "share" in config else {})


class Linear(Sound):
    """Takes every logarithmic float for a linear one."""

    def draw(self) -> dict[str, Any]:
        config = super().draw()
        return config | ({"rate": self.random.uniform(1e-4, 1e-1)} if "rate" in config else {})


class Bounded(Sound):
    """Never asks for the upper end of a stepped range."""

    def draw(self) -> dict[str, Any]:
        config = super().draw()
        return config | ({"units": min(56, config["units"])} if "units" in config else {})


class Narrow(Sound):
    """Leaves out the uppermost quarter of a range."""

    def draw(self) -> dict[str, Any]:
        config = super().draw()
        return config | ({"share": 0.75 * config["share"]} if "share" in config else {})


class Counting(Sound):
    """Draws each trial with a seed of its own, one more than the last: the next seed draws the same from the second on."""

    def draw(self) -> dict[str, Any]:
        return drawn(self.problem.space, random.Random(self.problem.seed + self.asked))


class Walking(Sound):
    """Walks through a space of lists in its order, as scikit-learn's ParameterSampler does when it is asked for all points."""

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
    """Draws from the system's own randomness."""

    def __init__(self, problem: Problem, settings: Model) -> None:
        super().__init__(problem, settings)
        self.random = random.Random(os.urandom(8))


class Mislabelled(Sound):
    """Says that it is not to be repeated, and is."""

    spec = MethodSpec(determinism=Determinism.NO)


class Deaf(Sound):
    """Ignores its seed."""

    def __init__(self, problem: Problem, settings: Model) -> None:
        super().__init__(problem, settings)
        self.random = random.Random(5)


class Falsy(Sound):
    """Takes seed 0 for no seed."""

    def __init__(self, problem: Problem, settings: Model) -> None:
        super().__init__(problem, settings)
        self.random = random.Random(problem.seed or None)


class Extravagant(Sound):
    """Asks for more epochs than a full training has."""

    def ask(self) -> Proposal:
        return Proposal(self.draw(), self.problem.max_epochs + 1)


class Lazy(Sound):
    """Ends long before its budget does."""

    def ask(self) -> Proposal | Done:
        return Done("enough") if self.asked == 3 else super().ask()  # type: ignore[return-value]


class Wavering(Sound):
    """Is done, and then not."""

    def ask(self) -> Proposal | Done:
        self.asked += 1
        return Done("perhaps") if self.asked == 5 else Proposal(self.draw(), self.problem.max_epochs)


class Waiting(Sound):
    """Waits for nothing."""

    def ask(self) -> Proposal | Wait:
        return Wait() if self.asked == 2 else super().ask()  # type: ignore[return-value]


class Fragile(Sound):
    """Counts on the loss of every trial."""

    def tell(self, trial: Trial) -> None:
        assert trial.outcome is not None
        if not trial.outcome.loss or trial.outcome.loss < -2:
            raise TypeError("the loss is no number")


class Forgetful(Sound):
    """Draws by the clock of its own process, so that a resumed search is another one."""

    births = itertools.count()

    def __init__(self, problem: Problem, settings: Model) -> None:
        super().__init__(problem, settings)
        self.random = random.Random(next(self.births))


class Hurried(Forgetful):
    """The same, where trials are in flight alone."""

    def __init__(self, problem: Problem, settings: Model) -> None:
        super().__init__(problem, settings)
        self.alone, self.hurried = random.Random(problem.seed), self.random

    def draw(self) -> dict[str, Any]:
        self.random = self.alone if self.asked == len(self.told) + 1 else self.hurried
        return super().draw()


class Possessive(Sound):
    """Continues trials whose weights it has given up."""

    spec = MethodSpec(fidelity=True, warm_start=True)

    def ask(self) -> Proposal:
        self.asked += 1
        if self.asked % 2 == 0 and self.told:
            return Proposal(self.told[-1].proposal.config, self.problem.max_epochs, self.told[-1].id)
        return Proposal(self.draw(), 3)

    def resumable(self) -> set[int]:
        return set()


class Serial(Sound):
    """Declares parallel asks, and has one trial at a time."""

    def ask(self) -> Proposal | Wait:
        return Wait() if self.asked > len(self.told) else super().ask()  # type: ignore[return-value]


class Confused(Sound):
    """Believes that trials are told in the order of their asks."""

    def tell(self, trial: Trial) -> None:
        if trial.id != len(self.told):
            raise KeyError(trial.id)
        super().tell(trial)


class Perverse(Sound):
    """Looks for the worst."""

    def draw(self) -> dict[str, Any]:
        bowl = Bowl(self.problem.space)
        return max((drawn(self.problem.space, self.random) for _ in range(5)), key=bowl.loss)


class Unconditional(Sound):
    """Says that it knows no conditional spaces."""

    spec = MethodSpec(conditional=False)


class Absent(Sound):
    """Needs what this machine does not have."""

    def __init__(self, problem: Problem, settings: Model) -> None:
        raise StudyError("its model is not in ~/models, and cannot be downloaded")
