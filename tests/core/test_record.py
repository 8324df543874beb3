"""The record: whatever a kill leaves of its last write, reading and going on lose nothing that was acknowledged."""

from __future__ import annotations

import json
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made import made_store, made_study
from toy import essence, run_toy
from tuneoff.core import layout
from tuneoff.core.errors import RecordError, StudyError
from tuneoff.core.problem import Epoch, Proposal
from tuneoff.core.record.events import parse
from tuneoff.core.record.state import SearchState, Stage, TrialRecord, lineage, read_search, reduce_events, stages
from tuneoff.core.record.writer import Writer
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.journal import FileJournal, whole_lines
from tuneoff.core.store.study_store import claim, read_study


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    log = tmp_path_factory.mktemp("record") / "seed-0.jsonl"
    run_toy(log)
    return log.read_bytes()


def test_a_killed_search_ends_as_if_it_had_not_stopped_whatever_events_are_left(undisturbed: bytes, tmp_path: Path) -> None:
    lines, _ = whole_lines(undisturbed)
    whole = essence(parse(lines))
    for kept in range(len(lines) + 1):
        log = tmp_path / f"{kept}.jsonl"
        log.write_bytes(b"".join(line + b"\n" for line in lines[:kept]))
        assert essence(run_toy(log)) == whole, f"killed after {kept} events"


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_torn_write_is_cut_off_before_anything_is_appended(undisturbed: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(undisturbed)), "cut")
    tail = data.draw(
        st.sampled_from([b"", b"\0" * 64, b"\xff\xfe{", b'{"seq":'.ljust(100, b" ")]), "what the disk made of the rest"
    )
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "seed-0.jsonl")
        log.write_bytes(undisturbed[:cut] + tail)
        assert essence(run_toy(log)) == essence(parse(whole_lines(undisturbed)[0]))
        parse(whole_lines(log.read_bytes())[0])  # every line is whole and in sequence


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_it_may_be_killed_again_and_again(undisturbed: bytes, cuts: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "seed-0.jsonl")
        for cut in cuts:
            run_toy(log)
            content = log.read_bytes()
            log.write_bytes(content[: int(cut * len(content))])
        assert essence(run_toy(log)) == essence(parse(whole_lines(undisturbed)[0]))


def test_damage_before_the_last_line_is_an_error_that_names_the_line(tmp_path: Path, undisturbed: bytes) -> None:
    lines = whole_lines(undisturbed)[0]
    for damaged in (b"not json", json.dumps({"seq": 99, "event": "told"}).encode(), b"[]"):
        log = tmp_path / "seed-0.jsonl"
        log.write_bytes(b"\n".join([*lines[:3], damaged, *lines[4:], b""]))
        with pytest.raises(RecordError, match="line 4 of the record is damaged"):
            run_toy(log)


def test_a_damaged_record_is_a_failure_of_its_cell_and_of_no_other(tmp_path: Path) -> None:
    store = made_store(tmp_path)
    log = tmp_path / "record/mnist/grid/seed-1.jsonl"
    log.write_bytes(b"rubbish\n" + log.read_bytes())
    damaged, *others = read_study(store).cells
    assert damaged.failures[0].reason.startswith("seed 1: line 1 of the record is damaged")
    assert [len(s.trials) for s in damaged.searches] == [8, 0, 8]
    assert not any(c.failures for c in others[:-1])


def test_a_record_of_a_later_schema_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "seed-0.jsonl"
    log.write_bytes(b'{"seq":0,"event":"opened","schema":99}\n')
    with pytest.raises(RecordError, match="schema 99"):
        Writer(FileJournal(log))


def test_a_second_writer_is_kept_out_while_readers_are_not(tmp_path: Path) -> None:
    log = tmp_path / "seed-0.jsonl"
    first = FileJournal(log)
    first.append(b'{"seq":0}')
    with pytest.raises(RecordError, match="written by another process"):
        FileJournal(log, patience_seconds=0.2)
    assert FolderStore(tmp_path).journal_lines("seed-0.jsonl") == [b'{"seq":0}']
    first.close()
    second = FileJournal(log, patience_seconds=0.2)
    assert second.lines() == [b'{"seq":0}']
    second.close()


class Slow:
    """A journal whose writes wait until they are let go, and fail where it is told to."""

    instant = False

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.free = threading.Event()
        self.fails = False

    def lines(self) -> list[bytes]:
        return []

    def append(self, line: bytes) -> None:
        assert self.free.wait(120)
        if self.fails:
            raise RecordError("the disk is full")
        self.written.append(line)

    def close(self) -> None:
        pass


