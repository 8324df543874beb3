"""Test collecting Katib's results, from kubectl's files and from an API server, into the record, the report and MLflow."""

from __future__ import annotations

import json
import math
import shutil
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from katib_objects import at, experiment, trial
from made import made_store, made_study
from tuneoff.analysis.trial_rows import trial_rows
from tuneoff.core import layout
from tuneoff.core.errors import RecordError, StudyError
from tuneoff.core.problem import Status
from tuneoff.core.record.state import SearchRecord, read_search
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import claim, extensions, read_study
from tuneoff.core.study import Study
from tuneoff.inspect.terminal_tables import cells
from tuneoff.katib.collect import PARENT, collect, exported, kept, on_cluster, readings, sample_log, submit
from tuneoff.katib.experiments import METRICS, RESOURCE, Place, Planned, algorithms_of, experiments
from tuneoff.pipelines.local import failures
from tuneoff.report.report import report
from tuneoff.search.provenance import changed_versions
from tuneoff.study_file.check import read_study as read_file
from tuneoff.tracking import sync_study

FIXTURES = Path(__file__).parent
PLACE = Place("kubeflow", "tuneoff/tuner:0.1.0", "pvc://tuneoff/prepared")


@pytest.fixture
def study() -> Study:
    return read_file(FIXTURES / "study.yaml")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def planned(plan: Study, *names: str) -> list[Planned]:
    return experiments(plan, algorithms_of(plan, names), PLACE)


def collected(plan: Study, store: FolderStore, folder: Path = FIXTURES, *names: str) -> list[str]:
    return [c.sentence for c in collect(plan, store, planned(plan, *names), exported(folder))]


def search(store: FolderStore, label: str = "katib-tpe", seed: int = 0) -> SearchRecord:
    return read_search(store, "mnist", label, seed)


def written(folder: Path, *objects: Mapping[str, Any], file: str = "objects.json") -> Path:
    """Write these objects to a folder in the format of `kubectl get … -o json`, and return the folder."""
    folder.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    return folder


def metrics(accuracy: tuple[str, str, str], epochs: int = 3, seconds: str = "9") -> dict[str, tuple[str, str, str]]:
    number = str(epochs)
    return {"val_accuracy": accuracy, "epoch": ("1", number, number), "seconds": ("3", seconds, seconds)}


# The collector


def test_the_collector_reads_all_metrics_of_all_epochs_in_a_log() -> None:
    found = readings(sample_log().splitlines(), METRICS)
    assert len(found) == 3 * len(METRICS)
    assert all(reading.time.startswith("2026-11-25T01:00:34.") for reading in found)
    values = kept(found)
    assert (values["val_accuracy"].least, values["val_accuracy"].most, values["val_accuracy"].latest) == (0.805555582, 1, 1)
    assert values["val_loss"].least == 7.293748786e-05, "an exponent is part of the number"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("epoch=1 loss=nan", [("epoch", "1"), ("loss", "")]),
        ("loss = .5", [("loss", ".5")]),
        ("val_loss=1e-05", []),
        ("the loss is 3", []),
        ("loss=3 accuracy=2", [("loss", "3")]),
    ],
)
def test_the_default_expression_reads_a_line(line: str, found: list[tuple[str, str]]) -> None:
    assert [(r.metric, r.value) for r in readings([line], ("loss", "epoch"))] == found or (
        not found and readings([line], ("loss", "epoch"))[0].value == "unavailable"
    )


# From kubectl's files


def test_trials_are_recorded_in_the_order_of_their_creation(study: Study, store: FolderStore) -> None:
    (sentence,) = collected(study, store)
    assert sentence == "bars-mnist-tpe-0: 4 trials recorded as katib-tpe, 1 with their curves"
    found = search(store)
    assert found.ended is not None
    assert found.ended["reason"] == "Experiment has succeeded because max trial count has reached"
    assert [t.status for t in found.trials] == ["completed", "completed", "failed", "failed"]
    assert [t.trial.proposal.config["activation"] for t in found.trials] == ["relu", "tanh", "tanh", "relu"]
    assert found.trials[0].trial.proposal.config == {"dropout": 0.21, "activation": "relu", "layers": 2}
    assert found.incumbent is found.trials[1]
    assert (found.spent.trials, found.spent.epochs) == (4, 6)
    times = [(t.asked_at, t.started_at, t.told_at) for t in found.trials]
    assert times[0] == (times[0][0], times[0][0], times[0][0] + 38), "as Katib's own stamps say"


