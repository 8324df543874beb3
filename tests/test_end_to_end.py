"""The whole of it, as a user runs it: the command, KFP's local runner, every step in its own process, on small real data."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from command import events, scores, start, tuneoff
from launcher import outputs_of
from small import MOODS, small_npz, small_study
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.open import open_store
from tuneoff.core.store.study_store import read_study

HERE = Path(__file__).parent
METHODS = [{"name": "grid", "settings": {"order": "shuffled"}}, "random", "bayes", "hyperband"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A study of four methods on one data set, run to its end: study file, output folder, what was printed."""
    folder = tmp_path_factory.mktemp("study")
    study = small_study(folder, methods=METHODS, budget={"epochs": 8, "epochs_per_trial": 3})
    code, said = tuneoff("run", study, "--out", folder / "out")
    assert code == 0, said
    return study, folder / "out", said


def test_a_run_leaves_record_report_and_both_views(finished: tuple[Path, Path, str]) -> None:
    _, out, said = finished
    result = read_study(FolderStore(out))
    assert [c.cell.name for c in result.cells] == ["bars/grid", "bars/random", "bars/bayes", "bars/hyperband"]
    for cell in result.cells:
        (search,) = cell.searches
        assert search.ended is not None
        assert search.spent.epochs <= 8
        assert cell.evaluation is not None
        assert 0.0 <= cell.evaluation.retrainings[0].test_accuracy <= 1.0
        assert sum(map(sum, cell.evaluation.confusion)) == 60, "every test image is scored once"
        assert not cell.failures
    assert "bars/hyperband 100%" in said
    assert f"Report: {out}/report/report.html" in said
    page = (out / "report" / "report.html").read_text()
    assert all(label in page for label in ("grid", "random", "bayes", "hyperband"))
    assert json.loads((out / "report" / "results.json").read_text())


def test_every_output_of_every_step_can_be_stored_by_a_cluster(finished: tuple[Path, Path, str]) -> None:
    """`folds` is null in the description of data with a validation part: on KFP 2.17 no study at all could run."""
    found = outputs_of(finished[1])
    assert {name.partition("/")[0] for name in found} == {"data-prep", "tune", "evaluate", "report"}
    prepared = found["data-prep/prepared"]
    assert prepared["images"] == {"train": 144.0, "validation": 36.0, "test": 60.0}
    assert prepared["image"] == "8 x 8 x 1"
    assert "folds" not in prepared
    assert found["tune/metrics"]["trials"] > 1
    assert 0 <= found["evaluate/metrics"]["test_accuracy"] <= 1


def test_a_run_leaves_what_the_readme_says_and_nothing_else(finished: tuple[Path, Path, str]) -> None:
    _, out, _ = finished
    readme = (HERE.parent / "README.md").read_text()
    tree = readme.partition("runs/quickstart/\n")[2].partition("```")[0]
    named = {word.strip(" /") for line in tree.splitlines() for word in re.findall(r"[\w.-]+/|^  [\w.-]+", line)}
    left = {p.name for p in out.iterdir() if not p.name.startswith(".")}
    assert left == named


