"""The two stores keep one contract; what differs is how a second writer of a journal is kept out."""

from __future__ import annotations

import fcntl
import logging
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.awsrequest import AWSResponse
from moto import settings as moto_settings
from moto.core.responses import ActionAuthenticatorMixin
from moto.server import ThreadedMotoServer

from toy import Curve, Halving, essence, toy_spec
from tuneoff.core.errors import RecordError, StudyError
from tuneoff.core.problem import Limits
from tuneoff.core.record.events import Event
from tuneoff.core.record.writer import Writer
from tuneoff.core.store import journal as journal_module
from tuneoff.core.store import s3 as s3_store
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.journal import FileJournal, QuickJournal, whole_lines
from tuneoff.core.store.open import fetch_file, open_store
from tuneoff.core.store.protocol import Store
from tuneoff.core.store.s3 import S3Store
from tuneoff.core.study import ObjectiveSettings
from tuneoff.search.budget import Budget
from tuneoff.search.checkpoints import NoCheckpoints
from tuneoff.search.loop import Search

BUCKET = "bucket"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3 server on loopback; its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def client(server: str) -> Any:
    keys = {name.lower(): value for name, value in KEYS.items() if name != "AWS_DEFAULT_REGION"}
    client = boto3.session.Session(region_name="us-east-1", **keys).client("s3", endpoint_url=server)
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture
def s3(server: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty bucket, and an environment that leads to it; a client."""
    for name in ("AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    places = {"AWS_ENDPOINT_URL": server, "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    for name, value in {**places, **KEYS, "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "*"}.items():
        monkeypatch.setenv(name, value)
    while objects := [{"Key": o["Key"]} for o in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]:
        client.delete_objects(Bucket=BUCKET, Delete={"Objects": objects})
    return client


@pytest.fixture(params=["folder", "s3", "whole bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    client = request.getfixturevalue("s3")
    monkeypatch.setattr(s3_store, "_s3_client", lambda: client)  # building one takes long
    return open_store(f"s3://{BUCKET}/some/prefix/" if request.param == "s3" else f"s3://{BUCKET}")


# The contract of a store


def test_what_is_written_is_read_and_may_be_replaced(store: Store) -> None:
    store.write("a/b.json", b"one")
    store.write("a/b.json", b"two")
    assert store.read("a/b.json") == b"two"


@pytest.mark.parametrize("name", ["none", "a/none", "none/at/all"])
def test_a_missing_file_is_not_found(store: Store, name: str, tmp_path: Path) -> None:
    store.write("a/b", b"")
    with pytest.raises(FileNotFoundError):
        store.read(name)
    with pytest.raises(FileNotFoundError):
        store.get(name, tmp_path / "copy")
    store.delete(name)


def test_create_leaves_what_is_there(store: Store) -> None:
    assert store.create("study.json", b"mine")
    assert not store.create("study.json", b"theirs")
    assert store.read("study.json") == b"mine"


def test_of_many_who_create_a_file_one_wins(tmp_path: Path) -> None:
    """In a folder; S3 promises the same, and the server of these tests looks and writes in two steps."""
    store = FolderStore(tmp_path)
    won: list[int] = []
    start = threading.Barrier(8)

    def claim(number: int) -> None:
        start.wait()
        if store.create("study.json", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=claim, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.read("study.json")] == [str(n).encode() for n in won]


def test_names_are_those_with_the_prefix_sorted(store: Store) -> None:
    for name in ("b/2", "b/1", "b/c/3", "bb/4", "a", "b.txt"):
        store.write(name, b"")
    assert store.names("b/") == ["b/1", "b/2", "b/c/3"]
    assert store.names("b") == ["b.txt", "b/1", "b/2", "b/c/3", "bb/4"]
    assert store.names("b/c/3") == ["b/c/3"]
    assert store.names("") == ["a", "b.txt", "b/1", "b/2", "b/c/3", "bb/4"]
    assert store.names("none/") == store.names("none") == []


def test_deleting_removes_a_file_and_a_missing_one_is_no_error(store: Store) -> None:
    store.write("a/b", b"")
    store.delete("a/b")
    store.delete("a/b")
    assert store.names("a/") == []


def test_deleting_the_last_file_of_a_folder_removes_the_folder_and_no_other(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for name in ("a/b/1", "a/2"):
        store.write(name, b"")
    store.delete("a/b/1")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["2"]
    store.delete("a/2")
    assert list(tmp_path.iterdir()) == []
    store.delete("a/2")
    assert tmp_path.is_dir()


def test_files_are_copied_in_and_out(store: Store, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(bytes(range(256)) * 1000)
    store.put(tmp_path / "in", "models/model.keras")
    store.put(tmp_path / "in", "models/model.keras")
    assert store.get("models/model.keras", tmp_path / "out") == tmp_path / "out"
    assert (tmp_path / "out").read_bytes() == store.read("models/model.keras") == (tmp_path / "in").read_bytes()


def test_a_store_is_opened_again_by_its_uri(store: Store) -> None:
    store.write("a/b", b"x")
    assert open_store(store.uri).read("a/b") == b"x"
    assert not store.uri.endswith("/")


# The contract of a journal


def test_a_journal_keeps_its_lines_in_order(store: Store) -> None:
    journal = store.journal("record/seed-0.jsonl")
    for number in range(12):
        journal.append(f"line {number}".encode())
    lines = [f"line {n}".encode() for n in range(12)]
    assert journal.lines() == store.journal_lines("record/seed-0.jsonl") == lines
    journal.close()
    again = store.journal("record/seed-0.jsonl")
    assert again.lines() == lines
    again.append(b"line 12")
    again.close()
    assert store.journal_lines("record/seed-0.jsonl") == [*lines, b"line 12"]


def test_a_journal_that_is_not_there_has_no_lines(store: Store) -> None:
    assert store.journal_lines("record/none.jsonl") == []


def test_journals_are_listed(store: Store) -> None:
    for seed in (1, 0):
        journal = store.journal(f"record/mnist/grid/seed-{seed}.jsonl")
        journal.append(b"{}")
        journal.close()
    store.write("record/mnist/note.txt", b"")
    assert store.journals("record/") == ["record/mnist/grid/seed-0.jsonl", "record/mnist/grid/seed-1.jsonl"]


def test_two_journals_do_not_disturb_each_other(store: Store) -> None:
    first, second = store.journal("record/seed-1.jsonl"), store.journal("record/seed-10.jsonl")
    first.append(b"1")
    second.append(b"10")
    first.close()
    second.close()
    assert store.journal_lines("record/seed-1.jsonl") == [b"1"]
    assert store.journal_lines("record/seed-10.jsonl") == [b"10"]


def test_the_second_writer_of_a_folders_journal_is_kept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "LOCK_PATIENCE_SECONDS", 0.2)
    first = FileJournal(tmp_path / "log", patience_seconds=0.2)
    with pytest.raises(RecordError, match="log is being written by another process"):
        FileJournal(tmp_path / "log", patience_seconds=0.2)
    first.append(b"1")
    first.close()
    second = FileJournal(tmp_path / "log", patience_seconds=0.2)
    assert second.lines() == [b"1"]
    second.close()
    second.close()


def test_a_writer_of_a_folder_that_lost_its_lock_cannot_damage_the_record(tmp_path: Path) -> None:
    """As on a shared volume, whose server gives the lock of a process that was paused for long to another."""
    first = FileJournal(tmp_path / "log")
    first.append(b"1")
    fcntl.flock(first._file, fcntl.LOCK_UN)
    second = FileJournal(tmp_path / "log", patience_seconds=0.2)
    second.append(b"2")
    for _ in range(2):
        with pytest.raises(RecordError, match=r"log (has been taken over by another process|could not be written)"):
            first.append(b"other")
    second.append(b"3")
    assert FolderStore(tmp_path).journal_lines("log") == [b"1", b"2", b"3"]


def test_a_writer_who_waits_gets_the_journal_when_the_first_one_ends(tmp_path: Path) -> None:
    first = FileJournal(tmp_path / "log")
    threading.Timer(0.3, first.close).start()
    FileJournal(tmp_path / "log", patience_seconds=10).close()


def test_on_s3_the_second_writer_fences_the_first_off(s3: Any) -> None:
    store = S3Store(f"s3://{BUCKET}/x")
    first = store.journal("log.jsonl")
    first.append(b"1")
    second = store.journal("log.jsonl")
    assert second.lines() == [b"1"]
    first.append(b"2")  # the second has not begun to write
    third = store.journal("log.jsonl")
    third.append(b"3")
    for behind in (first, second):
        with pytest.raises(RecordError, match=r"s3://bucket/x/log\.jsonl has been taken over by another process"):
            behind.append(b"4")
    third.append(b"5")
    assert store.journal_lines("log.jsonl") == [b"1", b"2", b"3", b"5"]


# A folder


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    contents = [bytes([65 + n]) * 300_000 for n in range(4)]
    store.write("file", contents[0])
    over = threading.Event()

    def write() -> None:
        for n in range(60):
            store.write("file", contents[n % 4])
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not over.is_set():
        assert store.read("file") in contents
    writer.join()
    assert store.names("") == ["file"], "no temporary files are left"


def test_what_a_killed_writer_leaves_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".tmp-x1").write_bytes(b"half")
    FolderStore(tmp_path).write("a/b", b"")
    assert FolderStore(tmp_path).names("") == ["a/b"]


def test_reading_makes_no_folder(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "none")
    assert store.names("") == store.journals("") == store.journal_lines("a") == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("torn", [b"", b"to", b"torn line without an end", b"\0" * 40])
def test_a_torn_line_is_cut_off_when_a_journal_is_opened(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / "log").write_bytes(b"1\n2\n" + torn)
    assert FolderStore(tmp_path).journal_lines("log") == [b"1", b"2"]
    journal = FileJournal(tmp_path / "log")
    journal.append(b"3")
    journal.close()
    assert (tmp_path / "log").read_bytes() == b"1\n2\n3\n"


def test_a_full_disk_tears_no_line(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "log")
    journal.append(b"x" * 50)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (80, limits[1]))
    try:
        with pytest.raises(RecordError, match="File too large"):
            journal.append(b"y" * 60)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert FolderStore(tmp_path).journal_lines("log") == [b"x" * 50]
    journal.close()
    again = FileJournal(tmp_path / "log")
    again.append(b"z" * 10)
    again.close()
    assert whole_lines((tmp_path / "log").read_bytes()) == ([b"x" * 50, b"z" * 10], 62)


# S3


class Loses:
    """A client's hook: the server does as it is asked, and its answer is lost on the way, as often as told."""

    def __init__(self, store: S3Store, times: int) -> None:
        self._times = times
        store._client.meta.events.register("before-send.s3.PutObject", self)

    def __call__(self, request: Any, **context: Any) -> AWSResponse | None:
        if self._times == 0:
            return None
        self._times -= 1
        answer = requests.put(request.url, data=request.body, headers=dict(request.headers), timeout=10)
        assert answer.status_code in (200, 412)
        return AWSResponse(request.url, 500, {}, _Empty())


class _Empty:
    def stream(self, **context: Any) -> Iterator[bytes]:
        return iter(())


def test_a_write_whose_answer_was_lost_is_recognised_as_ones_own(s3: Any) -> None:
    store = S3Store(f"s3://{BUCKET}/x")
    Loses(store, 1)
    assert store.create("study.json", b"mine")
    Loses(store, 1)
    journal = store.journal("log.jsonl")
    journal.append(b"1")
    journal.append(b"2")
    assert store.journal_lines("log.jsonl") == [b"1", b"2"]


def test_a_write_that_lost_the_race_and_its_answer_is_not(s3: Any) -> None:
    store = S3Store(f"s3://{BUCKET}/x")
    journal = store.journal("log.jsonl")
    other = store.journal("log.jsonl")
    other.append(b"theirs")
    Loses(store, 1)
    with pytest.raises(RecordError, match="taken over"):
        journal.append(b"mine")
    assert store.journal_lines("log.jsonl") == [b"theirs"]


def test_a_write_that_met_another_on_its_way_is_tried_again(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3Store(f"s3://{BUCKET}/x")
    monkeypatch.setattr(s3_store, "_CONFLICT_PAUSES_SECONDS", (0.0, 0.0, 0.0))
    conflicts = iter([1, 1])
    body = b"<Error><Code>ConditionalRequestConflict</Code></Error>"

    def conflict(request: Any, **context: Any) -> AWSResponse | None:
        return AWSResponse(request.url, 409, {}, _Body(body)) if next(conflicts, None) else None

    store._client.meta.events.register("before-send.s3.PutObject", conflict)
    assert store.create("a", b"mine")
    assert store.read("a") == b"mine"
    conflicts = iter([1, 1, 1])
    with pytest.raises(StudyError, match="refuses to create b, which is not there: try again"):
        store.create("b", b"mine")


class _Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, **context: Any) -> Iterator[bytes]:
        yield self._data


def test_a_store_that_cannot_keep_a_second_writer_out_is_refused(s3: Any) -> None:
    store = S3Store(f"s3://{BUCKET}/x")

    def ignore(request: Any, **context: Any) -> None:
        request.headers.pop("If-None-Match", None)

    store._client.meta.events.register("before-send.s3.PutObject", ignore)
    with pytest.raises(StudyError, match="ignores If-None-Match, so that two processes could write one record: give a folder"):
        store.journal("log.jsonl")


def test_prefixes_keep_studies_apart(s3: Any) -> None:
    one, other = S3Store(f"s3://{BUCKET}/runs/a"), S3Store(f"s3://{BUCKET}/runs/ab#?/")
    one.write("x", b"1")
    other.write("y", b"2")
    assert (one.names(""), other.names("")) == (["x"], ["y"])
    keys = [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert keys == ["runs/a/x", "runs/ab#?/y"]


def test_more_names_than_fit_on_a_page_are_listed(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3Store(f"s3://{BUCKET}/x")
    for number in range(7):
        store.write(f"a/{number}", b"")
    limited = lambda params, **context: params.update(MaxKeys=3)  # noqa: E731
    store._client.meta.events.register("provide-client-params.s3.ListObjectsV2", limited)
    assert len(store.names("a/")) == 7


def calls(store: Store, file: Path) -> dict[str, Any]:
    file.write_bytes(b"x")
    return {
        "read": lambda: store.read("a"),
        "write": lambda: store.write("a", b""),
        "create": lambda: store.create("a", b""),
        "names": lambda: store.names(""),
        "delete": lambda: store.delete("a"),
        "put": lambda: store.put(file, "a"),
        "journal": lambda: store.journal("a"),
        "journal_lines": lambda: store.journal_lines("a"),
    }


@pytest.mark.parametrize("verb", ["read", "write", "create", "names", "delete", "put", "journal", "journal_lines"])
def test_a_missing_bucket_is_named(s3: Any, tmp_path: Path, verb: str) -> None:
    with pytest.raises(StudyError, match=r"^The store s3://nobucket/x .*NoSuchBucket"):
        calls(S3Store("s3://nobucket/x"), tmp_path / "file")[verb]()


@pytest.mark.parametrize("verb", ["read", "write", "create", "names", "put"])
def test_missing_credentials_are_one_sentence(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StudyError, match=r"^The store s3://bucket/x cannot be used: .*credentials") as caught:
        calls(S3Store(f"s3://{BUCKET}/x"), tmp_path / "file")[verb]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("verb", ["read", "write", "create", "names", "put"])
def test_wrong_credentials_are_one_sentence(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.setattr(moto_settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
    monkeypatch.setattr(ActionAuthenticatorMixin, "request_count", 0)
    with pytest.raises(StudyError, match=r"^The store s3://bucket/x .*InvalidAccessKeyId") as caught:
        calls(S3Store(f"s3://{BUCKET}/x"), tmp_path / "file")[verb]()
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["http://me:pw@host/x", "file:///x", "gs://b/x", "s3://", "s3:///x", "s3://me:pw@bucket/x"])
def test_what_is_no_place_for_artifacts_is_refused_without_its_credentials(uri: str) -> None:
    with pytest.raises(StudyError, match=r"give (a folder or )?s3://bucket/prefix") as caught:
        open_store(uri)
    assert "pw" not in str(caught.value)


# Single files


def test_a_file_is_fetched_from_a_folder_or_s3(s3: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(b"arrays")
    s3.put_object(Bucket=BUCKET, Key="data/mine.npz", Body=b"arrays")
    s3.put_object(Bucket=BUCKET, Key="top.npz", Body=b"arrays")
    for uri in (str(tmp_path / "mine.npz"), f"s3://{BUCKET}/data/mine.npz", f"s3://{BUCKET}/top.npz"):
        target = tmp_path / "copy"
        assert fetch_file(uri, target) == target
        assert target.read_bytes() == b"arrays"
        target.unlink()


@pytest.mark.parametrize("uri", [f"s3://{BUCKET}/none.npz", "s3://nobucket/none.npz", "/none.npz"])
def test_a_file_that_cannot_be_had_is_named(s3: Any, tmp_path: Path, uri: str) -> None:
    with pytest.raises(StudyError, match=r"none\.npz.* (does not exist|cannot be read)"):
        fetch_file(uri, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


# A search on S3


def run_toy_on(store: Store) -> list[Event]:
    """A toy search whose record is a journal of the store, to its end."""
    record = Writer(store.journal("record/toy.jsonl"))
    record.open(study_id="toy")
    if record.ended is None:
        Search(toy_spec(), Halving(), Curve(), record, Budget(Limits(epochs=8)), ObjectiveSettings(), NoCheckpoints()).run()
    record.close()
    return list(record.events)


def test_a_search_on_s3_goes_on_from_any_number_of_its_objects(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "_s3_client", lambda: s3)
    store = S3Store(f"s3://{BUCKET}/whole")
    whole = essence(run_toy_on(store))
    assert whole[-1]["event"] == "ended"
    objects = store.names("record/toy.jsonl/")
    contents = [store.read(n) for n in objects]
    for kept in range(len(objects) + 1):
        cut = S3Store(f"s3://{BUCKET}/cut-{kept}")
        for name, content in zip(objects[:kept], contents, strict=False):
            cut.write(name, content)
        assert essence(run_toy_on(cut)) == whole, f"killed after {kept} events"


def test_a_search_on_s3_records_what_a_search_in_a_folder_does(s3: Any, tmp_path: Path) -> None:
    assert essence(run_toy_on(S3Store(f"s3://{BUCKET}/x"))) == essence(run_toy_on(FolderStore(tmp_path)))


def test_a_quick_journal_keeps_order_and_lock_and_is_whole_once_it_is_closed(tmp_path: Path) -> None:
    journal = FolderStore(tmp_path).quick_journal("a/log")
    assert journal.instant
    for number in range(5):
        journal.append(b"%d" % number)
    with pytest.raises(RecordError, match="is being written by another process"):
        QuickJournal(tmp_path / "a" / "log", patience_seconds=0.1)
    journal.close()
    assert (tmp_path / "a" / "log").read_bytes() == b"0\n1\n2\n3\n4\n"


def test_a_quick_journal_that_was_killed_is_the_beginning_of_what_was_written(tmp_path: Path) -> None:
    whole = [b"%06d" % number + b"x" * 1000 for number in range(1500)]
    journal = QuickJournal(tmp_path / "log")
    for line in whole:
        journal.append(line)
    found, _ = whole_lines((tmp_path / "log").read_bytes())
    assert 0 < len(found) < 1500
    assert found == whole[: len(found)]
    journal.close()
    assert FileJournal(tmp_path / "log").lines() == whole