def test_a_trial_with_its_log_has_its_curve(study: Study, store: FolderStore) -> None:
    collected(study, store)
    curve = search(store).trials[0].curve
    assert [e.metrics["val_accuracy"] for e in curve] == [0.78, 0.9, 0.88]
    assert [e.seconds for e in curve] == [4.2, 4.2, pytest.approx(4.2)]


def test_without_a_log_only_the_certain_values_are_recorded(study: Study, store: FolderStore) -> None:
    """Katib stores the smallest, largest and latest value, so the best epoch's number and its other metrics are unknown."""
    collected(study, store)
    known = search(store).trials[1]
    assert known.trial.outcome is not None
    assert known.trial.outcome.loss == -0.93, "the best value is Katib's own"
    assert len(known.curve) == 3
    assert all(math.isnan(value) for epoch in known.curve for value in epoch.metrics.values())
    assert known.trial.outcome.seconds == 12.6
    row = next(r for r in trial_rows(read_study(store)) if r.trial == 1)
    assert (row.objective, row.epochs, row.counted_epoch, row.val_accuracy) == (0.93, 3, None, None)


def test_the_metrics_of_the_latest_epoch_are_recorded_if_it_was_the_best(
    study: Study, store: FolderStore, tmp_path: Path
) -> None:
    (one,) = planned(study)
    values = metrics(("0.5", "0.9", "0.9")) | {"loss": ("0.2", "0.8", "0.2"), "val_loss": ("0.3", "0.7", "0.31")}
    texts = {"dropout": "0.1", "activation": "relu", "layers": "1"}
    collected(study, store, written(tmp_path / "k", experiment(one), trial(one, "a", texts, 1, 20, values)))
    (known,) = search(store).trials
    assert {m: v for m, v in known.curve[-1].metrics.items() if not math.isnan(v)} == {
        "val_accuracy": 0.9,
        "loss": 0.2,
        "val_loss": 0.31,
    }


def test_the_reason_of_a_failed_trial_comes_from_katib_and_divergence_from_its_log(
    study: Study, store: FolderStore, tmp_path: Path
) -> None:
    (one,) = planned(study)
    texts = {"dropout": "0.1", "activation": "relu", "layers": "1"}
    bad = [
        trial(one, name, texts, 10 * n, 10 * n + 5, None, status, message)
        for n, (name, status, message) in enumerate(
            [("a", "Failed", "Trial has failed"), ("b", "Failed", "Trial has failed"), ("c", "Killed", "Trial was killed")]
        )
    ]
    folder = written(tmp_path / "k", experiment(one), *bad)
    (folder / f"{one.name}-b.log").write_text("diverged: loss is not a finite number after epoch 1\n")
    collected(study, store, folder)
    found = [t.trial.outcome for t in search(store).trials]
    assert [o and o.status for o in found] == [Status.FAILED, Status.DIVERGED, Status.FAILED]
    assert [o and o.reason for o in found] == [
        "Katib: Failed: Trial has failed",
        "the training diverged, as its log says",
        "Katib: Killed: Trial was killed",
    ]


def test_the_record_names_the_engine_and_the_version_of_katib(study: Study, store: FolderStore, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES, tmp_path / "k")
    image = {"image": "ghcr.io/kubeflow/katib/katib-controller:v0.19.0"}
    controller = {"metadata": {"name": "katib-controller"}, "spec": {"template": {"spec": {"containers": [image]}}}}
    written(tmp_path / "k", {"apiVersion": "apps/v1", "kind": "Deployment", **controller}, file="controller.json")
    collected(study, store, tmp_path / "k")
    header = search(store).header
    assert header["engine"] == "tpe of hyperopt, by Katib"
    assert header["versions"]["katib"] == "v0.19.0"
    assert header["versions"]["hyperopt"] == "0.2.5"
    assert header["method"] == {"name": "katib-tpe", "label": "katib-tpe", "settings": {"random_state": "0"}}


