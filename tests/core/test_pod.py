"""Work of a step that happens only in a pod: it labels the pod, and retries after temporary faults."""

from __future__ import annotations

import json
import os
import re
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import made_study
from tuneoff.core.errors import CellFailed, DataError, DataUnavailable, Overtaken, Settled, StoreAway, StudyError
from tuneoff.core.runtime import pod
from tuneoff.core.runtime.pod import attempts, label_own_pod, pod_label, run_step
from tuneoff.core.store.stop_request import Stopped


@pytest.fixture
def in_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(pod, "FIRST_PAUSE_SECONDS", 0.0)


class Flaky:
    """Raise these errors, one per call, and then succeed."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.mark.parametrize("error", [StoreAway("away"), CellFailed("killed"), DataUnavailable("no network"), OSError("pipe")])
def test_a_fault_that_may_pass_is_tried_again_in_a_pod_and_said(in_a_pod: None, error: Exception) -> None:
    said: list[str] = []
    work = Flaky(error)
    assert attempts("tuner of mnist/random", 1, work, said.append) == "done"
    assert work.calls == 2
    assert said == [f"tuner of mnist/random: attempt 1 of 2 failed: {error}. Trying again in 0 s."]


@pytest.mark.parametrize(
    "error", [StudyError("wrong"), DataError("no images"), Overtaken("another"), Stopped("asked"), Settled("no module")]
)
def test_a_fault_that_a_retry_cannot_change_fails_at_once(in_a_pod: None, error: Exception) -> None:
    work = Flaky(error)
    with pytest.raises(type(error)):
        attempts("tuner", 3, work, lambda line: None)
    assert work.calls == 1


def test_the_last_attempts_fault_is_the_steps(in_a_pod: None) -> None:
    work = Flaky(*[CellFailed(f"fault {number}") for number in range(5)])
    with pytest.raises(CellFailed, match="fault 2"):
        attempts("tuner", 2, work, lambda line: None)


def test_a_users_own_umask_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    before = os.umask(0o077)
    try:
        assert run_step("evaluator", made_study(), "mnist/random", Flaky()) == "done"
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)


def test_elsewhere_kfps_local_runner_starts_a_failed_step_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    work = Flaky(CellFailed("killed"))
    with pytest.raises(CellFailed):
        attempts("tuner", 3, work, lambda line: None)
    assert work.calls == 1


def test_a_step_takes_its_own_retries_from_the_study(in_a_pod: None) -> None:
    study = made_study(resources={"retries": 0, "steps": {"evaluator": {"retries": 2}}})
    before = os.umask(0o022)
    try:
        os.umask(0)
        assert run_step("evaluator", study, "mnist/random", Flaky(OSError("a"), OSError("b"))) == "done"
        assert os.umask(0) == 0o022, "only the owner may write files on a volume"
        with pytest.raises(OSError, match="a"):
            run_step("tuner", study, "mnist/random", Flaky(OSError("a")))
    finally:
        os.umask(before)


@given(st.text(max_size=100))
def test_any_name_becomes_a_label_that_kubernetes_takes(name: str) -> None:
    assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", pod_label(name))


def test_a_pod_is_labelled_by_its_own_account(in_a_pod: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, text in {"token": "sesame\n", "namespace": "kubeflow\n", "ca.crt": ""}.items():
        (tmp_path / name).write_text(text)
    sent: list[urllib.request.Request] = []

    class Answer:
        def close(self) -> None:
            return

    def answer(request: urllib.request.Request, **options: Any) -> Answer:
        sent.append(request)
        return Answer()

    monkeypatch.setattr(pod, "ACCOUNT", tmp_path)
    monkeypatch.setattr(ssl, "create_default_context", lambda cafile: None)
    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.setattr("socket.gethostname", lambda: "cut-off-after-63-characters")
    monkeypatch.setenv("KFP_POD_NAME", "pod-1")
    label_own_pod({"tuneoff/method": "random"}, lambda line: None)
    (request,) = sent
    assert (request.get_method(), request.full_url) == ("PATCH", "https://10.0.0.1:443/api/v1/namespaces/kubeflow/pods/pod-1")
    assert json.loads(request.data or b"") == {"metadata": {"labels": {"tuneoff/method": "random"}}}  # type: ignore[arg-type]
    assert request.get_header("Authorization") == "Bearer sesame"


def test_a_pod_that_may_not_be_labelled_is_no_failure(in_a_pod: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    monkeypatch.setattr(pod, "ACCOUNT", tmp_path)
    said: list[str] = []
    label_own_pod({"tuneoff/method": "random"}, said.append)
    assert said[0].startswith("Note: this pod could not be labelled with tuneoff/method (")
