"""The study file: what it takes, and that whatever is wrong with it is said at once, a sentence each, in our own words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from pydantic import BaseModel

from examples import FULL, LIBRARY_WORDING, MINIMAL
from tuneoff.core.errors import StudyError
from tuneoff.core.space import PAPER_SPACE
from tuneoff.core.study import Budget, ObjectiveSettings, Study
from tuneoff.study_file import faults
from tuneoff.study_file.check import MAX_FAULTS, check_file, read_study, schema, warnings
from tuneoff.study_file.yaml_reader import parse

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the full study names: a data set and a module."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    np.savez(folder / "mine.npz", x_train=rng.integers(0, 255, (40, 8, 8), np.uint8), y_train=np.arange(40) % 2)
    np.savez(folder / "unlabelled.npz", x_train=np.zeros((4, 8, 8), np.uint8))
    np.savez(folder / "objects.npz", x_train=np.array([[None] * 3], object), y_train=np.arange(1))
    (folder / "text.npz").write_text("hello")
    (folder / "mymodel.py").write_text("def build(): ...")
    (folder / "starred.py").write_text("from mymodel import *")
    return folder


def said(folder: Path, text: str) -> list[str]:
    """What is wrong with a study file of this text, as the user reads it, without the name of the folder."""
    file = folder / "study.yaml"
    file.write_text(text, encoding="utf-8", newline="")
    sentences = [
        fault.sentence("study.yaml").replace(f"{folder}/", "").replace(str(folder), ".") for fault in check_file(file)[1]
    ]
    assert all(s.isprintable() and not LIBRARY_WORDING.search(s) for s in sentences), sentences
    return sentences


# What it takes


def test_a_builder_that_only_an_import_can_find_is_left_to_the_run(beside: Path) -> None:
    assert said(beside, f"{MINIMAL}model: starred:build") == []


def test_a_minimal_study_has_the_papers_defaults(beside: Path) -> None:
    assert said(beside, MINIMAL) == []
    study = read_study(beside / "study.yaml")
    assert study.space == PAPER_SPACE
    assert (study.budget.trials, study.budget.epochs_per_trial, study.seeds, study.model) == (4, 10, [0], "paper-cnn")


def test_a_study_with_every_field_is_taken(beside: Path) -> None:
    assert said(beside, FULL) == []
    study = read_study(beside / "study.yaml")
    given_fields: dict[type[BaseModel], set[str]] = {}
    for model in _models(study):
        given_fields[type(model)] = given_fields.get(type(model), set()) | model.model_fields_set
    given_fields[Budget].add("in_flight")  # is not for every method: the studies below
    given_fields[ObjectiveSettings].add("table")  # is of studies on a table: test_studytable.py
    for kind, given_ in given_fields.items():
        assert given_ == set(kind.model_fields), f"the full study leaves out fields of {kind.__name__}"


def _models(value: Any) -> Iterator[BaseModel]:
    if isinstance(value, BaseModel):
        yield value
        yield from _models(vars(value))
    elif isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _models(child)


def test_shorthands_stand_for_whole_entries(beside: Path) -> None:
    said(beside, FULL)
    study = read_study(beside / "study.yaml")
    assert [(d.name, d.path) for d in study.datasets] == [
        ("mnist", None),
        ("fashion_mnist", None),
        ("mine", str(beside / "mine.npz")),
        ("theirs", "s3://bucket/data/theirs.npz"),
    ]
    assert [(m.name, m.label) for m in study.methods] == [
        ("random", "random"),
        ("grid", "shuffled-grid"),
        ("bayes", "bayes"),
        ("hyperband", "hyperband"),
    ]
    assert said(beside, MINIMAL.replace("[mnist]", "[mine.npz]")) == []
    assert read_study(beside / "study.yaml").datasets[0].path == str(beside / "mine.npz")


def test_a_data_path_is_looked_up_beside_the_study_then_here(beside: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "here.npz").write_bytes((beside / "mine.npz").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("here.npz", "./here.npz", "~/here.npz", str(tmp_path / "here.npz")):
        assert said(beside, MINIMAL.replace("[mnist]", f"[{path}]")) == []
        assert Path(str(read_study(beside / "study.yaml").datasets[0].path)).samefile(tmp_path / "here.npz")


def test_data_on_the_clusters_volume_is_not_looked_for_here(beside: Path) -> None:
    volume = "cluster: {volume: {claim: results, mount: /results}}\n"
    assert said(beside, MINIMAL.replace("[mnist]", "[/results/data/mine.npz]") + volume) == []
    (found,) = said(beside, MINIMAL.replace("[mnist]", "[/resultsdata/mine.npz]") + volume)
    assert "does not exist" in found


def test_values_keep_their_types_on_the_way_to_the_steps(beside: Path) -> None:
    said(beside, FULL)
    study = read_study(beside / "study.yaml")
    again = Study.model_validate_json(study.model_dump_json())
    assert again == study
    optimizer = again.space["optimizer"]
    assert optimizer.type == "categorical"
    assert [(type(v), v) for v in optimizer.values] == [
        (str, "SGD"),
        (str, "Adam"),
        (str, "on"),
        (int, 16),
        (float, 0.5),
        (bool, True),
    ]
    when = again.space["momentum"].when or {}
    assert [(type(v), v) for v in when["optimizer"]] == [(str, "SGD"), (bool, True), (int, 16)]
    assert again.space["neurons"].when == {"filters": [16, 32]}
    assert again.split.folds == 5
    assert (again.resources.cpu, again.resources.gpu, again.resources.cache) == ("2", 1, False)
    assert again.methods[2].settings == {"acq_func": "LCB", "n_initial_points": 5, "kappa": 2}


def test_numbers_and_words_are_those_of_yaml_1_2(beside: Path) -> None:
    space = "space: {rate: {type: float, low: 1e-4, high: 1E-1}, flag: {type: categorical, values: [on, no, yes, off, y, true]}}"
    assert said(beside, MINIMAL + space) == []
    study = read_study(beside / "study.yaml")
    rate, flag = study.space["rate"], study.space["flag"]
    assert rate.type == "float"
    assert (rate.low, rate.high) == (0.0001, 0.1)
    assert flag.type == "categorical"
    assert flag.values == ["on", "no", "yes", "off", "y", True]


# What is wrong


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        # the top level
        (
            "name: full",
            "name: Full Study",
            "1: name: 'Full Study' is not allowed: a name has 1 to 40 lower-case letters or digits",
        ),
        ("name: full", "name: 2024", "1: name: 2024 is not allowed: give text (put it in quotation marks)"),
        (
            "name: full",
            "name: ../x",
            "1: name: '../x' is not allowed: a name has 1 to 40 lower-case letters or digits, with _ . - only",
        ),
        (
            "name: full",
            "name: full\ntitle: full",
            "2: title: the field is unknown: the allowed fields are name, datasets, methods",
        ),
        (
            "seeds: [0, 1, 2]",
            "seed: [0]",
            "21: seed: the field is unknown: the allowed fields are name, datasets, methods, budget",
        ),
        ("seeds: [0, 1, 2]", "seeds: [0, 1, 0]", "21: seeds[2]: 0 is listed twice: remove one of the two"),
        ("seeds: [0, 1, 2]", "seeds: []", "21: seeds: it is empty: give at least 1 entry"),
        ("seeds: [0, 1, 2]", "seeds: 3", "21: seeds: 3 is not allowed: give a list"),
        ("seeds: [0, 1, 2]", "seeds: [-1]", "21: seeds[0]: -1 is not allowed: it must be at least 0"),
        ("seeds: [0, 1, 2]", "seeds: [2147483648]", "21: seeds[0]: 2147483648 is not allowed: it must be less than 2147483648"),
        ("seeds: [0, 1, 2]", "seeds: [true]", "21: seeds[0]: true is not allowed: give a whole number"),
        ("seeds: [0, 1, 2]", "seeds: [1.5]", "21: seeds[0]: 1.5 is not allowed: give a whole number"),
        ("model: mymodel:build", "model: nomodel:build", "22: model: 'nomodel:build': there is no module 'nomodel' next to"),
        ("model: mymodel:build", "model: mymodel:bild", "22: model: 'mymodel:bild': mymodel.py does not define 'bild' (did"),
        (
            "model: mymodel:build",
            "model: mymodel.deep:build",
            "22: model: 'mymodel.deep:build': there is no module 'mymodel.deep'",
        ),
        ("model: mymodel:build", "model: paper_cnn", "22: model: 'paper_cnn' is not allowed: give paper-cnn, or module:function"),
        ("model: mymodel:build", "model: my model:x()", "22: model: 'my model:x()' is not allowed: give paper-cnn, or"),
        # data sets
        (
            "  - mnist",
            "  - MNIST",
            "3: datasets[0]: 'MNIST' is not a built-in data set (did you mean mnist?): choose mnist, fashion_mnist",
        ),
        ("{name: fashion_mnist,", "{name: fashion,", "4: datasets[1].name: 'fashion' is not a built-in data set (did you mean"),
        ("  - mnist", "  - 3", "3: datasets[0]: 3 is not allowed: give a name, a path or a mapping (name: …, path: …)"),
        ("  - mnist", "  - {image_size: 8}", "3: datasets[0].name: the field is missing (a built-in data set by name, or the"),
        ("  - mnist", "  - mine.npz", "5: datasets[2]: 'mine' is listed twice: give this one another name, or remove it"),
        ("train: 100", "train: 9", "4: datasets[1].subset.train: 9 is not allowed: it must be at least 10"),
        ("train: 100", "training: 9", "4: datasets[1].subset.training: the field is unknown: the allowed fields are train"),
        ("train: 100", "train: all", "4: datasets[1].subset.train: 'all' is not allowed: give a whole number"),
        ("image_size: 14", "image_size: 2", "4: datasets[1].image_size: 2 is not allowed: it must be at least 4"),
        ("image_size: 14", "imagesize: 14", "4: datasets[1].imagesize: the field is unknown: the allowed fields are name, path"),
        ("path: mine.npz", "path: none.npz", "6: datasets[2].path: 'none.npz' does not exist: give the path of an .npz file"),
        ("path: mine.npz", "path: .", "6: datasets[2].path: '.' is not a file: give the path of an .npz file with x_train and"),
        ("path: mine.npz", "path: 5", "6: datasets[2].path: 5 is not allowed: give text (put it in quotation marks)"),
        ("path: mine.npz", "path: text.npz", "6: datasets[2].path: text.npz cannot be read as an .npz file (File is not a zip"),
        ("path: mine.npz", "path: unlabelled.npz", "6: datasets[2].path: unlabelled.npz: y_train is missing. Give x_train and"),
        ("path: mine.npz", "path: objects.npz", "6: datasets[2].path: objects.npz: x_train holds Python objects. Give integers"),
        ("path: mine.npz", 'path: "\\0.npz"', "6: datasets[2].path: '\\x00.npz' does not exist: give the path of an .npz file"),
        ("path: mine.npz", f"path: {'x' * 999}.npz", "6: datasets[2].path:"),
        (
            "path: mine.npz",
            "path: https://host/x.npz",
            "6: datasets[2].path: 'https://host/x.npz' is not allowed: give a path or",
        ),
        ("path: mine.npz", "path: file:///x.npz", "6: datasets[2].path: 'file:///x.npz' is not allowed: give a path or an"),
        ("s3://bucket/data/theirs.npz", "s3://bucket/", "7: datasets[3].path: 's3://bucket/' is not allowed: give a path or an"),
        ("s3://bucket/data/theirs.npz", "s3:///x.npz", "7: datasets[3].path: 's3:///x.npz' is not allowed: give a path or an"),
        (
            "s3://bucket/data/theirs.npz",
            "s3://me:pw@b/x.npz",
            "7: datasets[3].path: the URI holds credentials, which a study file",
        ),
        # methods
        ("  - random", "  - randon", "9: methods[0]: 'randon' is not a method (did you mean random or ray-random?)"),
        ("  - random", "  - Random Search", "9: methods[0]: 'Random Search' is not a method"),
        ("  - random", "  - {name: tpe}", "9: methods[0].name: 'tpe' is not a method"),
        ("  - random", "  - ax\n  - priorband", "10: methods[1]: priorband needs the environment neps, but ax needs torch"),
        (
            "  - random",
            "  - [random]",
            '9: methods[0]: ["random"] is not allowed: give a name or a mapping (name: …, settings: …)',
        ),
        ("  - random", "  - {label: x}", "9: methods[0].name: the field is missing (a method of the registry, its settings, and"),
        ("  - random", "  - bayes", "13: methods[2]: 'bayes' is listed twice: give this one another label, or remove it"),
        ("label: shuffled-grid", "label: Shuffled", "11: methods[1].label: 'Shuffled' is not allowed: a name has 1 to 40"),
        ("label: shuffled-grid", "lable: x", "11: methods[1].lable: the field is unknown: the allowed fields are name, label"),
        (
            "order: shuffled",
            "order: random",
            "12: methods[1].settings.order: 'random' is not allowed: choose sklearn or shuffled",
        ),
        (
            "order: shuffled",
            "ordre: shuffled",
            "12: methods[1].settings.ordre: the field is unknown: the allowed fields are order",
        ),
        ("{order: shuffled}", "[shuffled]", '12: methods[1].settings: ["shuffled"] is not allowed: give a mapping (name: value)'),
        ("acq_func: LCB", "acq_func: lcb", "13: methods[2].settings.acq_func: 'lcb' is not allowed: choose EI, LCB, PI or"),
        ("kappa: 2", "kappa: -1", "13: methods[2].settings.kappa: -1 is not allowed: it must be at least 0.0"),
        ("kappa: 2", "kappa: .nan", "13: methods[2].settings.kappa: nan is not allowed: it must be a finite number"),
        ("factor: 3", "factor: 1", "14: methods[3].settings.factor: 1 is not allowed: it must be at least 2"),
        ("factor: 3", "factor: three", "14: methods[3].settings.factor: 'three' is not allowed: give a whole number"),
        ("  - random", "  - {name: random, settings: {x: 1}}", "9: methods[0].settings.x: the field is unknown: no fields are"),
        ("step: 16}", "}", "10: methods[1]: grid needs step or grid_points on every range of the space, and filters has"),
        # budget
        ("  trials: 20", "  trials: 0", "16: budget.trials: 0 is not allowed: it must be at least 1"),
        ("  trials: 20", "  trials: 8.0", "16: budget.trials: 8.0 is not allowed: give a whole number"),
        ("  trials: 20", "  trials: '8'", "16: budget.trials: '8' is not allowed: give a whole number"),
        ("  trials: 20", "  trials: yes", "16: budget.trials: 'yes' is not allowed: give a whole number"),
        ("  trials: 20", "  trial: 20", "16: budget.trial: the field is unknown: the allowed fields are trials, epochs, seconds"),
        ("  epochs: 120", "  epochs: 8", "15: budget: epochs = 8 does not pay for one full training of epochs_per_trial = 9"),
        ("  seconds: 3600", "  seconds: 0", "18: budget.seconds: 0 is not allowed: it must be greater than 0.0"),
        ("  seconds: 3600", "  seconds: .inf", "18: budget.seconds: inf is not allowed: it must be a finite number"),
        ("  seconds: 3600", "  seconds: 1 h", "18: budget.seconds: '1 h' is not allowed: give a number"),
        ("  trials: 20", "  trials: 20\n  in_flight: 0", "17: budget.in_flight: 0 is not allowed: it must be at least 1"),
        ("  trials: 20", "  trials: 20\n  in_flight: 21", "15: budget: in_flight = 21 is more than trials = 20 can ever fill"),
        ("  trials: 20", "  trials: 20\n  in_flight: 2", "10: methods[1]: sklearn-grid asks for one trial at a time, and budget"),
        (
            "epochs_per_trial: 9",
            "epochs_per_trial: 10001",
            "20: budget.epochs_per_trial: 10001 is not allowed: it must be at most",
        ),
        # space
        ("{type: int, low: 16, high: 64, step: 16}", "3", "27: space.filters: 3 is not allowed: give a mapping (name: value)"),
        ("type: int, low: 16", "type: integer, low: 16", "27: space.filters: type 'integer' is not allowed: choose categorical"),
        ("type: int, low: 16", "type: flot, low: 16", "27: space.filters: type 'flot' is not allowed: choose categorical, int"),
        ("type: int, low: 16", "low: 16", "27: space.filters: the type is missing: give type: categorical, int or float"),
        ("high: 64, step: 16", "step: 16", "27: space.filters.high: the field is missing (a whole number between low and high"),
        ("high: 64, step: 16", "high: 1", "27: space.filters: low must be smaller than high, and 16 is not smaller than 1"),
        ("high: 64, step: 16", "high: 6.4e1, step: 16", "27: space.filters.high: 64.0 is not allowed: give a whole number"),
        ("high: 64, step: 16", "high: 64, step: 99", "27: space.filters: step 99 is larger than high - low = 48"),
        ("low: 1e-4", "low: 0", "26: space.learning_rate: a log scale needs low > 0, and low is 0"),
        ("low: 1e-4", "low: '1e-4'", "26: space.learning_rate.low: '1e-4' is not allowed: give a number"),
        ("low: 1e-4", "low: -.inf", "26: space.learning_rate.low: -inf is not allowed: it must be a finite number"),
        ("low: 1e-4", "low: 1e-4, step: 0.1", "26: space.learning_rate: log and step exclude each other: leave one of them out"),
        ("log: true, grid_points: 4", "log: 1", "26: space.learning_rate.log: 1 is not allowed: give true or false"),
        ("grid_points: 4", "grid_points: 0", "26: space.learning_rate.grid_points: 0 is not allowed: it must be at least 1"),
        (
            "grid_points: 4",
            "gridpoints: 4",
            "26: space.learning_rate.gridpoints: the field is unknown: the allowed fields are when",
        ),
        ("step: 0.1", "step: 1e-9", "25: space.momentum.step: 1e-09 gives 9e+08 values, and at most 10,000 are allowed: give a"),
        ("step: 0.1", "step: 1e-320", "25: space.momentum.step: 1e-320 gives inf values, and at most 10,000 are allowed: give a"),
        ("values: [SGD, Adam,", "values: [SGD, Adam, SGD,", "24: space.optimizer: values must be distinct"),
        (
            "values: [SGD, Adam,",
            "values: [SGD, [Adam],",
            '24: space.optimizer.values[1]: ["Adam"] is not allowed: give text, a num',
        ),
        ("values: [SGD, Adam,", "values: [SGD, null,", "24: space.optimizer.values[1]: null is not allowed: give text, a number"),
        ("values: [SGD, Adam,", "values: [SGD, .nan,", "24: space.optimizer.values[1]: nan is not allowed: it must be a finite"),
        ("when: {filters: [16, 32]}", "when: {filters: 16}", "28: space.neurons.when.filters: 16 is not allowed: give a list"),
        ("when: {filters: [16, 32]}", "when: filters", "28: space.neurons.when: 'filters' is not allowed: give a mapping (name:"),
        ("when: {filters: [16, 32]}", "when: {filter: [16]}", "28: space.neurons.when.filter: neurons.when names 'filter'"),
        ("when: {filters: [16, 32]}", "when: {filters: [17]}", "28: space.neurons.when.filters: neurons.when asks for filters ="),
        ("when: {filters: [16, 32]}", "when: {neurons: [8]}", "28: space.neurons.when.neurons: neurons.when names 'neurons'"),
        ("  neurons: {", "  my neurons: {", "28: space.'my neurons': the parameter name 'my neurons' must be a letter followed"),
        # the small sections
        (
            "metric: val_loss",
            "metric: val_acc",
            "30: objective.metric: 'val_acc' is not allowed: choose val_accuracy or val_loss",
        ),
        ("direction: min", "direction: down", "30: objective.direction: 'down' is not allowed: choose max or min"),
        ("epoch: last", "epoch: 5", "30: objective.epoch: 5 is not allowed: choose best or last"),
        ("validation: 0.25", "validation: 1", "31: split.validation: 1 is not allowed: it must be less than 1.0"),
        ("validation: 0.25", "validation: 20%", "31: split.validation: '20%' is not allowed: give a number"),
        ("folds: 5", "folds: 1", "31: split.folds: 1 is not allowed: it must be at least 2"),
        ("precision: bfloat16", "precision: fp16", "32: training.precision: 'fp16' is not allowed: choose float32, bfloat16 or"),
        ("batch_size: 64", "batch_size: 0", "32: training.batch_size: 0 is not allowed: it must be at least 1"),
        (
            "evaluation: {seeds: 2}",
            "evaluation: {seeds: 101}",
            "33: evaluation.seeds: 101 is not allowed: it must be at most 100",
        ),
        ("evaluation: {seeds: 2}", "evaluation:", "33: evaluation: null is not allowed: give a mapping (name: value)"),
        ('cpu: "2"', "cpu: 2", "34: resources.cpu: 2 is not allowed: give text (put it in quotation marks)"),
        ('cpu: "2"', "cpu: two", "34: resources.cpu: 'two' is not allowed: give a number of cores such as 2, 0.5 or 500m"),
        ("memory: 8Gi", "memory: 8 GB", "34: resources.memory: '8 GB' is not allowed: give an amount such as 8Gi or 512Mi"),
        ("gpu: 1,", "gpus: 1,", "34: resources.gpus: the field is unknown: the allowed fields are cpu, memory, gpu, gpu_type"),
        ("cache: false", "cache: off", "34: resources.cache: 'off' is not allowed: give true or false"),
        ('{cpu: "1"', '{cpus: "1"', "35: resources.steps.tuner.cpus: the field is unknown: the allowed fields are cpu"),
        ("steps: {tuner", "steps: {tunr", "35: resources.steps.tunr: 'tunr' is not allowed: choose data_prep, tuner, evaluator"),
        ("workers: 2", "workers: 1000", "34: resources.workers: 1000 is not allowed: it must be at most 256"),
        # places
        ("https://mlflow.example.org", "s3://bucket", "36: tracking.uri: 's3://bucket' is not allowed: give an MLflow server's"),
        ("https://mlflow.example.org", "file:///x", "36: tracking.uri: 'file:///x' is not allowed: give an MLflow server's"),
        ("https://mlflow.example.org", "sqlite:///x", "36: tracking.uri: 'sqlite:///x' is not allowed: give an MLflow server's"),
        (
            "https://mlflow.example.org",
            "https://",
            "36: tracking.uri: 'https://' is not allowed: give an MLflow server's http://",
        ),
        (
            "https://mlflow.example.org",
            "",
            "36: tracking.uri: '' is not allowed: give an MLflow server's http:// or https:// URI",
        ),
        ("https://mlflow.example.org", "http://me:pw@host", "36: tracking.uri: the URI holds credentials, which a study file"),
        ("https://mlflow.example.org", "http://token@host/x", "36: tracking.uri: the URI holds credentials, which a study file"),
        ("experiment: mine", "experiment: ''", "36: tracking.experiment: it is empty: give at least 1 character"),
        ("experiment: mine", f"experiment: {'x' * 201}", "36: tracking.experiment:"),
        ("artifacts: s3://bucket/runs/full", "artifacts: http://host/x", "37: artifacts: 'http://host/x' is not allowed: give a"),
        (
            "artifacts: s3://bucket/runs/full",
            "artifacts: file:///x",
            "37: artifacts: 'file:///x' is not allowed: give a folder or",
        ),
        ("artifacts: s3://bucket/runs/full", "artifacts: s3://", "37: artifacts: 's3://' is not allowed: give a folder or"),
        ("artifacts: s3://bucket/runs/full", "artifacts: s3://me:pw@b/x", "37: artifacts: the URI holds credentials, which a"),
        ("artifacts: s3://bucket/runs/full", "artifacts: ''", "37: artifacts: '' is not allowed: give a folder or"),
        # cluster
        (
            "claim: results",
            "claim: Results",
            "44: cluster.volume.claim: 'Results' is not allowed: a Kubernetes name has lower-case",
        ),
        (
            "mount: /results",
            "mount: results",
            "44: cluster.volume.mount: 'results' is not allowed: give an absolute path such as",
        ),
        (
            "AWS_SECRET_ACCESS_KEY: secret",
            "AWS-KEY: x",
            "46: cluster.secrets.s3-keys.AWS-KEY: 'AWS-KEY' is not allowed: give the name of an env",
        ),
        ("{AWS_ENDPOINT_URL:", "{MY_TOKEN:", "38: cluster: env.MY_TOKEN looks like a secret, but everyone who can read the"),
        ("{AWS_ENDPOINT_URL:", "{AWS_ACCESS_KEY_ID:", "38: cluster: env.AWS_ACCESS_KEY_ID looks like a secret"),
        (
            "AWS_SECRET_ACCESS_KEY: secret",
            "AWS_ENDPOINT_URL: u",
            "38: cluster: AWS_ENDPOINT_URL is set twice, in env and secrets",
        ),
        (
            "pull_policy: Always",
            "pull_policy: always",
            "47: cluster.images.pull_policy: 'always' is not allowed: choose Always, If",
        ),
        ("sha256:abab", "sha256:", "47: cluster.images.digests.tuner-gpu: "),
        (
            "operator: Equal, ",
            "operator: Exists, ",
            "42: cluster.tolerations[0]: operator Exists allows no value: remove the value",
        ),
        (
            "effect: NoExecute, seconds",
            "effect: NoSchedule, seconds",
            "42: cluster.tolerations[0]: seconds are only allowed with the effect",
        ),
        ("timeout_seconds: 7200", "timeout_seconds: 0", "50: cluster.timeout_seconds: 0 is not allowed: it must be at least 1"),
        (
            "deadline_seconds: 604800",
            "deadline: 1",
            "52: cluster.deadline: the field is unknown: the allowed fields are namespace,",
        ),
        # YAML
        ("name: full", "name: full\nname: full", "2: name: name is given twice: remove one of the two"),
        ("seeds: [0, 1, 2]", "seeds: &s [0]", "21: YAML anchors and aliases (& and *) are not allowed: write the values out"),
        ("seeds: [0, 1, 2]", "seeds: !!python/tuple [0]", "21: seeds: the tag '!!python/tuple' is not allowed: write plain text"),
        ("seeds: [0, 1, 2]", "seeds: [0, 99999999999999999999]", "21: seeds[1]: 99999999999999999999 is not allowed: a whole"),
        ("seeds: [0, 1, 2]", "seeds: [0]\n3: 4", "22: 3 is not a valid key: a key must be text"),
    ],
)
def test_a_fault_is_one_sentence_with_line_field_value_and_remedy(beside: Path, old: str, new: str, sentence: str) -> None:
    assert FULL.count(old) == 1, old
    (found,) = said(beside, FULL.replace(old, new))
    assert found.startswith(f"study.yaml:{sentence}")


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "{}",
            [
                "study.yaml:1: name: the field is missing",
                "study.yaml:1: datasets: the field is missing"
                " (a built-in data set by name, or the user's own .npz by path or s3:// URI)",
                "study.yaml:1: methods: the field is missing"
                " (a method of the registry, its settings, and the label under which it stands in the tables)",
                "study.yaml:1: budget: the field is missing"
                " (what each method may spend on each data set with each seed. At least one limit is needed)",
            ],
        ),
        ("", ["study.yaml:1: the file is empty: a study needs at least name, datasets, methods and budget"]),
        ("- a", ['study.yaml:1: ["a"] is not a study: give a mapping of sections such as name, datasets, methods and budget']),
        (
            "hello",
            ["study.yaml:1: 'hello' is not a study: give a mapping of sections such as name, datasets, methods and budget"],
        ),
        (
            MINIMAL.replace("{trials: 4}", "{}"),
            ["study.yaml:4: budget: a budget needs at least one of trials, epochs and seconds"],
        ),
        (
            MINIMAL.replace("{trials: 4}", "{epochs: 9}"),
            ["study.yaml:4: budget: epochs = 9 does not pay for one full training of epochs_per_trial = 10"],
        ),
        (MINIMAL.replace("[mnist]", "[]"), ["study.yaml:2: datasets: it is empty: give at least 1 entry"]),
        (MINIMAL + "space: {}", ["study.yaml:5: space: a space needs at least one parameter"]),
        (
            MINIMAL
            + "space: {a: {type: int, low: 1, high: 2, when: {b: [1]}}, b: {type: int, low: 1, high: 2, when: {a: [1]}}}",
            ["study.yaml:5: space: the conditions of a, b form a circle"],
        ),
        (
            MINIMAL + "space: {" + ", ".join(f"p{i}: {{type: int, low: 1, high: 2}}" for i in range(501)) + "}",
            ["study.yaml:5: space: a space may have at most 500 parameters, and this one has 501"],
        ),
        (
            MINIMAL.replace("[random]", "[grid]")
            + "space: {" + ", ".join(f"p{i}: {{type: categorical, values: [1, 2]}}" for i in range(30)) + "}",
            ["study.yaml:3: methods[0]: the space's grid has 1,073,741,824 points, and grid takes at most 10,000,000."],
        ),
    ],
)  # fmt: skip
def test_a_study_that_lacks_something_is_told_what(beside: Path, text: str, sentences: list[str]) -> None:
    assert said(beside, text) == sentences


def test_all_faults_are_found_in_one_pass_in_the_order_of_the_lines(beside: Path) -> None:
    text = """\
