"""Records that an earlier release wrote are read, resumed and left alone as that release would have done.

tests/assets/old-records/README.md says how they were written. These tests call the command and read JSON, nothing else, so that
they hold whatever becomes of the modules behind it.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

ASSETS = Path(__file__).parent / "assets" / "old-records"
PLACEHOLDER = "@HERE@"
"""Stands in the assets for the folder of the study file."""
STORES = [
    ("keras", "finished"),
    ("keras", "stopped"),
    ("keras", "restored"),
    ("died", "finished"),
    ("table", "finished"),
    ("in-flight", "finished"),
    ("system", "finished"),
    ("katib", "finished"),
]
OF_TODAY = (".report.generated_at", ".report.versions", ".report.study.hash")
"""When and with which version a report was written, and a digest of the study, which has the paths of its files."""
RESTARTS = ("opened", "started", "died", "cut", "restored")
"""Events that tell of interruptions, not of what was searched."""

pytestmark = pytest.mark.timeout(1800)
Events = list[dict[str, Any]]


def copied(kind: str, folder: Path) -> Path:
    """A copy of the assets of this kind, with the copy's path in the place of the one where they were written."""
    here = folder / kind
    shutil.copytree(ASSETS / kind, here)
    for file in [p for p in here.rglob("*") if p.suffix in (".json", ".jsonl", ".yaml")]:
        file.write_text(file.read_text().replace(PLACEHOLDER, str(here)))
    return here