def test_an_event_may_be_on_its_way_while_the_search_goes_on_and_none_overtakes_it() -> None:
    journal = Slow()
    writer = Writer(journal)
    writer.append_soon("epoch", trial=0)
    assert journal.written == [], "the caller goes on before it is written"
    journal.free.set()
    writer.append("told", trial=0)
    assert [e["event"] for e in parse(journal.written)] == ["epoch", "told"]
    writer.close()


def test_an_event_that_could_not_be_written_is_the_next_ones_fault_and_nothing_follows_it() -> None:
    journal = Slow()
    journal.fails = True
    journal.free.set()
    writer = Writer(journal)
    writer.append_soon("epoch", trial=0)
    for _ in range(2):
        with pytest.raises(RecordError, match="the disk is full"):
            writer.append("told", trial=0)
    journal.fails = False
    with pytest.raises(RecordError, match="the disk is full"):
        writer.append_soon("epoch", trial=0)
    assert journal.written == []
    writer.close()


def test_a_search_led_on_event_by_event_is_the_one_that_was_read_at_once(undisturbed: bytes) -> None:
    events = parse(undisturbed.splitlines())
    course = SearchState("mnist", "random", 0)
    for number, event in enumerate(events, start=1):
        course.follow([event])
        assert course.search == reduce_events(events[:number], "mnist", "random", 0)
        assert course.search is course.search, "nothing has happened since"


def test_reading_derives_status_lineage_and_spending(tmp_path: Path) -> None:
    store = made_store(tmp_path)
    search = read_search(store, "mnist", "hyperband", 0)
    assert [t.status for t in search.trials] == ["completed"] * 5 + ["diverged", "failed", "completed"]
    child = search.trials[4].trial
    assert (child.proposal.parent, child.config_id, child.first_epoch, child.asked_epochs) == (1, 1, 3, 6)
    assert search.spent.trials == 7, "a continued trial is no new configuration"
    assert search.spent.epochs == 4 * 3 + 6 + 1 + 0 + 9, "resumed epochs are not counted twice"
    best = search.incumbent
    assert best is not None
    assert best.trial.outcome is not None
    assert best.trial.outcome.loss == min(t.trial.outcome.loss for t in search.told if t.trial.outcome and t.trial.outcome.loss)
    assert search.ended is not None


def test_a_trial_cut_off_by_a_kill_is_running_and_keeps_its_epochs(tmp_path: Path) -> None:
    store = made_store(tmp_path)
    broken = read_search(store, "fashion_mnist", "hyperband", 0)
    assert broken.trials[-1].status == "running"
    assert len(broken.trials[-1].curve) == 1
    assert broken.ended is None


def test_a_folder_belongs_to_one_study(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    first = claim(store, made_study())
    assert claim(store, made_study(resources={"workers": 2})) == first, "resources do not make another study"
    with pytest.raises(StudyError, match=r"holds another study: seeds: 0, 1, 2 removed\. Give another --out"):
        claim(store, made_study(seeds=[7]))


def test_a_damaged_study_file_is_one_sentence(tmp_path: Path) -> None:
    for content in ("no json", "{}", '{"id": "x", "created_at": 0, "study": {}}'):
        (tmp_path / "study.json").write_text(content)
        for look in (lambda: read_study(FolderStore(tmp_path)), lambda: claim(FolderStore(tmp_path), made_study())):
            with pytest.raises(StudyError, match=r"study\.json is damaged"):
                look()


def test_a_folder_without_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"holds no study: study\.json is missing"):
        read_study(FolderStore(tmp_path))


def test_no_search_is_no_error(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    claim(store, made_study())
    assert all(not s.trials for c in read_study(store).cells for s in c.searches)
    assert reduce_events([], "mnist", "grid", 0).incumbent is None
    assert layout.events("mnist", "grid", 0) == "record/mnist/grid/seed-0.jsonl"


def test_the_stages_of_a_trial_are_the_configurations_that_its_weights_were_trained_under() -> None:
    """Trial 1 goes on as trial 0 was; trial 2 goes on with another dropout; trial 3 stems from trial 1."""
    trials: dict[int, TrialRecord] = {}
    proposals = [({"d": 0.1}, 2, None), ({"d": 0.1}, 4, 0), ({"d": 0.3}, 6, 1), ({"d": 0.2}, 6, 1)]
    for number, (config, target, parent) in enumerate(proposals):
        trial = lineage(number, Proposal(config, target, parent), trials)
        curve = tuple(Epoch(n, {}, 0.1) for n in range(trial.first_epoch + 1, target + 1))
        trials[number] = TrialRecord(trial, curve, 0.0)
    assert stages(trials[1].trial, trials) == (Stage({"d": 0.1}, 4),)
    assert stages(trials[2].trial, trials) == (Stage({"d": 0.1}, 4), Stage({"d": 0.3}, 6))
    assert stages(trials[3].trial, trials) == (Stage({"d": 0.1}, 4), Stage({"d": 0.2}, 6))
