"""The grid of a space, as a space that contains only the grid points and as the list of its configurations."""

from __future__ import annotations

from typing import Any

import pytest

from tuneoff.core.grid import as_parameter, configurations, on_grid
from tuneoff.core.space import PAPER_SPACE, Categorical, Float, Int, Space


def space(**parameters: Any) -> Space:
    return Space.model_validate(parameters)


def test_the_papers_grid_keeps_dropout_a_range_with_a_step() -> None:
    gridded = on_grid(PAPER_SPACE)
    assert gridded["dropout"] == Float(type="float", low=0.0, high=0.4, step=0.1)
    assert gridded["activation"] == PAPER_SPACE["activation"]
    assert gridded.grid_levels() == PAPER_SPACE.grid_levels()
    assert len(configurations(gridded)) == 2880


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ({"type": "int", "low": 8, "high": 64, "step": 8}, Int(type="int", low=8, high=64, step=8)),
        ({"type": "int", "low": 0, "high": 10, "grid_points": 3}, Int(type="int", low=0, high=10, step=5)),
        ({"type": "int", "low": 1, "high": 8, "grid_points": 3}, Categorical(type="categorical", values=[1, 5, 8])),
        (
            {"type": "float", "low": 0.001, "high": 0.1, "log": True, "grid_points": 3},
            Categorical(type="categorical", values=[0.001, 0.01, 0.1]),
        ),
        ({"type": "float", "low": 0.0, "high": 1.0, "grid_points": 1}, Categorical(type="categorical", values=[0.5])),
    ],
)
def test_a_range_becomes_steps_where_its_grid_is_even_and_a_choice_elsewhere(parameter: Any, expected: Any) -> None:
    gridded = on_grid(space(x=parameter))
    assert gridded["x"] == expected
    assert gridded.grid_levels() == space(x=parameter).grid_levels()


def test_values_that_no_step_makes_are_a_choice() -> None:
    assert as_parameter([0.1, 0.3, 0.4]) == Categorical(type="categorical", values=[0.1, 0.3, 0.4])
    assert as_parameter([1, 2.0]) == Categorical(type="categorical", values=[1, 2.0])
    assert as_parameter([5, 3]) == Categorical(type="categorical", values=[5, 3])


def test_a_range_without_a_grid_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="x is a range without step or grid_points"):
        on_grid(space(x={"type": "float", "low": 0.0, "high": 1.0}))


def test_combinations_that_differ_in_inactive_parameters_alone_are_one_configuration() -> None:
    conditional = space(
        optimizer={"type": "categorical", "values": ["SGD", "Adam"]},
        momentum={"type": "float", "low": 0.0, "high": 0.9, "grid_points": 3, "when": {"optimizer": ["SGD"]}},
    )
    found = configurations(on_grid(conditional))
    assert found == [
        {"optimizer": "SGD", "momentum": 0.0},
        {"optimizer": "SGD", "momentum": 0.45},
        {"optimizer": "SGD", "momentum": 0.9},
        {"optimizer": "Adam"},
    ]


def test_a_condition_that_holds_nowhere_on_the_grid_is_refused() -> None:
    off = space(
        rate={"type": "float", "low": 0.0, "high": 1.0, "grid_points": 3},
        extra={"type": "int", "low": 1, "high": 2, "step": 1, "when": {"rate": [0.3]}},
    )
    with pytest.raises(ValueError, match=r"extra\.when names only values of rate that are not on its grid"):
        on_grid(off)
