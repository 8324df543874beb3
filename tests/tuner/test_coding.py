"""Spaces coded for frameworks without categories: an axis as a line of real numbers."""

from __future__ import annotations

import math

import pytest

from tuneoff.components.core.space import Space
from tuneoff.components.tuner.coding import Axes

SPACE = Space.model_validate(
    {
        "kind": {"type": "categorical", "values": ["a", "b", "c"]},
        "rate": {"type": "float", "low": 0.001, "high": 0.1, "log": True},
        "width": {"type": "int", "low": 1, "high": 100, "log": True},
        "step": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1},
    }
)


@pytest.mark.parametrize("axis", Axes(SPACE).list, ids=list(SPACE))
def test_both_ends_of_a_line_are_the_axis_ends_and_every_whole_place_has_its_stretch(axis) -> None:  # type: ignore[no-untyped-def]
    low, high = axis.line
    assert [axis.on_line(low), axis.on_line(high)] == pytest.approx([axis.low, axis.high])
    if axis.kind != "float":
        points = [math.log(place) if axis.log else float(place) for place in axis.places]
        assert [axis.on_line(p) for p in points] == axis.places


def test_each_category_has_an_equal_share_of_the_line() -> None:
    axis = Axes(SPACE).list[0]
    assert axis.line == (-0.5, 2.5)
    assert [axis.on_line(p) for p in (-0.5, 0.4, 0.6, 1.4, 1.6, 2.5)] == [0, 0, 1, 1, 2, 2]
