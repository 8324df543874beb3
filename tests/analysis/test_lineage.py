"""Who continued whom, and what changed on the way."""

from __future__ import annotations

from made_search import made, search
from tuneoff.analysis.lineage import family
from tuneoff.core.study import ObjectiveSettings


def test_a_strand_knows_its_parent_and_what_became_different():
    found = family(
        search(
            made(0.5, 0.6, config={"x": 0.5, "kind": "a"}),
            made(0.7, parent=0, first=2, config={"x": 0.5, "kind": "a"}),
            made(0.9, parent=0, first=2, config={"x": 0.8}),
            seed=3,
            method="pbt",
        ),
        ObjectiveSettings(),
    )
    assert found is not None
    assert (found.method, found.seed, found.winner) == ("pbt", 3, 2)
    assert [(s.trial, s.parent, s.first_epoch, s.last_epoch) for s in found.strands] == [
        (0, None, 0, 2),
        (1, 0, 2, 3),
        (2, 0, 2, 3),
    ]
    assert [s.changed for s in found.strands] == [{}, {}, {"x": 0.8, "kind": None}]
    assert [s.of_winner for s in found.strands] == [True, False, True]
    assert [(s.start, s.objective) for s in found.strands] == [(None, 0.6), (0.6, 0.7), (0.6, 0.9)]


def test_promotions_that_keep_their_configuration_are_no_family():
    assert family(search(made(0.5), made(0.7, parent=0, first=1)), ObjectiveSettings()) is None