def tuneoff(*arguments: object) -> str:
    """What the command prints, run to its end without an error."""
    environment = {**os.environ, "TUNEOFF_CORES": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    command = [sys.executable, "-m", "tuneoff", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expected(kind: str) -> dict[str, Any]:
    return json.loads((ASSETS / kind / "expected.json").read_text())


# Answers of one word in the old report that are a phrase now.
REWORDED = {("another", "a different one")}


def differences(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """Where a number, a name or a flag is another one. Sentences may be worded in another way, and entries may be added."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in before:
            if name not in now:
                yield f"{where}.{name} is missing"
            elif f"{where}.{name}" not in OF_TODAY:
                yield from differences(before[name], now[name], f"{where}.{name}")
    elif isinstance(before, list) and isinstance(now, list):
        if len(before) != len(now):
            yield f"{where} has {len(now)} entries, not {len(before)}"
        for number, (old, new) in enumerate(zip(before, now, strict=False)):
            yield from differences(old, new, f"{where}[{number}]")
    elif isinstance(before, float) and isinstance(now, int | float):
        if not math.isclose(before, now, rel_tol=1e-9, abs_tol=1e-9):
            yield f"{where} is {now}, not {before}"
    elif isinstance(before, str) and isinstance(now, str) and (" " in before or (before, now) in REWORDED):
        return
    elif before != now:
        yield f"{where} is {now!r}, not {before!r}"


# Reading


def read_by_commands(place: object, report: Any) -> dict[str, Any]:
    facts = {
        "status": json.loads(tuneoff("status", place, "--json")),
        "trials": json.loads(tuneoff("trials", place, "--format", "json")),
        "best": json.loads(tuneoff("best", place, "--format", "json")),
    }
    tuneoff("report", place)
    return {**facts, "report": json.loads(report())}


@pytest.mark.parametrize(("kind", "store"), STORES, ids=[f"{kind}-{store}" for kind, store in STORES])
def test_an_old_record_reads_with_the_same_numbers(kind: str, store: str, tmp_path: Path) -> None:
    here = copied(kind, tmp_path)
    before = (here / "expected.json").read_text()
    now = read_by_commands(here / store, (here / store / "report" / "results.json").read_text)
    assert list(differences(json.loads(before)["stores"][store], now)) == []


def test_the_assets_hold_every_event_that_there_is() -> None:
    kinds = {event["event"] for log in ASSETS.rglob("*.jsonl") for event in events_of(log)}
    assert kinds == {*RESTARTS, "asked", "held", "epoch", "told", "anew", "ended"}


def test_the_assets_name_no_place_of_the_machine_that_wrote_them() -> None:
    files = [p for p in ASSETS.rglob("*") if p.is_file() and p.suffix not in (".py", ".md")]
    for place in (b"/tmp", b"/home", b"/root", b"/work"):
        assert [str(file) for file in files if place in file.read_bytes()] == []


# Resuming


def events_of(log: Path) -> Events:
    return [json.loads(line) for line in log.read_text().splitlines()]


def logs_of(store: Path) -> list[Path]:
    return sorted((store / "record").rglob("*.jsonl"))


def cut(log: Path, events: int, torn: bytes = b"") -> bytes:
    """Cut a log after so many events and a torn line; returns the whole lines that are left."""
    left = b"".join(log.read_bytes().splitlines(keepends=True)[:events])
    log.write_bytes(left + torn)
    return left


def searched(events: Iterable[dict[str, Any]], *clocks: str) -> Events:
    """What a search did, without its interruptions, event numbers, these timed fields and the sentence on how it ended."""
    changing = {"seq", "attempt", *clocks}
    kept = [{k: v for k, v in e.items() if k not in changing} for e in events if e["event"] not in RESTARTS]
    return [{k: v for k, v in e.items() if k != "reason" or e["event"] != "ended"} for e in kept]


def timed_by_the_method(events: Events) -> Events:
    """The same without the seconds that the method took."""
    return [{k: v for k, v in e.items() if k != "seconds" or e["event"] not in ("asked", "ended")} for e in events]


def evaluations(store: Path) -> dict[str, Any]:
    found = {}
    for file in sorted((store / "evaluations").rglob("evaluation.json")):
        entries = json.loads(file.read_text())
        del entries["evaluated_at"]
        found[file.parent.name] = entries
    return found


def resume_cut(here: Path, share: Iterable[float]) -> dict[Path, tuple[bytes, Events]]:
    """Cut each log at its share of the events, within a line, and resume the study; returns what was left of each log and what
    the uncut log had."""
    before = {}
    for log, part in zip(logs_of(here / "finished"), share, strict=False):
        uncut = events_of(log)
        before[log] = cut(log, max(1, round(part * (len(uncut) - 1))), b'{"seq":12,"event":"ep'), uncut
    scores = evaluations(here / "finished")
    shutil.rmtree(here / "finished" / "evaluations")
    tuneoff("run", here / "study.yaml", "--out", here / "finished")
    assert evaluations(here / "finished") == scores
    for log, (left, _) in before.items():
        assert log.read_bytes().startswith(left), f"{log}: what was on record is still there"
    return before


def test_a_search_of_a_table_that_was_cut_is_resumed_to_the_same_record(tmp_path: Path) -> None:
    here = copied("table", tmp_path)
    share = [k / 11 for k in (0, 8, 3, 10, 5, 1, 7, 4, 9, 6, 11, 2)]
    for log, (_, uncut) in resume_cut(here, share).items():
        now = events_of(log)
        assert timed_by_the_method(searched(now, "time")) == timed_by_the_method(searched(uncut, "time")), log
        assert sum(e["event"] == "opened" for e in now) == 2


def test_with_several_trials_in_flight_a_cut_search_is_resumed_to_the_same_record(tmp_path: Path) -> None:
    """The method's seconds do not count in this study, so even the times are the same."""
    here = copied("in-flight", tmp_path)
    for log, (_, uncut) in resume_cut(here, [0.3, 0.55, 0.8, 0.1]).items():
        assert searched(events_of(log)) == searched(uncut), log


def same_processor(kind: str) -> bool:
    """Whether a training here is the same to the last bit as the one on record."""
    spec = importlib.util.spec_from_file_location("write_old_records", ASSETS / "write.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return bool(module.processor() == expected(kind)["processor"])


def test_a_killed_study_that_trains_is_resumed_to_the_same_record(tmp_path: Path) -> None:
    """It was stopped while its first trial trained, and killed while a trial continued the weights of another one."""
    here = copied("keras", tmp_path)
    before = {log: log.read_bytes() for log in logs_of(here / "stopped")}
    tuneoff("run", here / "study.yaml", "--out", here / "stopped")
    for log in logs_of(here / "finished"):
        resumed = here / "stopped" / log.relative_to(here / "finished")
        assert resumed.read_bytes().startswith(before.get(resumed, b""))
        now, uncut = (searched(events_of(file), "time", "seconds", "peak_memory_bytes") for file in (resumed, log))
        if same_processor("keras"):
            assert now == uncut, log
        assert [e["event"] for e in now] == [e["event"] for e in uncut]
        assert list(_apart(uncut, now)) == []
        assert not any(e["event"] == "restored" for e in events_of(resumed)), "the kept weights were continued"
    scores = [evaluations(here / store) for store in ("finished", "stopped")]
    for entry in (retraining for found in scores for e in found.values() for retraining in e["retrainings"]):
        del entry["seconds"]
    if same_processor("keras"):
        assert scores[0] == scores[1]
    assert list(_apart(scores[0], scores[1])) == []


def _apart(before: Any, now: Any) -> Iterator[str]:
    """As differences, of trainings on another processor, whose sums differ in their last digits."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            yield from _apart(before.get(name), now.get(name))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for old, new in zip(before, now, strict=True):
            yield from _apart(old, new)
    elif isinstance(before, float) and isinstance(now, float):
        if not math.isclose(before, now, rel_tol=1e-3, abs_tol=1e-4):
            yield f"{before} is {now}"
    elif before != now:
        yield f"{before!r} is {now!r}"


def test_a_killed_system_begins_again_and_keeps_what_is_on_record(tmp_path: Path) -> None:
    here = copied("system", tmp_path)
    (log,) = logs_of(here / "finished")
    uncut = events_of(log)
    until = next(number for number, event in enumerate(uncut) if event["event"] == "anew") - 1
    left = cut(log, until, b'{"seq":')
    for kept in ("evaluations", "systems"):
        shutil.rmtree(here / "finished" / kept)
    tuneoff("run", here / "study.yaml", "--out", here / "finished")
    assert log.read_bytes().startswith(left)
    now = events_of(log)
    assert [e["event"] for e in now[until : until + 2]] == ["opened", "anew"]
    assert now[-1]["event"] == "ended"
    lost = {e["trial"] for e in uncut[:until] if e["event"] == "asked"}
    rows = json.loads(tuneoff("trials", here / "finished", "--format", "json"))
    assert {row["trial"] for row in rows if row["trial"] in lost and row["objective"] is None} == lost
    assert any(row["objective"] is not None for row in rows)
    assert evaluations(here / "finished")["flaml"]["trial"] not in lost


# Leaving alone


@pytest.mark.parametrize("kind", ["keras", "in-flight", "system"])
def test_a_finished_study_is_run_again_without_a_training_and_without_a_change(kind: str, tmp_path: Path) -> None:
    here = copied(kind, tmp_path)
    out = here / "finished"
    before = kept(out)
    tuneoff("run", here / "study.yaml", "--out", out)
    assert kept(out) == before
    started = [log.name for log in (out / "logs").iterdir() if re.search(r"\.(worker|method|system)-\d+\.log$", log.name)]
    assert started == [], "no process was started that trains or proposes"


def kept(out: Path) -> dict[str, bytes]:
    files = [out / "study.json", *(out / "record").rglob("*"), *(out / "evaluations").rglob("evaluation.json")]
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in files if file.is_file()}


# In a bucket


@pytest.fixture
def old_bucket(bucket: Any, tmp_path: Path) -> Path:
    """The bucket with an old study's objects; returns the study file's folder."""
    here = copied("bucket", tmp_path)
    for name, text in json.loads((here / "objects.json").read_text()).items():
        bucket.put_object(Bucket="tuneoff", Key=f"old/{name}", Body=text.encode())
    return here


def objects(bucket: Any, part: str) -> dict[str, bytes]:
    listed = bucket.list_objects_v2(Bucket="tuneoff", Prefix=f"old/{part}").get("Contents", [])
    return {e["Key"]: bucket.get_object(Bucket="tuneoff", Key=e["Key"])["Body"].read() for e in listed}


def test_an_old_record_in_a_bucket_reads_with_the_same_numbers(old_bucket: Path, bucket: Any) -> None:
    now = read_by_commands("s3://tuneoff/old", lambda: objects(bucket, "report/results.json")["old/report/results.json"])
    before = json.loads((old_bucket / "expected.json").read_text())
    assert list(differences(before["stores"]["bucket"], now)) == []


def test_a_cut_search_in_a_bucket_is_resumed_to_the_same_record(old_bucket: Path, bucket: Any) -> None:
    log = "record/bars/random/seed-0.jsonl/"
    before = objects(bucket, log)
    for number, key in enumerate(sorted(before)):
        if number >= len(before) // 2:
            bucket.delete_object(Bucket="tuneoff", Key=key)
    left = objects(bucket, log)
    tuneoff("run", old_bucket / "study.yaml", "--out", old_bucket / "out")
    now = objects(bucket, log)
    assert {key: now[key] for key in left} == left
    clocks = ("time", "seconds", "peak_memory_bytes")
    old, new = (searched([json.loads(text) for _, text in sorted(r.items())], *clocks) for r in (before, now))
    if same_processor("bucket"):
        assert new == old
    assert list(_apart(old, new)) == []
