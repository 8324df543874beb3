"""Advice from finished studies: the command, its rule over several studies, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from made import made_store, made_study
from tuneoff.cli import cli
from tuneoff.components.core.errors import StudyError
from tuneoff.pipelines.advising import advise, lines

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
    advice = advise([place], 40)
    assert advice.choice.datasets == ["mnist", "fashion_mnist"]
    assert {s.method for s in advice.choice.standings} == {"random", "bayes"}
    assert advice.left_out == {"grid": ["fashion_mnist"]}
    assert sum(s.probability for s in advice.choice.standings) == pytest.approx(1)


def test_the_regret_of_following_is_measured_on_the_data_set_that_was_left_out(place: str) -> None:
    followed = advise([place], 40).followed
    assert [f.dataset for f in followed] == ["mnist", "fashion_mnist"]
    for found in followed:
        assert found.regret >= found.best_regret >= 0
        assert found.advised in ("random", "bayes")


def test_several_studies_are_pooled_under_names_that_tell_them_apart(place: str, other: str) -> None:
    advice = advise([place, other], 40)
    assert advice.choice.datasets == ["mnist of made", "fashion_mnist of made", "cifar10 of other"]
    assert advice.left_out == {"grid": ["fashion_mnist of made", "cifar10 of other"]}
    assert len(advice.followed) == 3


def test_the_sentences_name_budget_method_and_what_was_left_out(place: str) -> None:
    said = "\n".join(lines(advise([place], 40))).replace("\u202f", " ")
    assert "For a budget of 40 epochs (4.44 full trainings) on data like mnist and fashion_mnist, use " in said
    assert "Followed on mnist, from the other data sets alone: " in said
    assert "Not considered: grid, which was not given 40 epochs on fashion_mnist." in said


def test_the_command_finds_the_studies_under_runs(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(place).parents[1])
    done = run("--budget", "40", "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.output)
    assert answer["best"] in ("random", "bayes")
    assert answer["epochs"] == 40
    assert answer["left_out"] == {"grid": ["fashion_mnist"]}


def test_a_budget_that_nobody_was_given_is_refused(place: str) -> None:
    with pytest.raises(StudyError, match="--budget 5000: fewer than two methods were given so many epochs everywhere"):
        advise([place], 5000)


def test_one_label_for_two_methods_is_refused(place: str, tmp_path: Path) -> None:
    made_store(tmp_path, made_study(datasets=["mnist"], methods=[{"name": "hyperopt-tpe", "label": "bayes"}], seeds=[0]))
    with pytest.raises(StudyError, match="bayes stands for another method"):
        advise([place, str(tmp_path)], 40)


def test_one_method_alone_is_no_choice(tmp_path: Path) -> None:
    made_store(tmp_path, made_study(datasets=["mnist"], methods=["random"], seeds=[0]))
    with pytest.raises(StudyError, match="one method only"):
        advise([str(tmp_path)], 9)


def test_without_studies_one_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("--budget", "9")
    assert isinstance(done.exception, StudyError)
    assert "--dir" in str(done.exception)