def test_every_trial_is_an_mlflow_run_below_its_search_below_its_study(finished: tuple[Path, Path, str]) -> None:
    from mlflow import MlflowClient

    _, out, _ = finished
    client = MlflowClient(f"sqlite:///{out}/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "tuneoff/small"]
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    result = read_study(FolderStore(out))
    trials = {(c.cell.method.label, t.trial.id): t for c in result.cells for s in c.searches for t in s.told}
    sent = {(r.data.tags["tuneoff.method"], int(r.data.tags["tuneoff.trial"])): r for r in runs if "tuneoff.trial" in r.data.tags}
    assert set(sent) == set(trials)
    for key, run in sent.items():
        record = trials[key]
        assert run.data.params == {k: str(v) for k, v in record.trial.proposal.config.items()}
        assert run.data.tags["tuneoff.status"] == record.status
        history = client.get_metric_history(run.info.run_id, "val_accuracy")
        assert [(m.step, m.value) for m in history] == [
            (e.number, pytest.approx(e.metrics["val_accuracy"])) for e in record.curve
        ]
        parent = client.get_run(run.data.tags["mlflow.parentRunId"])
        assert parent.data.tags["mlflow.parentRunId"] in {r.info.run_id for r in runs}
    models = client.search_registered_models()
    assert {m.name for m in models} == {f"small.bars.{m}" for m in ("grid", "random", "bayes", "hyperband")}
    assert all("incumbent" in m.aliases for m in models)


def test_a_finished_study_is_left_as_it_is_by_another_run(finished: tuple[Path, Path, str]) -> None:
    study, out, _ = finished
    before = {p: p.read_bytes() for p in (out / "record").rglob("*.jsonl")}
    code, said = tuneoff("run", study, "--out", out)
    assert code == 0, said
    assert {p: p.read_bytes() for p in (out / "record").rglob("*.jsonl")} == before


def test_another_study_is_kept_out_of_the_folder(finished: tuple[Path, Path, str], tmp_path: Path) -> None:
    _, out, _ = finished
    other = small_study(tmp_path, budget={"trials": 1, "epochs_per_trial": 1})
    code, said = tuneoff("run", other, "--out", out)
    assert code == 2
    assert "holds another study" in said
    assert "Traceback" not in said


def test_a_second_run_of_the_same_folder_says_who_holds_it(finished: tuple[Path, Path, str]) -> None:
    study, out, _ = finished
    first = start("run", study, "--out", out)
    while not (out / ".run.lock").exists() or f"process {first.pid} " not in (out / ".run.lock").read_text():
        time.sleep(0.1)
    code, said = tuneoff("run", study, "--out", out)
    first.kill()
    first.communicate()
    assert code == 2
    assert f"is in use by process {first.pid} on " in said


def test_report_and_sync_rebuild_the_views_from_the_record(finished: tuple[Path, Path, str], tmp_path: Path) -> None:
    import shutil

    _, out, _ = finished
    copy = tmp_path / "copy"
    copy.mkdir()
    for part in ("study.json", "record", "evaluations", "data"):
        source = out / part
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, copy / part)
    assert tuneoff("report", copy)[0] == 0
    assert (copy / "report" / "report.html").stat().st_size > 10_000
    code, said = tuneoff("sync", copy, "--json")
    assert code == 0, said
    told = sum(len(s.told) for c in read_study(FolderStore(copy)).cells for s in c.searches)
    counts = json.loads(said.splitlines()[-1])
    assert counts["trials"] == told
    assert counts["evaluations"] == 4
    assert json.loads(tuneoff("sync", copy, "--json")[1].splitlines()[-1])["trials"] == 0, "nothing is sent twice"


def test_a_failed_cell_leaves_the_others_and_the_report_says_which_and_why(tmp_path: Path) -> None:
    small_npz(tmp_path / "wide.npz", size=12)
    study = small_study(
        tmp_path,
        datasets=[{"name": "bars", "path": "bars.npz"}, {"name": "wide", "path": "wide.npz"}],
        model="small:picky",
        space={"x": {"type": "float", "low": 0.0, "high": 1.0}},
        budget={"trials": 2, "epochs_per_trial": 1},
    )
    code, said = tuneoff("run", study, "--out", tmp_path / "out")
    assert code == 1, said
    assert "bars/random: evaluator failed: bars/random has no incumbent" in said
    assert "Traceback" not in said
    result = read_study(FolderStore(tmp_path / "out"))
    failed, well = result.cells
    assert [t.trial.outcome.reason for t in failed.searches[0].told if t.trial.outcome] == [
        "ValueError: 8 × 8 is too small for me"
    ] * 2
    assert well.evaluation is not None
    assert "has no incumbent" in (tmp_path / "out" / "report" / "report.html").read_text()


