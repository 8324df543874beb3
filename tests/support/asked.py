"""Ask and tell a method in the test's process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuneoff.core.problem import Method, Outcome, Problem, Proposal, Status, Trial
from tuneoff.core.space import Config, Space
from tuneoff.methods.registry import find

Loss = Callable[[Config], float | None]


def built(name: str, space: Space | dict[str, Any], folder: Path, seed: int = 0, in_flight: int = 1, **settings: Any) -> Method:
    """Build a method for a space, with full trainings of 9 epochs."""
    space = space if isinstance(space, Space) else Space.model_validate(space)
    return find(name).build(Problem(space, 9, seed, folder, in_flight=in_flight), settings)


def asked(method: Method) -> Proposal:
    """Return the next answer of the method, which must be a proposal."""
    answer = method.ask()
    assert isinstance(answer, Proposal), answer
    return answer


def told(method: Method, number: int, proposal: Proposal, loss: float | None) -> None:
    """Tell the method the loss of its proposal with this number. None stands for a failed trial."""
    outcome = Outcome(Status.FAILED if loss is None else Status.COMPLETED, (), loss, 0.1, "no" if loss is None else None)
    method.tell(Trial(number, number, proposal, 0, outcome))


def searched(method: Method, trials: int, loss: Loss) -> list[Config]:
    """Ask and tell `trials` trials in turn. Return their configurations."""
    configs = []
    for number in range(trials):
        proposal = asked(method)
        configs.append(proposal.config)
        told(method, number, proposal, loss(proposal.config))
    return configs
