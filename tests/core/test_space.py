"""The search space: levels, activation, and what may not be in one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tuneoff.core.space import PAPER_SPACE, Categorical, Float, Int, Space


def space(**parameters: dict[str, Any]) -> Space:
    return Space.model_validate(parameters)


def test_the_papers_grid_has_2880_points() -> None:
    assert PAPER_SPACE.grid_size() == 2880
    assert PAPER_SPACE.grid_levels()["dropout"] == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_inactive_parameters_are_removed_and_their_children_with_them() -> None:
    chained = space(
        momentum={"type": "float", "low": 0.0, "high": 0.9, "when": {"optimizer": ["SGD"]}},
        nesterov={"type": "categorical", "values": [True, False], "when": {"momentum": [0.9]}},
        optimizer={"type": "categorical", "values": ["SGD", "Adam"]},
    )
    assert chained.activate({"optimizer": "Adam", "momentum": 0.9, "nesterov": True}) == {"optimizer": "Adam"}
    assert chained.activate({"optimizer": "SGD", "momentum": 0.9, "nesterov": True}) == {
        "momentum": 0.9,
        "nesterov": True,
        "optimizer": "SGD",
    }


def test_an_active_parameter_without_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="a is active and has no value"):
        space(a={"type": "int", "low": 1, "high": 2}).activate({})


def test_numpy_scalars_become_plain_numbers_and_true_is_not_one() -> None:
    mixed = space(
        n={"type": "int", "low": 1, "high": 9},
        c={"type": "categorical", "values": [1, True, "1"]},
        x={"type": "float", "low": 0, "high": 1},
    )
    config = mixed.activate({"n": np.int64(3), "c": True, "x": np.float32(0.5)})
    assert config == {"n": 3, "c": True, "x": 0.5}
    assert [type(v) for v in config.values()] == [int, bool, float]


@given(st.floats(-1e3, 1e3), st.floats(0.01, 1e3), st.integers(1, 50), st.floats(-2, 3))
def test_the_nearest_legal_value_is_legal(low: float, width: float, steps: int, share: float) -> None:
    for step in (None, width / steps):
        parameter = Float(type="float", low=low, high=low + width, step=step)
        assert parameter.contains(parameter.nearest(low + share * width))


@given(st.integers(-100, 100), st.integers(1, 100), st.integers(1, 100), st.floats(-300, 300))
def test_a_stepped_integer_stays_on_its_steps(low: int, width: int, step: int, value: float) -> None:
    parameter = Int(type="int", low=low, high=low + width, step=min(step, width))
    assert parameter.contains(parameter.nearest(value))
    assert all(parameter.contains(level) for level in parameter.levels() or [])


def test_grid_points_are_spread_evenly_on_the_parameters_own_scale() -> None:
    rate = Float(type="float", low=1e-4, high=1e-1, log=True, grid_points=4)
    assert rate.levels() == [0.0001, 0.001, 0.01, 0.1]
    single = Float(type="float", low=1e-4, high=1e-2, log=True, grid_points=1).levels()
    assert single is not None
    assert math.isclose(float(single[0]), 1e-3)


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"a": {"type": "float", "low": 1, "high": 1}}, "low must be smaller than high"),
        ({"a": {"type": "float", "low": 0, "high": 1, "log": True}}, "a log scale needs low > 0"),
        ({"a": {"type": "int", "low": 1, "high": 9, "log": True, "step": 2}}, "log and step exclude each other"),
        ({"a": {"type": "int", "low": 1, "high": 3, "step": 5}}, "step 5 is larger than high - low = 2"),
        ({"a": {"type": "categorical", "values": [1, 1]}}, "values must be distinct"),
        ({"a": {"type": "categorical", "values": []}}, "at least 1 item"),
        ({}, "at least one parameter"),
        ({"a b": {"type": "int", "low": 1, "high": 2}}, "the parameter name 'a b'"),
        ({"a": {"type": "int", "low": 1, "high": 2, "when": {"b": [1]}}}, "a.when names 'b', which is none"),
        ({"a": {"type": "int", "low": 1, "high": 2, "when": {"a": [1]}}}, "names 'a' itself"),
        (
            {"a": {"type": "int", "low": 1, "high": 2}, "b": {"type": "int", "low": 1, "high": 2, "when": {"a": [7]}}},
            "b.when asks for a = 7, which a never takes",
        ),
        (
            {
                "a": {"type": "int", "low": 1, "high": 2, "when": {"b": [1]}},
                "b": {"type": "int", "low": 1, "high": 2, "when": {"a": [1]}},
            },
            "form a circle",
        ),
    ],
)
def test_an_impossible_space_is_refused_with_its_reason(parameters: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        space(**parameters)


def test_a_category_is_found_by_value_and_type() -> None:
    parameter = Categorical(type="categorical", values=[1, True, "1"])
    assert [parameter.index(v) for v in (1, True, "1")] == [0, 1, 2]
    with pytest.raises(ValueError, match="none of"):
        parameter.nearest("2")