def test_a_model_whose_module_cannot_be_imported_ends_the_run_with_one_sentence(tmp_path: Path) -> None:
    study = small_study(tmp_path, model="own_model:build")
    (tmp_path / "own_model.py").write_text("import no_such_framework\ndef build(config, input_shape, classes): ...\n")
    code, said = tuneoff("run", study, "--out", tmp_path / "out")
    assert code == 1, said
    sentence = (
        "The model's module 'own_model' cannot be imported: No module named 'no_such_framework'. Install it, or put it next to"
    )
    assert f"bars/random: tuner failed: bars/random, seed 0: {sentence} the study file." in said
    assert "Traceback" not in said
    assert [len(search.told) for search in read_study(FolderStore(tmp_path / "out")).cells[0].searches] == [0]


def test_trials_that_misbehave_are_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    study = small_study(tmp_path, model="small:moody", space=MOODS, methods=["grid"], budget={"trials": 4, "epochs_per_trial": 1})
    code, said = tuneoff("run", study, "--out", tmp_path / "out")
    assert code == 0, said
    (search,) = read_study(FolderStore(tmp_path / "out")).cells[0].searches
    by_mood = {str(t.trial.proposal.config["mood"]): t for t in search.told}
    assert {mood: t.status for mood, t in by_mood.items()} == {
        "good": "completed",
        "diverging": "diverged",
        "unbuildable": "failed",
        "deadly": "failed",
    }
    assert by_mood["deadly"].attempts == 3
    assert "<layer>" not in (tmp_path / "out" / "report" / "report.html").read_text(), "everything is escaped"


def test_on_s3_and_without_its_tracking_server_a_run_loses_nothing(tmp_path: Path, bucket: Any) -> None:
    bucket.upload_file(str(small_npz(tmp_path / "bars.npz")), "tuneoff", "data/bars.npz")
    study = small_study(
        tmp_path,
        datasets=["s3://tuneoff/data/bars.npz"],
        artifacts="s3://tuneoff/results",
        tracking={"uri": "http://127.0.0.1:9"},
        seeds=[0, 1],
        resources={"retries": 0, "workers": 2},
    )
    code, said = tuneoff("run", study, "--out", tmp_path / "out")
    assert code == 0, said
    assert "Report: s3://tuneoff/results/report/report.html" in said
    assert "Run `tuneoff sync` to send it" in said
    result = read_study(open_store("s3://tuneoff/results"))
    assert [len(s.told) for c in result.cells for s in c.searches] == [3, 3]
    bucket.head_object(Bucket="tuneoff", Key="results/report/report.html")
    assert not (tmp_path / "out" / "record").exists()
    code, said = tuneoff("sync", "s3://tuneoff/results", "--tracking-uri", f"sqlite:///{tmp_path}/late.db", "--json")
    assert code == 0, said
    assert json.loads(said.splitlines()[-1])["trials"] == 6


@pytest.mark.timeout(1800)
def test_a_run_killed_at_any_moment_goes_on_as_if_it_had_not_stopped(finished: tuple[Path, Path, str], tmp_path: Path) -> None:
    """SIGKILL to the command at random moments; what it started ends by itself, and the next run finishes the study."""
    study, out, _ = finished
    rng = random.Random(os.environ.get("TUNEOFF_KILL_SEED", "3"))
    killed = tmp_path / "killed"
    moments = []
    for _ in range(3):
        process = start("run", study, "--out", killed)
        moments.append(rng.uniform(8, 26))
        time.sleep(moments[-1])
        process.send_signal(signal.SIGKILL)
        process.communicate()
    code, said = tuneoff("run", study, "--out", killed)
    assert code == 0, f"killed after {moments} seconds: {said}"
    whole, cut = read_study(FolderStore(out)), read_study(FolderStore(killed))
    assert events(killed) == events(out), f"killed after {moments} seconds"
    assert scores(cut) == scores(whole)
