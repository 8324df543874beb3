"""An S3 store (a real moto server) that fails half of the calls, that cannot be had, and whose writer was stopped meanwhile."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from faulty import Proxy, calm, half_of
from made import made_study
from toy import Curve, Halving, essence, toy_spec
from tuneoff.core.errors import StoreAway, StudyError
from tuneoff.core.problem import Limits
from tuneoff.core.record.events import Event, parse
from tuneoff.core.record.writer import Writer
from tuneoff.core.store import s3 as s3_store
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.open import open_store
from tuneoff.core.store.protocol import Store
from tuneoff.core.store.s3 import S3Store
from tuneoff.core.store.study_store import claim
from tuneoff.core.study import ObjectiveSettings
from tuneoff.search.budget import Budget
from tuneoff.search.checkpoints import NoCheckpoints
from tuneoff.search.loop import Search

BUCKET = "bucket"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3 server on loopback with one bucket; its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    uri = f"http://{host}:{port}"
    client = boto3.session.Session("key", "hidden", region_name="us-east-1").client("s3", endpoint_url=uri)
    client.create_bucket(Bucket=BUCKET)
    yield uri
    moto.stop()


def run_toy_on(store: Store) -> list[Event]:
    """A toy search whose record is a journal of the store, to its end."""
    record = Writer(store.journal("record/toy.jsonl"))
    record.open(study_id="toy")
    if record.ended is None:
        Search(toy_spec(), Halving(), Curve(), record, Budget(Limits(epochs=12)), ObjectiveSettings(), NoCheckpoints()).run()
    record.close()
    return list(record.events)


# Failing half of the calls


@pytest.mark.parametrize("seed", [0, 1])
def test_a_search_on_a_store_that_fails_half_of_the_calls_ends_as_an_undisturbed_one(
    proxy: Proxy, tmp_path: Path, seed: int
) -> None:
    undisturbed = essence(run_toy_on(FolderStore(tmp_path)))
    proxy.spoil = half_of(seed)
    store = S3Store(f"s3://{BUCKET}/half-{seed}")
    assert essence(run_toy_on(store)) == undisturbed
    assert set(proxy.spoilt) == {"500", "503", "drop", "lost", "slow"}
    assert proxy.asked / 4 < len(proxy.spoilt) < proxy.asked * 3 / 4
    proxy.spoil = calm
    events = parse(store.journal_lines("record/toy.jsonl"))
    assert essence(events) == undisturbed, "the record in the store is whole, each event once"
    assert essence(run_toy_on(store)) == undisturbed, "and can be opened again"


def test_files_survive_a_store_that_fails_half_of_the_calls(proxy: Proxy, tmp_path: Path) -> None:
    proxy.spoil = half_of(2)
    store = S3Store(f"s3://{BUCKET}/files")
    for number in range(10):
        name, data = f"file-{number}", bytes([number]) * 100_000
        (tmp_path / name).write_bytes(data)
        store.put(tmp_path / name, name)
        assert store.get(name, tmp_path / "copy").read_bytes() == data
        assert not store.create(name, b"other")
        assert store.create(f"{name}.new", data), "the answer to a write may be lost, and it is still one's own"
    assert store.names("") == sorted([f"file-{n}" for n in range(10)] + [f"file-{n}.new" for n in range(10)])
    with pytest.raises(FileNotFoundError):
        store.read("none")
    store.delete("file-0")
    assert "file-0" not in store.names("")


def test_a_study_is_claimed_once_however_often_the_answer_is_lost(proxy: Proxy) -> None:
    study = made_study(datasets=["mnist"], methods=["random"])
    store = S3Store(f"s3://{BUCKET}/claim")
    proxy.spoil = half_of(4, ["lost"])
    first = claim(store, study)
    assert {claim(S3Store(f"s3://{BUCKET}/claim"), study) for _ in range(3)} == {first}


def test_a_store_that_was_away_for_a_while_is_waited_for(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3Store(f"s3://{BUCKET}/away")
    journal = store.journal("log.jsonl")
    journal.append(b"1")
    left = iter(["503"] * 9)
    proxy.spoil = lambda method, path: next(left, None)  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(s3_store, "FIRST_PATIENCE_SECONDS", 0.0)
    journal.append(b"2")
    assert store.journal_lines("log.jsonl") == [b"1", b"2"]


def test_a_store_that_is_away_is_said_to_be_and_to_answer_again(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(s3_store, "NOTE_AFTER_SECONDS", 0.1)
    store = S3Store(f"s3://{BUCKET}/noted")
    store.write("a", b"1")
    left = iter(["503"] * 9)
    proxy.spoil = lambda method, path: next(left, None)  # type: ignore[arg-type,return-value]
    store.write("b", b"2")
    lost, back = capsys.readouterr().err.splitlines()
    assert lost.startswith("The store s3://bucket/noted does not answer (")
    assert lost.endswith("). Trying again for 600 s.")
    assert back.startswith("The store s3://bucket/noted answers again after ")


def test_a_step_waits_for_its_first_answer_and_a_fault_that_may_pass_is_marked(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_store, "FIRST_PATIENCE_SECONDS", 0.0)
    left = iter(["503"] * 7)
    proxy.spoil = lambda method, path: next(left, None)  # type: ignore[arg-type,return-value]
    store = open_store(f"s3://{BUCKET}/restarted", patient=True)
    store.write("a", b"1")
    proxy.spoil = lambda method, path: "503"
    with pytest.raises(StoreAway):
        open_store(f"s3://{BUCKET}/restarted").read("a")
    proxy.spoil = calm
    with pytest.raises(StudyError) as caught:
        open_store("s3://no-such-bucket/x").read("a")
    assert not isinstance(caught.value, StoreAway), "a wrong address does not pass"


def test_a_store_that_stays_away_ends_in_a_sentence_and_leaves_the_record_whole(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_store, "OUTAGE_PATIENCE_SECONDS", 0.3)
    store = S3Store(f"s3://{BUCKET}/gone")
    journal = store.journal("log.jsonl")
    journal.append(b"1")
    proxy.spoil = lambda method, path: "lost"
    with pytest.raises(StudyError, match=r"^The store s3://bucket/gone answered InternalError \(") as caught:
        journal.append(b"2")
    assert "\n" not in str(caught.value)
    proxy.spoil = calm
    again = store.journal("log.jsonl")
    assert again.lines() == [b"1", b"2"], "written before the answer was lost, and found by whoever goes on"
    again.append(b"3")
    assert store.journal_lines("log.jsonl") == [b"1", b"2", b"3"]


# A stopped writer

WRITER = """
import sys
from tuneoff.core.store.s3 import S3Store
journal = S3Store(sys.argv[1]).journal("log.jsonl")
for number in range(10**6):
    journal.append(b"first %d" % number)