def test_trials_of_hyperband_have_the_epochs_that_it_assigned(store: FolderStore, tmp_path: Path) -> None:
    plan = Study.model_validate(
        {
            "name": "bars",
            "datasets": ["mnist"],
            "methods": ["hyperband"],
            "space": {"activation": {"type": "categorical", "values": ["relu", "tanh"]}},
            "budget": {"epochs": 60, "epochs_per_trial": 9},
        }
    )
    (one,) = planned(plan)
    texts = {"activation": "tanh", RESOURCE: "1"}
    first = trial(one, "a", texts, 1, 9, metrics(("0.5", "0.5", "0.5"), epochs=1))
    second = trial(one, "b", {**texts, RESOURCE: "3"}, 10, 30, metrics(("0.5", "0.8", "0.8")))
    collected(plan, store, written(tmp_path / "k", experiment(one), first, second))
    found = search(store, "katib-hyperband")
    assert [(t.trial.proposal.target_epoch, len(t.curve), t.trial.proposal.parent) for t in found.trials] == [
        (1, 1, None),
        (3, 3, None),
    ]
    assert found.spent.epochs == 4, "the survivor was trained anew, and that is charged"


def test_pbts_generations_are_lineages(store: FolderStore, tmp_path: Path) -> None:
    plan = Study.model_validate(
        {
            "name": "bars",
            "datasets": ["mnist"],
            "methods": ["random"],
            "space": {"dropout": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1}},
            "budget": {"trials": 4, "epochs_per_trial": 10},
        }
    )
    (one,) = planned(plan, "pbt")
    parent = trial(one, "a", {"dropout": "0.2"}, 1, 9, metrics(("0.5", "0.6", "0.6"), epochs=2, seconds="4"))
    labels = {PARENT: parent["metadata"]["name"]}
    child = trial(one, "b", {"dropout": "0.24"}, 9, 20, metrics(("0.6", "0.7", "0.7"), epochs=4, seconds="4"), labels=labels)
    collected(plan, store, written(tmp_path / "k", experiment(one), parent, child), "pbt")
    first, second = search(store, "katib-pbt").trials
    assert (second.trial.proposal.parent, second.trial.config_id, second.trial.first_epoch) == (0, 0, 2)
    assert [e.number for e in second.curve] == [3, 4]
    assert second.trial.proposal.config == {"dropout": 0.24}, "pbt leaves the steps, and what was trained is on record"
    assert first.trial.proposal.target_epoch == 2


# What is not recorded


def test_a_running_experiment_is_not_recorded(study: Study, store: FolderStore, tmp_path: Path) -> None:
    (one,) = planned(study)
    texts = {"dropout": "0.1", "activation": "relu", "layers": "1"}
    trials = [trial(one, "a", texts, 1, 9, metrics(("0.5", "0.6", "0.6"))), trial(one, "b", texts, 10, None)]
    (sentence,) = collected(study, store, written(tmp_path / "k", experiment(one, None), *trials))
    assert sentence == "bars-mnist-tpe-0: still running, 1 of 4 trials have ended; collect it again later"
    assert not store.names("")


def test_an_export_with_missing_trials_is_not_recorded(study: Study, store: FolderStore, tmp_path: Path) -> None:
    (one,) = planned(study)
    texts = {"dropout": "0.1", "activation": "relu", "layers": "1"}
    whole = experiment(one)
    whole["status"]["trials"] = 4
    folder = written(tmp_path / "k", whole, trial(one, "a", texts, 1, 9, metrics(("0.5", "0.6", "0.6"))))
    (sentence,) = collected(study, store, folder)
    assert sentence.startswith("bars-mnist-tpe-0: not recorded: it has 4 trials")
    assert not store.names("")


