"""The budget of a search. Trials, epochs and seconds are counted here and nowhere else."""

from __future__ import annotations

from ..core.problem import Limits, Outcome, Spent, Trial
from ..core.record.state import remaining


class Budget:
    """Count the used budget: configurations started, epochs trained, and seconds of training and of the method's computation.

    A trial reserves its epochs when it starts and returns those that it did not use. A trial that does not fit is refused, never
    shortened. The limit of seconds decides only whether another trial starts. With cross-validation a trial trains k models, and
    the epochs of each count.
    """

    def __init__(self, limits: Limits, trainings: int = 1) -> None:
        self.limits = limits
        self.trainings = trainings
        self._trials = 0
        self._epochs = 0
        self._seconds = 0.0
        self._method_seconds = 0.0
        self._reserved: dict[int, int] = {}

    @property
    def spent(self) -> Spent:
        return Spent(self._trials, self._epochs, self._seconds + self._method_seconds, self._method_seconds)

    @property
    def left(self) -> dict[str, float | None]:
        """Return the remaining budget for each limit, or None if there is no limit."""
        return remaining(self.limits, self.spent)

    def refusal(self, trial: Trial) -> str | None:
        """Return why this trial may not start, or None if it may."""
        limits = self.limits
        if limits.trials is not None and trial.proposal.parent is None and self._trials >= limits.trials:
            return f"all {limits.trials} trials of the budget are used"
        if limits.epochs is not None:
            free = limits.epochs - self._epochs - sum(self._reserved.values())
            wanted = self._epochs_of(trial)
            if wanted > free:
                return f"the next trial wants {wanted} epochs, and {free} of {limits.epochs} are left"
        if limits.seconds is not None and self.spent.seconds >= limits.seconds:
            return f"all {limits.seconds:g} seconds of the budget are used"
        return None

    def start(self, trial: Trial) -> None:
        """Count a trial that starts and reserve its epochs."""
        self._trials += trial.proposal.parent is None
        self._reserved[trial.id] = self._epochs_of(trial)

    def _epochs_of(self, trial: Trial) -> int:
        return trial.asked_epochs * self.trainings

    def charge(self, trial: Trial, outcome: Outcome) -> None:
        """Count the budget that a trial used and free the rest of its reservation."""
        self._reserved.pop(trial.id, None)
        self._epochs += outcome.trained_epochs
        self._seconds += outcome.seconds

    def charge_method(self, seconds: float) -> None:
        """Count the time of the method's own computation."""
        self._method_seconds += seconds