"""


def test_a_stopped_writer_that_wakes_up_cannot_damage_the_record(proxy: Proxy) -> None:
    store = S3Store(f"s3://{BUCKET}/stopped")
    first = subprocess.Popen([sys.executable, "-c", WRITER, store.uri], stderr=subprocess.PIPE, text=True)
    try:
        _until(lambda: len(store.names("log.jsonl/")) >= 3)
        first.send_signal(signal.SIGSTOP)
        _until(lambda: "State:\tT" in Path(f"/proc/{first.pid}/status").read_text())
        time.sleep(0.2)  # a write that was on its way has arrived
        second = store.journal("log.jsonl")
        taken = list(second.lines())
        second.append(b"second 0")
        first.send_signal(signal.SIGCONT)
        error = first.communicate(timeout=800)[1]
    finally:
        first.kill()
        first.wait()
    assert "Overtaken: s3://bucket/stopped/log.jsonl has been taken over by another process" in error
    second.append(b"second 1")
    assert store.journal_lines("log.jsonl") == [*taken, b"second 0", b"second 1"]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 800
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# A store that cannot be had: one sentence, soon, and exit code 2


def answered(proxy: Proxy, *arguments: str, **environment: str | None) -> str:
    """The one sentence of a command that ends with exit code 2."""
    environ = {**os.environ, **environment}
    command = [sys.executable, "-m", "tuneoff", *arguments]
    began = time.monotonic()
    answer = subprocess.run(
        command, env={k: v for k, v in environ.items() if v is not None}, capture_output=True, text=True, timeout=800, check=False
    )
    assert answer.returncode == 2, answer.stderr
    (sentence,) = answer.stderr.splitlines()
    assert "hidden" not in sentence
    assert time.monotonic() - began < 200  # on a busy machine; 3 to 10 s where nothing else runs
    return sentence


def test_missing_credentials_are_a_sentence_that_says_what_to_set(proxy: Proxy) -> None:
    said = answered(proxy, "status", f"s3://{BUCKET}/x", AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)
    assert said.startswith("tuneoff: The store s3://bucket/x cannot be used: Unable to locate credentials: set AWS_ACCESS_KEY_ID")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("InvalidAccessKeyId", "InvalidAccessKeyId"),
        ("SignatureDoesNotMatch", "SignatureDoesNotMatch"),
        ("AccessDenied", "AccessDenied"),
    ],
)
def test_wrong_credentials_are_a_sentence_that_says_what_to_set(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, body: str, code: str
) -> None:
    import faulty

    monkeypatch.setitem(faulty._BODIES, "403", f"<Error><Code>{body}</Code><Message>No such key.</Message></Error>".encode())
    proxy.spoil = lambda method, path: "403"
    with pytest.raises(StudyError) as caught:
        S3Store(f"s3://{BUCKET}/x").read("study.json")
    assert str(caught.value) == (
        f"The store s3://bucket/x refused the credentials ({code}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        " (or AWS_PROFILE) to a key that may read and write there."
    )
    assert proxy.asked == 1, "what will not pass is not tried again"


def test_a_wrong_bucket_is_a_sentence_and_exit_code_2(proxy: Proxy, tmp_path: Path) -> None:
    said = answered(proxy, "status", "s3://nobucket/x")
    assert said == "tuneoff: The store s3://nobucket/x answered NoSuchBucket: make the bucket 'nobucket', or give another."


def test_a_run_into_a_wrong_bucket_says_so_before_it_begins(proxy: Proxy, tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    text = "name: x\ndatasets: [mnist]\nmethods: [random]\nbudget: {trials: 1}\nartifacts: s3://nobucket/x\n"
    study.write_text(text + "tracking: {uri: 'http://127.0.0.1:9'}\n")
    environment = {"TUNEOFF_SOURCES": "cache"}
    answer = subprocess.run(
        [sys.executable, "-m", "tuneoff", "run", str(study), "--out", str(tmp_path / "out")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[-1].startswith("tuneoff: The store s3://nobucket/x answered NoSuchBucket")
    assert "Traceback" not in answer.stderr


def test_an_endpoint_that_is_not_there_is_a_sentence(proxy: Proxy) -> None:
    said = answered(proxy, "status", f"s3://{BUCKET}/x", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert said.startswith("tuneoff: The store s3://bucket/x cannot be used (EndpointConnectionError: Could not connect")
    assert said.endswith("check AWS_ENDPOINT_URL and the network.")


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [("AWS_ENDPOINT_URL", "nonsense", "Invalid endpoint: nonsense"), ("AWS_PROFILE", "nobody", "nobody")],
)
def test_an_environment_that_makes_no_sense_is_a_sentence(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, name: str, value: str, part: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StudyError, match=r"^S3 cannot be used \(.*\): check the AWS_… variables of the environment\.$") as caught:
        S3Store(f"s3://{BUCKET}/x")
    assert part in str(caught.value)


def test_a_server_that_is_no_s3_is_a_sentence(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "13")
            self.end_headers()
            self.wfile.write(b"<html><p>Hello"[:13])

        def log_message(self, *args: Any) -> None:
            pass

    monkeypatch.setattr(s3_store, "FIRST_PATIENCE_SECONDS", 0.1)
    page = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=page.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{page.server_port}")
    try:
        with pytest.raises(StudyError, match=r"^The store s3://bucket/x answered 500 \(.*check AWS_ENDPOINT_URL") as caught:
            S3Store(f"s3://{BUCKET}/x").names("")
    finally:
        page.shutdown()
        page.server_close()
    assert "\n" not in str(caught.value)