name: Much Wrong
datasets:
  - minst
  - {path: unlabelled.npz, image_size: 2}
  - mnist
  - {name: mnist, subset: {train: 1}}
methods:
  - {name: bayes, settings: {xi: -1, kapa: 2}}
  - {name: bayes, colour: red}
budget: {epochs: 3, trials: 0}
seeds: [1, 1, x]
space:
  a: {type: int, low: 3, high: 2}
  b: {type: int, low: 1, high: 3, when: {a: [1], c: [1], b: [1]}}
  d d: {type: categorical, values: [1, 1]}
  e: {type: int, low: 1, high: 2, when: {f: [1]}}
  f: {type: int, low: 1, high: 2, when: {e: [1]}}
seeds: [2]
resources: {cpu: 2, memory: lots}
training: !mine {}
artifacts: ftp://x
"""
    expected = [
        "1: name: 'Much Wrong'",
        "3: datasets[0]: 'minst' is not a built-in data set (did you mean mnist?)",
        "4: datasets[1].image_size: 2",
        "4: datasets[1].path: unlabelled.npz: y_train is missing",
        "6: datasets[3].subset.train: 1",
        "6: datasets[3]: 'mnist' is listed twice",
        "8: methods[0].settings.xi: -1",
        "8: methods[0].settings.kapa: the field is unknown",
        "9: methods[1].colour: the field is unknown",
        "9: methods[1]: 'bayes' is listed twice",
        "10: budget.trials: 0",
        "10: budget: epochs = 3 does not pay",
        "11: seeds[2]: 'x'",
        "11: seeds[1]: 1 is listed twice",
        "13: space.a: low must be smaller than high",
        "14: space.b.when.c: b.when names 'c'",
        "14: space.b.when.b: b.when names 'b' itself",
        "15: space.'d d': values must be distinct",
        "15: space.'d d': the parameter name 'd d'",
        "12: space: the conditions of e, f form a circle",
        "18: seeds: seeds is given twice",
        "19: resources.cpu: 2",
        "19: resources.memory: 'lots'",
        "20: training: the tag '!mine' is not allowed",
        "21: artifacts: 'ftp://x' is not allowed",
    ]
    found = said(beside, text)
    for sentence in expected:
        assert any(s.startswith(f"study.yaml:{sentence}") for s in found), f"{sentence}\n" + "\n".join(found)
    assert len(found) == len(expected), "\n".join(found)
    lines = [int(s.split(":")[1]) for s in found]
    assert lines == sorted(lines)


def test_read_study_raises_them_all(beside: Path) -> None:
    (beside / "bad.yaml").write_text(MINIMAL.replace("mnist", "minst").replace("random", "randon"))
    with pytest.raises(StudyError) as caught:
        read_study(beside / "bad.yaml")
    assert [s.split(": ")[0] for s in str(caught.value).splitlines()] == [f"{beside}/bad.yaml:2", f"{beside}/bad.yaml:3"]


def test_no_more_faults_are_shown_than_anyone_reads(beside: Path) -> None:
    found = said(beside, MINIMAL + "".join(f"unknown{i}: 1\n" for i in range(3000)))
    assert len(found) == MAX_FAULTS + 1
    assert "study.yaml: 2,900 more faults are not shown" in found


def test_a_secret_in_a_uri_is_not_repeated(beside: Path) -> None:
    secrets = MINIMAL.replace("[mnist]", "['https://me:s3cret@host/x.npz', 'https://host/x.npz?token=s3cret']")
    found = said(beside, secrets + "tracking: {uri: 'ftp://me:s3cret@host'}\nartifacts: 'http://host/x?key=s3cret'")
    assert len(found) == 4
    assert not any("s3cret" in s for s in found)


def test_long_values_and_control_characters_are_cut_and_escaped(beside: Path) -> None:
    text = MINIMAL.replace("random", "r" * 5000) + '"k\\n\\e[31m": "v"\n? "' + "k" * 5000 + '"\n: 1\nmodel: "a\\nb\\e[0m"\n'
    found = said(beside, text)
    assert len(found) == 4
    assert max(len(s) for s in found) < 300


def test_every_pattern_of_the_schema_is_put_into_words() -> None:
    def patterns(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            yield from (v for k, v in part.items() if k == "pattern" and isinstance(v, str))
            yield from part.get("patternProperties", {})
        for child in part.values() if isinstance(part, dict) else part if isinstance(part, list) else []:
            yield from patterns(child)

    assert set(patterns(schema())) == set(faults._PATTERNS)


def test_a_grid_that_sees_only_its_first_corner_gets_a_note(beside: Path) -> None:
    said(beside, MINIMAL.replace("[random]", "[grid]"))
    assert warnings(read_study(beside / "study.yaml")) == [
        "grid: 4 trials cover only the first corner of a grid of 2880 points."
        " With settings: {order: shuffled} they are drawn from the whole grid."
    ]
    said(beside, MINIMAL.replace("[random]", "[grid]").replace("trials: 4", "trials: 40, epochs: 35"))
    (note,) = warnings(read_study(beside / "study.yaml"))
    assert note.startswith("grid: 3 trials cover only the first corner"), "the epochs pay for three full trainings"
    for budget in ("trials: 2880", "seconds: 60"):
        said(beside, MINIMAL.replace("[random]", "[grid]").replace("trials: 4", budget))
        assert warnings(read_study(beside / "study.yaml")) == []
    said(beside, MINIMAL.replace("[random]", "[{name: grid, settings: {order: shuffled}}]"))
    assert warnings(read_study(beside / "study.yaml")) == []


def test_more_in_flight_than_the_budget_fills_or_the_cores_carry_is_said(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEOFF_CORES", "2")
    few = "budget.in_flight: the budget pays for only one full training, so 2 trials will seldom run at the same time."
    for budget, notes in (
        ("trials: 8, in_flight: 2", []),
        ("epochs: 30, in_flight: 2", []),
        ("epochs: 15, in_flight: 2", [few]),
        (
            "trials: 8, in_flight: 3",
            ["budget.in_flight: each search trains in 3 processes at the same time, but there are 2 cores."],
        ),
    ):
        assert said(beside, MINIMAL.replace("trials: 4", budget)) == []
        assert warnings(read_study(beside / "study.yaml")) == notes
    assert said(beside, MINIMAL.replace("trials: 4", "trials: 8, in_flight: 3") + "resources: {gpu: 1}") == []
    assert warnings(read_study(beside / "study.yaml")) == []


# The schema for editors


@pytest.mark.parametrize("file", STUDIES, ids=lambda f: f.stem)
def test_the_shipped_studies_are_valid_and_name_the_schema(file: Path) -> None:
    assert check_file(file)[1] == []
    assert file.stem == read_study(file).name
    jsonschema.validate(parse(file.read_text()).value, schema())
    first = file.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=schema.json"


def test_the_shipped_schema_is_the_one_that_the_command_prints() -> None:
    assert json.loads((STUDIES[0].parent / "schema.json").read_text()) == schema(), "tuneoff schema > studies/schema.json"


def test_the_schema_takes_what_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    for text in (MINIMAL, FULL):
        jsonschema.validate(parse(text).value, schema())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("budget:", "budgets:"),
        ("train: 100", "trian: 100"),
        ("label: shuffled-grid", "lable: shuffled-grid"),
        ("  - random", "  - randon"),
        ("name: grid", "name: gird"),
        ("metric: val_loss", "metric: val_los"),
        ("trials: 20", "trials: 0"),
        ("log: true, grid_points: 4", "log: true, gridpoints: 4"),
        ("type: int, low: 8", "type: integer, low: 8"),
    ],
)
def test_the_schema_rejects_what_is_misspelt(old: str, new: str) -> None:
    assert FULL.count(old) == 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(parse(FULL.replace(old, new)).value, schema())


def test_an_epoch_budget_pays_for_every_fold(beside: Path) -> None:
    text = MINIMAL.replace("{trials: 4}", "{epochs: 25, epochs_per_trial: 10}") + "split: {folds: 3}\n"
    training = "one trial trains 3 folds × epochs_per_trial = 30 epochs"
    assert said(beside, text) == [f"study.yaml:4: budget.epochs: 25 is too small: {training}; give at least 30"]
    assert said(beside, text.replace("25", "30")) == []
