"""A table of recorded trainings: what is written is read again, and what is no table is refused in one sentence."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabled import EPOCHS, SPACE, table_file, training, trainings
from tuneoff.core.errors import StudyError
from tuneoff.core.grid import configurations
from tuneoff.core.problem import Inherit, Proposal, Trial
from tuneoff.core.space import Space
from tuneoff.core.table import RecordedTraining, read_info, read_table, source_of

POINTS = configurations(SPACE)


def test_a_table_gives_back_every_training(tmp_path: Path) -> None:
    table = read_table(str(table_file(tmp_path / "t.parquet")))
    assert sorted(table, key=lambda t: str((t.config, t.seed))) == sorted(trainings(), key=lambda t: str((t.config, t.seed)))
    assert table.training(POINTS[0], 2) == training(POINTS[0], 2)
    assert (table.info.trainings, table.info.whole, table.info.points, table.info.complete) == (8, 6, 6, True)


def test_the_same_trainings_in_another_order_give_the_same_bytes(tmp_path: Path) -> None:
    shuffled = trainings()
    random.Random(1).shuffle(shuffled)
    first, second = table_file(tmp_path / "a.parquet"), table_file(tmp_path / "b.parquet", shuffled)
    assert first.read_bytes() == second.read_bytes()


def test_failed_diverged_and_short_trainings_are_told_apart(tmp_path: Path) -> None:
    failed = RecordedTraining(POINTS[1], 0, (), "no memory")
    diverged = training(POINTS[2], epochs=2, nan_from=2)
    short = training(POINTS[3], epochs=2)
    table = read_table(str(table_file(tmp_path / "t.parquet", [training(POINTS[0]), failed, diverged, short])))
    assert table.training(POINTS[1], 0) == failed
    assert math.isnan(table.training(POINTS[2], 0).curve[-1].metrics["loss"])
    assert [table.training(p, 0).whole(EPOCHS) for p in POINTS[:4]] == [True, True, True, False]
    assert (table.info.failed, table.info.whole, table.info.complete) == (1, 3, False)


def test_values_of_any_type_come_back_as_they_were(tmp_path: Path) -> None:
    space = Space.model_validate(
        {
            "kind": {"type": "categorical", "values": ["1", 1, 1.5, True]},
            "flag": {"type": "categorical", "values": [True, False]},
            "rate": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.5, "when": {"flag": [True]}},
        }
    )
    points = configurations(space)
    epoch = training(POINTS[0]).curve
    table = read_table(str(table_file(tmp_path / "t.parquet", [RecordedTraining(p, 0, epoch) for p in points], space)))
    found = [t.config for t in table]
    assert sorted(map(repr, found)) == sorted(map(repr, points))
    assert table.info.complete


def test_what_a_search_sees_holds_no_test() -> None:
    shown = training(POINTS[0]).shown
    assert [e.number for e in shown] == [1, 2, 3, 4]
    assert set(shown[0].metrics) == {"loss", "accuracy", "val_loss", "val_accuracy"}


def test_a_draw_takes_the_same_training_every_time_and_all_of_them_by_turns(tmp_path: Path) -> None:
    table = read_table(str(table_file(tmp_path / "t.parquet")))
    drawn = [table.drawn(POINTS[0], 7, trial).seed for trial in range(60)]
    assert drawn == [table.drawn(POINTS[0], 7, trial).seed for trial in range(60)]
    assert set(drawn) == {0, 1, 2}
    assert min(drawn.count(seed) for seed in (0, 1, 2)) > 8
    with pytest.raises(KeyError):
        table.drawn({"units": 9, "optimizer": "SGD"}, 7, 0)


def test_a_trial_reads_its_parents_training_on_unless_it_takes_over_nothing(tmp_path: Path) -> None:
    table = read_table(str(table_file(tmp_path / "t.parquet")))
    root = Trial(0, 0, Proposal(POINTS[0], 1), 0)
    first = source_of(table, 3, root, {})
    known = {0: first}
    for inherit in (Inherit.STATE, Inherit.BEST_WEIGHTS):
        assert source_of(table, 3, Trial(1, 0, Proposal(POINTS[0], 4, 0, inherit), 1), known) == first
    numbers = {
        source_of(table, 3, Trial(n, 0, Proposal(POINTS[0], 4, 0, Inherit.NOTHING), 1), known).training.seed for n in range(1, 20)
    }
    assert numbers == {0, 1, 2}
    anew = source_of(table, 3, Trial(1, 0, Proposal(POINTS[0], 4, 0, Inherit.NOTHING), 1), known)
    assert anew.offset == 1
    assert source_of(table, 3, Trial(2, 0, Proposal(POINTS[0], 4, 1), 2), {1: anew}) == anew
    with pytest.raises(LookupError, match="with another configuration"):
        source_of(table, 3, Trial(1, 0, Proposal(POINTS[1], 4, 0), 1), known)


def test_what_is_no_table_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="does not exist: give a table"):
        read_info(str(tmp_path / "none.parquet"))
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(StudyError, match="cannot be read"):
        read_info(str(tmp_path / "text.parquet"))
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(StudyError, match="is a Parquet file, and no table of Tuneoff's"):
        read_info(str(tmp_path / "other.parquet"))


def test_a_table_of_a_later_version_is_refused(tmp_path: Path) -> None:
    late = pa.table({"a": [1]}).replace_schema_metadata({b"tuneoff": b'{"schema_version": 99}'})
    pq.write_table(late, tmp_path / "late.parquet")
    with pytest.raises(StudyError, match="has schema 99, and this version of tuneoff reads up to 1"):
        read_info(str(tmp_path / "late.parquet"))
