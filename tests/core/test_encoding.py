"""The flat coding of spaces: a configuration comes back as it was, and no bound, step, level or scale is lost."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneoff.contract.toy_objective import CONDITIONAL, MIXED, drawn
from tuneoff.core.encoding import Axes, Axis
from tuneoff.core.space import PAPER_SPACE, Space


@pytest.mark.parametrize("space", [PAPER_SPACE, MIXED, CONDITIONAL], ids=["paper", "mixed", "conditional"])
def test_a_thousand_configurations_come_back_as_they_were(space: Space) -> None:
    axes, rng = Axes(space), random.Random(0)
    for _ in range(1000):
        config = drawn(space, rng)
        assert axes.decode(axes.encode(config)) == config


@given(low=st.integers(-50, 50), steps=st.integers(1, 40), step=st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_every_step_of_a_range_has_a_place_and_no_other_value_has(low: int, steps: int, step: int) -> None:
    whole = {"type": "int", "low": low, "high": low + steps * step, "step": step}
    tenths = {"type": "float", "low": low / 10, "high": (low + steps * step) / 10, "step": step / 10}
    space = Space.model_validate({"whole": whole, "tenths": tenths})
    for axis in Axes(space).axes:
        assert [axis.place(axis.parameter.nearest(axis.value(place))) for place in axis.places] == axis.places
        assert [space[axis.name].nearest(axis.value(place)) for place in axis.places] == space[axis.name].levels()


def test_ranges_keep_their_bounds_and_scales() -> None:
    axes = {axis.name: axis for axis in Axes(MIXED).axes}
    assert (axes["rate"].low, axes["rate"].high, axes["rate"].log) == (1e-4, 1e-1, True)
    assert (axes["share"].low, axes["share"].high, axes["share"].log) == (1e-3, 1.0, False)
    assert (axes["width"].low, axes["width"].high, axes["width"].log) == (1, 1000, True)
    assert (axes["units"].low, axes["units"].high, axes["units"].kind) == (0, 7, "int")


# As lines of real numbers

SPACE = Space.model_validate(
    {
        "kind": {"type": "categorical", "values": ["a", "b", "c"]},
        "rate": {"type": "float", "low": 0.001, "high": 0.1, "log": True},
        "width": {"type": "int", "low": 1, "high": 100, "log": True},
        "step": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1},
    }
)


@pytest.mark.parametrize("axis", Axes(SPACE).axes, ids=list(SPACE))
def test_both_ends_of_a_line_are_the_axis_ends_and_every_whole_place_has_its_stretch(axis: Axis) -> None:
    low, high = axis.line
    assert [axis.on_line(low), axis.on_line(high)] == pytest.approx([axis.low, axis.high])
    if axis.kind != "float":
        points = [math.log(place) if axis.log else float(place) for place in axis.places]
        assert [axis.on_line(p) for p in points] == axis.places


def test_each_category_has_an_equal_share_of_the_line() -> None:
    axis = Axes(SPACE).axes[0]
    assert axis.line == (-0.5, 2.5)
    assert [axis.on_line(p) for p in (-0.5, 0.4, 0.6, 1.4, 1.6, 2.5)] == [0, 0, 1, 1, 2, 2]
