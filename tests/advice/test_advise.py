"""Advice from finished studies: the command, its rule over several studies, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from made import made_store, made_study
from tabled import EPOCHS, study_file
from tuneoff.advice.advise import Advice, advise, lines, on_table, study_in
from tuneoff.advice.bundled import outcome_of, shipped, write_outcome
from tuneoff.cli.main import cli
from tuneoff.core.errors import StudyError
from tuneoff.core.store.open import open_store
from tuneoff.core.store.study_store import claim
from tuneoff.core.store.study_store import read_study as read_result
from tuneoff.core.table import read_info
from tuneoff.search.table_search import Order, search_table
from tuneoff.study_file.check import read_study

SEEDS = list(range(5))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three methods on two data sets with five seeds; grid's searches on fashion_mnist, the last cell, were cut off."""
    folder = tmp_path_factory.mktemp("here") / "runs" / "made"
    made_store(folder, made_study(methods=["random", "bayes", "grid"], seeds=SEEDS))
    return str(folder)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("other")
    made_store(folder, made_study(name="other", datasets=["cifar10"], methods=["random", "bayes", "grid"], seeds=SEEDS))
    return str(folder)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["advise", *arguments], catch_exceptions=True)


def test_methods_are_compared_where_all_of_them_were_given_so_much(place: str) -> None:
    advice = advise([study_in(place)], 40)
    assert advice.choice.datasets == ["mnist", "fashion_mnist"]
    assert {s.method for s in advice.choice.standings} == {"random", "bayes"}
    assert advice.left_out == {"grid": ["fashion_mnist"]}
    assert sum(s.probability for s in advice.choice.standings) == pytest.approx(1)


def test_the_regret_of_following_is_measured_on_the_data_set_that_was_left_out(place: str) -> None:
    followed = advise([study_in(place)], 40).followed
    assert [f.dataset for f in followed] == ["mnist", "fashion_mnist"]
    for found in followed:
        assert found.regret >= found.best_regret >= 0
        assert found.advised in ("random", "bayes")


def test_several_studies_are_pooled_under_names_that_tell_them_apart(place: str, other: str) -> None:
    advice = advise([study_in(place), study_in(other)], 40)
    assert advice.choice.datasets == ["mnist of made", "fashion_mnist of made", "cifar10 of other"]
    assert advice.left_out == {"grid": ["fashion_mnist of made", "cifar10 of other"]}
    assert len(advice.followed) == 3


def test_the_sentences_name_budget_method_and_what_was_left_out(place: str) -> None:
    said = "\n".join(lines(advise([study_in(place)], 40))).replace("\u202f", " ")
    assert said.startswith("Use ")
    assert " for a budget of 40 epochs (4.44 full trainings) on data like mnist and fashion_mnist. It has the best " in said
    assert "Check on mnist: the other data sets advise " in said
    assert "Not considered: grid, whose budget was below 40 epochs on fashion_mnist." in said


def test_the_command_takes_the_studies_that_are_named(place: str) -> None:
    done = run("--budget", "40", "--json", "--dir", place)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.output)
    assert answer["best"] in ("random", "bayes")
    assert answer["epochs"] == 40
    assert answer["left_out"] == {"grid": ["fashion_mnist"]}


def test_a_budget_that_nobody_was_given_is_refused(place: str) -> None:
    with pytest.raises(StudyError, match=r"--budget 5000 is too large: no search of .* trained more than \d+ epochs"):
        advise([study_in(place)], 5000)


def test_one_label_for_two_methods_is_refused(place: str, tmp_path: Path) -> None:
    made_store(tmp_path, made_study(datasets=["mnist"], methods=[{"name": "hyperopt-tpe", "label": "bayes"}], seeds=[0]))
    with pytest.raises(StudyError, match="The label bayes means another method"):
        advise([study_in(place), study_in(str(tmp_path))], 40)


def test_one_method_alone_is_no_choice(tmp_path: Path) -> None:
    made_store(tmp_path, made_study(datasets=["mnist"], methods=["random"], seeds=[0]))
    with pytest.raises(StudyError, match="there is only one method"):
        advise([study_in(str(tmp_path))], 9)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two methods and a grid in its own order, on a table, with five seeds."""
    folder = tmp_path_factory.mktemp("replayed")
    methods = ["sklearn-random", "optuna-random", "sklearn-grid"]
    study = read_study(study_file(folder, methods=methods, seeds=SEEDS, budget={"epochs": 5 * EPOCHS}))
    for cell in study.cells:
        search_table(Order(study, cell, str(folder / "out"), "test", 1), folder / "log", lambda: False)
    claim(open_store(str(folder / "out")), study)
    return str(folder / "out")


def ranks(advice: Advice) -> dict[str, float]:
    return {s.method: s.mean_rank for s in advice.choice.standings}


def test_what_comes_with_tuneoff_gives_the_advice_of_the_study_that_it_was_made_from(replayed: str, tmp_path: Path) -> None:
    write_outcome(outcome_of(read_result(open_store(replayed))), tmp_path)
    (outcome,) = shipped(tmp_path)
    assert (outcome.table, outcome.fixed) == ("made", ["sklearn-grid"])
    assert str(tmp_path) not in outcome.model_dump_json()
    assert "scikit-learn" in outcome.versions
    for epochs in (EPOCHS, 3 * EPOCHS, 5 * EPOCHS):
        ours, theirs = advise([on_table(outcome)], epochs), advise([study_in(replayed)], epochs)
        assert ours.choice.not_considered == ["sklearn-grid"]
        assert [(s.method, s.mean_rank) for s in ours.choice.standings] == [
            (s.method, s.mean_rank) for s in theirs.choice.standings
        ]


def test_with_two_tables_the_regret_of_following_one_on_the_other_is_measured(replayed: str) -> None:
    outcome = outcome_of(read_result(open_store(replayed)))
    other = outcome.model_copy(update={"table": "other"})
    advice = advise([on_table(outcome), on_table(other)], 2 * EPOCHS)
    assert [f.dataset for f in advice.followed] == ["made", "other"]
    assert "Check on other: the other data sets advise " in "\n".join(lines(advice))


def test_a_study_that_trained_has_no_table_to_come_with(place: str) -> None:
    with pytest.raises(StudyError, match="the study made is not a table study"):
        outcome_of(read_result(open_store(place)))


def test_the_tables_that_come_with_tuneoff_give_advice() -> None:
    done = run("--budget", "300")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("Use ")
    assert " for a budget of 300 epochs" in done.output.replace("\u202f", " ")
    tables = {file.stem: read_info(str(file)) for file in Path(__file__).parents[2].glob("studies/tables/*.parquet")}
    assert {o.table: o.fingerprint for o in shipped()} == {name: i.fingerprint for name, i in tables.items()}, "make replays"
    assert all(info.complete for info in tables.values())