def test_a_recorded_search_is_skipped_and_a_partly_recorded_one_is_completed(study: Study, store: FolderStore) -> None:
    collected(study, store)
    name = layout.events("mnist", "katib-tpe", 0)
    whole = store.read(name)
    assert collected(study, store) == ["bars-mnist-tpe-0: already in the record"]
    store.write(name, b"".join(line + b"\n" for line in whole.splitlines()[:7]))
    collected(study, store)
    assert store.read(name) == whole
    store.write(name, whole.splitlines()[0].replace(b"hyperopt", b"another") + b"\n")
    with pytest.raises(RecordError, match="Move its log away"):
        collected(study, store)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda t: t["spec"]["parameterAssignments"].append({"name": "depth", "value": "3"}),
            "does not belong to this study: .*depth is not a",
        ),
        (lambda t: t["spec"]["parameterAssignments"].pop(), "does not belong to this study: .*layers has no value"),
        (
            lambda t: t["spec"]["parameterAssignments"].append({"name": "dropout", "value": "0.9"}),
            "does not belong to this study: dropout",
        ),
        (lambda t: t["spec"].update(retainRun="maybe"), "this Trial is not valid in Katib: retainRun"),
        (lambda t: t.update(metadata={}), "this Trial is not valid in Katib: metadata: it has no name"),
    ],
)
def test_a_trial_of_another_study_or_format_is_refused_and_nothing_is_recorded(
    study: Study, store: FolderStore, tmp_path: Path, change: Any, sentence: str
) -> None:
    (one,) = planned(study)
    texts = {"dropout": "0.1", "activation": "relu", "layers": "1"}
    odd = trial(one, "a", texts, 1, 9, metrics(("0.5", "0.6", "0.6")))
    change(odd)
    with pytest.raises(StudyError, match=sentence):
        collected(study, store, written(tmp_path / "k", experiment(one), odd))
    assert not store.names("")


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("a.yaml", "a: [1", "cannot be read"),
        ("a.json", "{", "cannot be read"),
        ("a.yaml", "a: &x [1]\nb: *x\n", "aliases are not allowed"),
        ("a.yaml", "kind: Trial\nmetadata: 3\n", "this Trial is not valid in Katib"),
        ("a.yaml", "just text\n", "has none of the study's 1 experiments"),
    ],
)
def test_a_file_that_kubectl_did_not_write_is_refused(
    study: Study, store: FolderStore, tmp_path: Path, file: str, text: str, sentence: str
) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(StudyError, match=sentence):
        collected(study, store, tmp_path)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="is not a folder"):
        exported(tmp_path / "nowhere")


# Together with methods that were run here


@pytest.fixture
def with_katib(store: FolderStore, tmp_path: Path) -> tuple[Study, FolderStore]:
    """Return a study that was run here with its own methods, with katib-random collected on one of its data sets."""
    plan = made_study(datasets=["mnist"], methods=["random"], seeds=[0])
    made_store(tmp_path / "store", plan)
    (one,) = planned(plan)
    config = {"dropout": "0.1", "activation": "relu", "filters1": "16", "filters2": "32", "neurons": "64", "optimizer": "SGD"}
    texts = {**config, "learning_rate": "0.01"}
    curve = metrics(("0.5", "0.97", "0.9"), epochs=9)
    trials = [trial(one, f"t{n}", texts, 10 * n, 10 * n + 8, curve) for n in range(8)]
    collected(plan, store, written(tmp_path / "k", experiment(one), *trials))
    return plan, store


def test_collected_results_appear_in_the_report_and_in_mlflow_as_a_method(
    with_katib: tuple[Study, FolderStore], tmp_path: Path
) -> None:
    _, store = with_katib
    report(store)
    results = json.loads(store.read(layout.REPORT + "results.json"))
    scores = {s["method"]: s for s in results["scores"]}
    assert set(scores) == {"random", "katib-random"}
    assert scores["katib-random"]["best"]["objective"] == 0.97
    assert results["environment"]["versions"]["katib"] == ["not known"]
    assert b"katib-random" in store.read(layout.REPORT + "report.html")
    assert sync_study(store, f"sqlite:///{tmp_path}/mlflow.db").trials == 16


def test_the_study_file_stays_valid_and_keeps_the_collected_methods(with_katib: tuple[Study, FolderStore]) -> None:
    plan, store = with_katib
    more = plan.model_copy(update={"seeds": [0, 1]})
    assert extensions(store, plan) == []
    assert extensions(store, more) == ["seeds: 1 added"]
    claim(store, more)
    assert [m.label for m in read_study(store).study.methods] == ["random", "katib-random"]


def test_collected_methods_are_neither_run_nor_missing(with_katib: tuple[Study, FolderStore]) -> None:
    _, store = with_katib
    result = read_study(store)
    assert {c.name: c.state for c in cells(result)}["mnist/katib-random"] == "collected"
    assert not any("katib" in sentence for sentence in failures(result))
    assert not any("katib" in sentence for sentence in changed_versions(result))


# From and to a cluster


