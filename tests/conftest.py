"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "support"))
settings.register_profile("tuneoff", deadline=None)  # an example may take long on a busy machine
settings.register_profile("fuzz", deadline=None, max_examples=1000)  # make fuzz
settings.load_profile("tuneoff")

# The tiers of tests, measured with two processors. `make check` runs the tests without a marker; `make test` adds `training`;
# `make test-all` adds `contract` and `slow`. `make image-test` and `make container-test` run `containers`.
TRAINING = (
    "advice/test_advise.py",
    "analysis/test_statistics.py",
    "cluster/test_follow_run.py",
    "contract/",
    "core/test_preemption.py",
    "core/test_s3_faults.py",
    "core/test_storage.py",
    "data/test_fetch.py",
    "data/test_prepare.py",
    "doctor/",
    "evaluation/",
    "katib/test_katib_trial.py",
    "methods/",
    "objectives/test_keras",
    "objectives/test_training_worker.py",
    "pipelines/test_submit.py",
    "planning/",
    "report/test_report.py",
    "search/test_extended.py",
    "search/test_finished.py",
    "search/test_progress_log.py",
    "search/test_table_search.py",
    "search/test_trials_in_flight.py",
    "study_file/test_fuzzed_studies.py",
    "study_file/test_hostile_studies.py",
    "systems/",
    "tables/",
    "test_benchmarks.py",
    "test_docs.py",
    "test_end_to_end.py",
    "test_faults.py",
    "test_launcher.py",
    "test_manifests.py",
    "test_old_records.py",
    "test_packaging.py",
    "test_servers.py",
    "test_stopping.py",
    "test_studies.py",
    "test_written_pages.py",
    "tracking/",
)
"""Modules that train models, start servers or run whole studies."""
SLOW = {
    "test_a_broken_sqlite_file_is_reported_once_the_search_continues_and_sync_sends_the_rest",
    "test_a_cut_search_in_a_bucket_is_resumed_to_the_same_record",
    "test_a_finished_study_is_run_again_without_a_training_and_without_a_change",
    "test_a_killed_study_that_trains_is_resumed_to_the_same_record",
    "test_a_killed_system_begins_again_and_keeps_what_is_on_record",
    "test_a_model_whose_module_cannot_be_imported_ends_the_run_with_one_sentence",
    "test_a_run_on_a_full_disk_ends_in_a_sentence_and_goes_on_when_there_is_space",
    "test_a_search_records_each_fault_gives_up_after_three_deaths_and_goes_on",
    "test_a_study_stopped_while_it_trains_writes_its_report_and_goes_on",
    "test_a_run_killed_at_any_moment_goes_on_as_if_it_had_not_stopped",
    "test_asha_stops_trials_at_its_rungs_and_resumes_after_a_kill",
    "test_hyperband_fills_its_brackets_and_resumes_paused_trials",
    "test_trials_that_misbehave_are_recorded_and_the_search_goes_on",
    "test_with_several_trials_in_flight_a_cut_search_is_resumed_to_the_same_record",
}
"""Tests that take more than 20 seconds of processor time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests by their tier."""
    root = Path(__file__).parent
    for item in items:
        name = item.path.relative_to(root).as_posix()
        if name.startswith(TRAINING):
            item.add_marker(pytest.mark.training)
        if getattr(item, "originalname", item.name) in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 client of a server on loopback, with the bucket "tuneoff"."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {"ACCESS_KEY_ID": "me", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    client = boto3.client("s3")
    client.create_bucket(Bucket="tuneoff")
    yield client
    server.stop()
