"""What a report reads in the study's table: noise, the best there is, test scores; and that it says that nothing was trained."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tabled import EPOCHS, SPACE, table_file, trainings
from tuneoff.analysis.table_truth import table_facts
from tuneoff.core.grid import configurations
from tuneoff.core.problem import Epoch
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import claim, read_study
from tuneoff.core.study import Study
from tuneoff.core.table import METRICS, RecordedTraining, read_table
from tuneoff.evaluation.evaluate import evaluate
from tuneoff.report.report import report
from tuneoff.search.table_search import Order, search

SEEDS = (0, 1, 2, 3, 4)


def replayed(folder: Path) -> FolderStore:
    """A study of three methods on the made-up table, searched and evaluated."""
    table = table_file(folder / "table.parquet")
    study = Study.model_validate(
        {
            "name": "replayed",
            "datasets": ["made"],
            "methods": ["grid", "random", "optuna-random"],
            "space": SPACE.model_dump(exclude_none=True),
            "budget": {"trials": 4, "epochs_per_trial": EPOCHS},
            "seeds": list(SEEDS),
            "objective": {"replay": {"table": str(table)}},
        }
    )
    store = FolderStore(folder / "out")
    study_id = claim(store, study)
    for cell in study.cells:
        for seed in SEEDS:
            search(Order(study, cell, store.uri, study_id, 1), read_table(str(table)), seed)
        evaluate(study, cell, folder, store, "")
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = replayed(tmp_path_factory.mktemp("replayed"))
    report(made)
    return made


@pytest.fixture(scope="module")
def html(store):
    return store.read("report/report.html").decode()


def results(store):
    return json.loads(store.read("report/results.json"))


def curve(*scores: float) -> tuple[Epoch, ...]:
    return tuple(Epoch(n, dict.fromkeys(METRICS, score), 1.0) for n, score in enumerate(scores, 1))


def test_the_page_says_that_nothing_was_trained(html):
    assert "Nothing was trained: the scores come from a table of recorded trainings." in html
    assert "retrain" not in html.replace("docs/statistics.md", "").lower().split("<pre>")[0]


def test_the_sentences_say_it_too(store):
    markdown = store.read("report/report.md").decode()
    assert "Its best trial reaches " in markdown
    assert " % on the test images in the table's own training." in markdown
    assert "retrained" not in markdown


def test_the_ten_best_trials_have_each_training_of_the_table_once(store):
    (dataset,) = results(store)["datasets"]
    for method in dataset["ten_best"]:
        scores = [(tuple(sorted(t["config"].items())), t["objective"]) for t in method["trials"]]
        assert len(set(scores)) == len(scores)


def test_test_scores_are_those_of_every_seed_s_best_trial(store):
    """In this table the test accuracy is the validation accuracy and 0.00002: test_accuracy stands two behind val_accuracy."""
    (dataset,) = results(store)["statistics"]["datasets"]
    for row in dataset["winners_curse"]["rows"]:
        for at in row["by_budget"]:
            assert at["test"] == pytest.approx(at["seen"] + 0.00002)


def test_a_method_that_asks_the_same_with_every_seed_is_named_and_not_recommended(store, html):
    (scope,) = results(store)["statistics"]["scopes"]
    assert scope["fixed"] == ["grid"]
    assert scope["choices"][-1]["not_considered"] == ["grid"]
    assert scope["choices"][-1]["best"] != "grid"
    assert "grid proposes the same configurations with every seed." in html
    assert "Not considered: grid, because it runs the same search with every seed." in html


def test_noise_is_that_of_the_better_configurations(tmp_path):
    """A poor one that fails with one of its seeds says nothing of the noise among the best."""
    points = configurations(SPACE)
    steady = [RecordedTraining(p, seed, curve(0.9 + 0.001 * seed)) for p in points[1:] for seed in range(3)]
    table = table_file(
        tmp_path / "table.parquet", [*steady, *(RecordedTraining(points[0], s, curve(0.1 + 0.7 * (s == 2))) for s in range(3))]
    )
    study = Study.model_validate(
        {
            "name": "noise",
            "datasets": ["made"],
            "methods": ["random"],
            "space": SPACE.model_dump(exclude_none=True),
            "budget": {"trials": 2, "epochs_per_trial": EPOCHS},
            "objective": {"replay": {"table": str(table)}},
        }
    )
    store = FolderStore(tmp_path / "out")
    claim(store, study)
    facts, notes = table_facts(read_study(store))
    assert notes == ()
    assert facts.noise is not None
    assert facts.noise.sd == pytest.approx(0.001)
    assert facts.best == {"made": pytest.approx(0.902)}


def test_a_table_without_repeats_has_no_noise(store, tmp_path):
    result = read_study(store)
    once = table_file(tmp_path / "once.parquet", [t for t in trainings() if t.seed == 0])
    table = result.study.objective.table.model_copy(update={"path": str(once)})
    goal = result.study.objective.model_copy(update={"table": table})
    moved = result.__class__(**{**vars(result), "study": result.study.model_copy(update={"objective": goal})})
    facts, _ = table_facts(moved)
    assert facts.noise is not None
    assert facts.noise.sd is None
    assert not math.isnan(facts.best["made"])
