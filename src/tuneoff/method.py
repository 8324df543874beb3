"""Everything that a user-defined search method imports.

A method is a class with the verbs `ask`, `tell` and `should_continue`, which `Method` describes. docs/add-a-method.md has an
example.
"""

from __future__ import annotations

from .core.encoding import Axes, Axis
from .core.errors import StudyError
from .core.problem import Done, Epoch, Limits, Method, Outcome, Problem, Proposal, Status, Trial, TrialId, Wait
from .core.space import Categorical, Config, Float, Int, Space, Value
from .core.study import Study
from .methods.spec import Algorithm, Determinism, FailedRule, MethodSpec

__all__ = [
    "Algorithm",
    "Axes",
    "Axis",
    "Categorical",
    "Config",
    "Determinism",
    "Done",
    "Epoch",
    "FailedRule",
    "Float",
    "Int",
    "Limits",
    "Method",
    "MethodSpec",
    "Outcome",
    "Problem",
    "Proposal",
    "Space",
    "Status",
    "Study",
    "StudyError",
    "Trial",
    "TrialId",
    "Value",
    "Wait",
]