class Cluster:
    """A fake API server with Katib's two resources, pods and their logs. Its answers have the form of the real ones."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.created: list[tuple[str, bool]] = []
        self.refuse: dict[str, Any] | None = None
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *arguments: object) -> None:
                pass

            def do_GET(self) -> None:
                cluster._get(self)

            def do_POST(self) -> None:
                cluster._post(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _get(self, request: BaseHTTPRequestHandler) -> None:
        path, _, query = request.path.partition("?")
        last = path.rpartition("/")[2]
        if path.endswith("/log"):
            name = path.split("/")[-2].removeprefix("pod-")
            self._answer(request, 200, self.logs[name], "text/plain") if name in self.logs else self._missing(request)
        elif last == "experiments":
            self._answer(request, 200, {"items": [o for o in self.objects.values() if o["kind"] == "Experiment"]})
        elif last == "trials":
            experiment = query.partition("%3D")[2].partition("&")[0]
            items = [o for o in self.objects.values() if o["kind"] == "Trial" and o["metadata"]["name"].startswith(experiment)]
            self._answer(request, 200, {"kind": "TrialList", "items": items})
        elif last == "pods":
            pods = [
                {"metadata": {"name": f"pod-{n}", "labels": {"katib.kubeflow.org/trial": n}}}
                for n, o in self.objects.items()
                if o["kind"] == "Trial"
            ]
            self._answer(request, 200, {"kind": "PodList", "apiVersion": "v1", "items": pods})
        else:
            self._missing(request)

    def _post(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        name, dry = body["metadata"]["name"], "dryRun=All" in request.path
        if self.refuse and self.refuse["name"] == name:
            return self._answer(request, self.refuse["code"], {"kind": "Status", "message": self.refuse["message"]})
        self.created.append((name, dry))
        return self._answer(request, 201, body)

    def _missing(self, request: BaseHTTPRequestHandler) -> None:
        self._answer(request, 404, {"kind": "Status", "message": "not found"})

    def _answer(self, request: BaseHTTPRequestHandler, code: int, body: object, kind: str = "application/json") -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        request.send_response(code)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{made.server.server_address[1]}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_all_experiments_are_checked_before_the_first_is_created(study: Study, cluster: Cluster) -> None:
    both = planned(study.model_copy(update={"seeds": [0, 1]}))
    submit(both, "team")
    names = [one.name for one in both]
    assert cluster.created == [*((n, True) for n in names), *((n, False) for n in names)]


def test_a_refusal_by_katibs_webhook_is_reported_and_nothing_is_created(study: Study, cluster: Cluster) -> None:
    both = planned(study.model_copy(update={"seeds": [0, 1]}))
    said = 'admission webhook "validator.experiment.katib.kubeflow.org" denied the request: spec.algorithm: unable'
    cluster.refuse = {"name": both[1].name, "code": 400, "message": said}
    with pytest.raises(StudyError, match=r"namespace team: the cluster refused the request .400: admission webhook"):
        submit(both, "team")
    assert all(dry for _, dry in cluster.created)


def test_a_cluster_that_is_away_or_unknown_raises_one_sentence(
    study: Study, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.server.shutdown()
    cluster.server.server_close()
    with pytest.raises(StudyError, match="cannot be reached"):
        submit(planned(study), "team")
    monkeypatch.setenv("KUBECONFIG", "/nowhere/kubeconfig")
    with pytest.raises(StudyError, match="no cluster is configured"):
        submit(planned(study), "team")


def test_results_come_from_the_clusters_objects_and_the_logs_of_existing_pods(
    study: Study, store: FolderStore, cluster: Cluster
) -> None:
    listed = yaml.safe_load((FIXTURES / "experiment-and-trials.yaml").read_text())["items"]
    cluster.objects = {o["metadata"]["name"]: o for o in listed}
    log = next(FIXTURES.glob("*.log"))
    cluster.logs = {log.stem: log.read_text()}
    said = collect(study, store, planned(study), on_cluster(planned(study), "kubeflow"))
    assert [c.sentence for c in said] == ["bars-mnist-tpe-0: 4 trials recorded as katib-tpe, 1 with their curves"]
    assert [e.metrics["val_accuracy"] for e in search(store).trials[0].curve] == [0.78, 0.9, 0.88]


def test_a_cluster_without_the_experiments_raises_one_sentence(study: Study, store: FolderStore, cluster: Cluster) -> None:
    with pytest.raises(StudyError, match="namespace kubeflow has none of the study's 1 experiments"):
        collect(study, store, planned(study), on_cluster(planned(study), "kubeflow"))


def test_the_builders_produce_the_fixtures(study: Study) -> None:
    """The builders produce the same objects as the fixtures, so both keep Katib's format."""
    listed = yaml.safe_load((FIXTURES / "experiment-and-trials.yaml").read_text())["items"]
    (one,) = planned(study)
    assert listed[0]["spec"] == one.manifest["spec"]
    made = trial(one, "8hs2kqpw", {"dropout": "0.21", "activation": "relu", "layers": "2"}, 2, 40, {})
    assert {**listed[1], "status": 0} == {**made, "status": 0}
    assert listed[1]["status"]["completionTime"] == at(40)
